# make demo   set everything up and run the rose walkthrough
# make test   set everything up; run all tests, and all notebooks but 05 to 09
# make test-long  set everything up; run notebooks 05 to 09, which train for longest; CI runs both
# make lab    set everything up and open JupyterLab
# make lint   format check, lint, types
# make bench  measure: quality at equal cost against peers, overheads, speed
# make bench-batch    measure batch runs: overhead, use of the cores, the table of 10,000 runs
# make bench-methods  compare all methods and controls at equal parameters and compute
# make bench-tables   compare LFM and global flows on POWER (hours)
# make bench-robots   count successes of robot policies: LFM and FM, seven tasks, three seeds (an hour)
# make bench-hours    train on photographs, an hour of one core for each flow (six hours, or three of two cores)
# make bench-gpu      train the published CIFAR-10 networks for minutes, and time them; for a machine with a GPU
# make bench-images   measure steps, samples and memory of UNets against bare loops and peers
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# without compiling, which takes as long as the rest: Python compiles a module when it is first imported
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
export PYTHONDONTWRITEBYTECODE :=
DEMO   := runs/demo
# files of tests side by side, one for each core; in their own order, for the long ones have few tests
SPREAD := --numprocesses auto --dist loadfile --no-loadscope-reorder
# the longest notebooks start first
LONG  := $(shell ls notebooks/0[5-9]*.ipynb)
SHORT := $(filter-out $(LONG), $(shell ls -r notebooks/[0-9]*.ipynb; ls notebooks/[!0-9]*.ipynb))
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 1200 \
         --nbval-sanitize-with tests/notebooks/sanitize.cfg -p no:warnings

.PHONY: demo test test-library test-notebooks test-long lab lint style types bench bench-batch bench-methods bench-tables bench-images bench-hours bench-gpu bench-robots notebooks clean
.DELETE_ON_ERROR:

# A stamp per set of extras: nothing is installed twice, and again only when what is wanted has changed.
$(VENV)/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[notebooks,runs,tables]'
	touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test]'
	touch $(VENV)/core.stamp $@

# torchcfm and flow-matching name dozens of packages that the calls measured here never import
$(VENV)/bench.stamp: $(VENV)/core.stamp
	$(PIP) --no-deps torchcfm flow-matching
	touch $@

demo: $(VENV)/core.stamp
	mkdir -p $(DEMO)
	cd notebooks && ../$(BIN)/papermill --no-progress-bar --execution-timeout 600 \
	    01_rose_and_tree.ipynb ../$(DEMO)/01_rose_and_tree.ipynb -p out ../$(DEMO)
	$(BIN)/jupyter nbconvert --log-level ERROR --to html $(DEMO)/01_rose_and_tree.ipynb
	@cat $(DEMO)/summary.txt
	@echo "notebook  $(DEMO)/01_rose_and_tree.ipynb"
	@echo "page      $(DEMO)/01_rose_and_tree.html"
	@for picture in $(DEMO)/*.png; do echo "picture   $$picture"; done

# One thread a process: side by side, more of them only wait for each other.
test test-library test-notebooks test-long: export OMP_NUM_THREADS = 1
test: $(VENV)/test.stamp style
	$(MAKE) --no-print-directory --jobs 3 types test-library test-notebooks

test-library: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(SPREAD)

# These fill the time in which tests of the library wait for something, and say all at their end.
test-notebooks: $(VENV)/test.stamp
	@mkdir -p runs
	@nice -n 10 $(BIN)/python -m pytest $(SPREAD) $(NBVAL) $(SHORT) \
	    > runs/test-notebooks.txt 2>&1; code=$$?; cat runs/test-notebooks.txt; exit $$code

test-long: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(SPREAD) $(NBVAL) $(LONG)

lint: style types

types: $(VENV)/test.stamp
	$(BIN)/mypy

style: $(VENV)/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

lab: $(VENV)/core.stamp
	$(BIN)/jupyter lab notebooks

bench: $(VENV)/bench.stamp
	$(BIN)/python benchmarks/run.py

bench-batch: $(VENV)/core.stamp
	$(BIN)/python benchmarks/batch.py

bench-methods: $(VENV)/core.stamp
	$(BIN)/python benchmarks/methods.py

bench-tables: $(VENV)/core.stamp
	$(BIN)/python benchmarks/tables.py

bench-images: $(VENV)/test.stamp $(VENV)/bench.stamp
	$(BIN)/python benchmarks/images.py

bench-hours: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hours.py cifar10
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hours.py flowers102

bench-gpu: $(VENV)/test.stamp $(VENV)/bench.stamp
	$(BIN)/python benchmarks/recipe.py

bench-robots: $(VENV)/test.stamp
	$(BIN)/python benchmarks/robots.py

# Run the notebooks again and store their outputs, as nbval compares them.
notebooks: $(VENV)/test.stamp
	cd notebooks && ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	    --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
	    --ExecutePreprocessor.timeout=600 *.ipynb

clean:
	rm -rf $(VENV) runs
