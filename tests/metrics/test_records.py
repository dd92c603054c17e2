import dataclasses
import math
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfmkit import Solver, methods, metrics, oracles
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.metrics import records


def test_nll_of_an_exact_flow_is_the_floor(mixture):
    (velocity,) = oracles.velocities(mixture, (), "linear")
    flow = Flow([Block(velocity, math.inf, "linear", "gaussian")], 2)
    x = mixture.sample(500, seed=1)
    log_p = mixture.log_prob(x)
    result = metrics.nll(flow, x, -float(log_p.mean()))
    assert abs(result.excess) < 1e-3
    assert result.stderr == pytest.approx(float(log_p.std()) / math.sqrt(500), rel=1e-3)
    assert (result.n, result.parameters, result.solver) == (500, 0, Solver())
    assert result.nfe == sum(flow.last_nfe) > 0
    assert result.seconds > 0
    assert float(result) == result.nll == result.value


def test_without_a_floor_there_is_no_excess(tiny_flow):
    result = metrics.nll(tiny_flow, torch.randn(10, 2), solver=Solver("rk4", steps=3), split="test")
    assert math.isnan(result.excess)
    assert "excess" not in result.cells()
    assert result.solver == Solver("rk4", steps=3)
    assert result.nfe == 3 * 4 * 3
    assert result.split == "test"


def test_one_point_has_no_standard_error(tiny_flow):
    with pytest.raises(ValueError, match="2 or more points"):
        metrics.nll(tiny_flow, torch.zeros(1, 2))


def test_probes_are_part_of_the_protocol(tiny_flow):
    for block in tiny_flow.chain:
        torch.nn.init.normal_(block.net.out.weight, std=0.1)
    x = torch.randn(60, 2)
    exact, few = metrics.nll(tiny_flow, x), metrics.nll(tiny_flow, x, probes=4, seed=1)
    assert exact.trace_error is None
    assert "trace error" not in exact.cells()
    assert few.settings == "4 probes"
    assert 0 < few.trace_error < few.stderr
    assert few.cells()["trace error"] == f"{few.trace_error:.2g}"
    assert few.value != metrics.nll(tiny_flow, x, probes=4, seed=2).value
    assert math.isnan(metrics.nll(tiny_flow, x, probes=1).trace_error)


@pytest.mark.parametrize(
    ("x", "floor", "error"),
    [
        ([[0.0, 0.0]], None, TypeError),
        (torch.zeros(3, 3), None, ValueError),
        (torch.zeros(0, 2), None, ValueError),
        (torch.full((3, 2), math.nan), None, ValueError),
        (torch.zeros(3, 2), math.nan, ValueError),
    ],
)
def test_bad_input_to_nll(tiny_flow, x, floor, error):
    with pytest.raises(error, match=r"^[^\n]+$"):
        metrics.nll(tiny_flow, x, floor)


def test_an_untrained_flow_is_near_the_normal_density():
    """The network starts at zero, so the field is the linear guess: for N(0, I) data the exact one."""
    flow = methods.fm(2)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    expected = 0.5 * x.square().sum(1) + math.log(2 * math.pi)
    assert torch.allclose(-flow.log_prob(x), expected, atol=1e-3)


def test_cost_counts_each_block_by_its_own_evaluations(tiny_flow):
    tiny_flow.sample(3, solver=Solver("euler", steps=5))
    result = metrics.cost(tiny_flow)
    assert result.value == 5 * tiny_flow.parameters_count  # not three times as much: one block at a time
    assert result.nfe == 15
    assert sum(result.blocks) == result.value
    assert metrics.nll(tiny_flow, torch.randn(4, 2), solver=Solver("euler", steps=5)).cost == result.value
    with pytest.raises(ValueError, match="solved nothing yet"):
        metrics.cost(methods.fm(2))


def test_encode_decode_error_falls_with_the_order_of_the_solver(mixture):
    flow = Flow(
        [
            Block(v, g, "linear", "ou")
            for v, g in zip(oracles.velocities(mixture, (0.3,)), (0.3, math.inf), strict=True)
        ],
        2,
    )
    x = mixture.sample(50).double()
    errors = {
        steps: metrics.encode_decode_error(flow, x, Solver("rk4", steps=steps), split="train")
        for steps in (10, 20)
    }
    assert 8 < errors[10].mean / errors[20].mean < 40  # order 4: 16
    back = flow.decode(flow.encode(x, Solver("rk4", steps=10)), Solver("rk4", steps=10))
    assert errors[10].largest == pytest.approx(float((back - x).norm(dim=1).max()))
    assert errors[10].nfe == 2 * 2 * 10 * 4
    assert (errors[10].n, errors[10].split, errors[10].solver.steps) == (50, "train", 10)
    with pytest.raises(ValueError, match="shape"):
        metrics.encode_decode_error(flow, torch.zeros(3, 3))


def test_a_conditional_flow_says_so(tiny_net):
    flow = methods.lfm(2, (0.2,), net=tiny_net, cond=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1)  # it starts where the condition does not count
    x, cond = torch.randn(5, 2), torch.ones(5, 1)
    measured = metrics.nll(flow, x, cond=cond)
    assert measured.settings == "conditional"
    assert measured.nll == pytest.approx(-float(flow.log_prob(x, cond=cond).mean()))
    assert measured.nll != metrics.nll(flow, x).nll
    back = metrics.encode_decode_error(flow, x, cond=cond)
    assert back.settings == "conditional"
    assert back.largest < 1e-2
    steps = metrics.successive(flow, x, cond=cond)
    assert steps[0].settings == "p = 2, 100 equal angles, conditional"
    assert steps[1].value == float(
        metrics.sliced_wasserstein(flow.encode(x, cond=cond), flow.push(x, 0, cond=cond))
    )


# Records and tables


def every_record(flow):
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    trajectory = flow.trajectory(x, points=5)
    return {
        "nll": metrics.nll(flow, x, floor=2.0, split="test"),
        "sw": metrics.sliced_wasserstein(x, x + 1),
        "mmd": metrics.mmd(x, x + 1),
        "energy": metrics.energy_distance(x, x + 1),
        "length": metrics.path_length(trajectory),
        "bend": metrics.straightness(trajectory),
        "kinetic": metrics.kinetic_energy(trajectory),
        "cost": metrics.cost(flow),
        "error": metrics.encode_decode_error(flow, x),
        "chi2": metrics.chi2(oracles.GaussianMixture([[0.5, 0.0]], 1.0).log_prob),
        "step": metrics.successive(flow, x)[0],
    }


def test_every_record_is_frozen_a_number_and_a_row(tiny_flow):
    for name, record in every_record(tiny_flow).items():
        assert isinstance(record, metrics.Record)
        assert float(record) == record.value
        with pytest.raises(dataclasses.FrozenInstanceError):
            record.value = 0.0
        names = {field.name for field in dataclasses.fields(record)}
        assert names <= set(records.COLUMNS), f"a field of {name} is never shown"
        assert "\n" not in repr(record)
        assert repr(record).startswith(f"{record.measure}: ")
        assert record._repr_html_().count("<tr>") == 2


def test_records_of_a_flow_say_how_it_was_solved(tiny_flow):
    rows = every_record(tiny_flow)
    for name in ("nll", "error", "step"):
        assert isinstance(rows[name], metrics.FlowRecord)
        assert rows[name].solver == tiny_flow.solver
        assert {"n", "solver", "NFE", "parameters", "NFE x parameters"} <= set(rows[name].cells())
    assert isinstance(rows["step"], metrics.Distance)


def test_a_table_of_every_kind_agrees_in_all_its_forms(tiny_flow):
    rows = every_record(tiny_flow)
    table = metrics.table(rows)
    tree = ElementTree.fromstring(table._repr_html_())
    cells = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert cells == table.cells()
    assert {cell.get("scope") for cell in tree.iter("th")} == {"col", "row"}
    lines = table.markdown().splitlines()
    assert [
        [part.strip() for part in line.strip("|").split(" | ")] for line in lines[:1] + lines[2:]
    ] == cells
    assert len(repr(table).splitlines()) == 1 + len(rows) == 1 + len(table)
    assert list(table) == list(rows.values())
    assert table["mmd"] is table[2] is rows["mmd"]
    assert repr(table) == repr(metrics.table(rows))
    with pytest.raises(KeyError, match="no row 'fid'"):
        table["fid"]


def test_numbers_are_short_and_large_ones_grouped():
    record = metrics.Record(measure="a | <b>", value=123456.789, seconds=83.21)
    table = metrics.table([record, metrics.Record(measure="c", value=-1.23456789e-7, seconds=0.001234)])
    assert repr(table) == (
        "measure       value  seconds\na | <b>     123,457       83\nc        -1.235e-07   0.0012"
    )
    assert "a \\| <b>" in table.markdown()
    assert "a | &lt;b&gt;" in table._repr_html_()
    assert metrics.table({"x": record}).cells()[0][0] == ""


@settings(deadline=None)
@given(st.floats(allow_nan=True), st.floats(min_value=0))
def test_any_number_can_be_shown(value, seconds):
    record = metrics.Record(measure="m", value=value, seconds=seconds)
    ElementTree.fromstring(record._repr_html_())
    assert len(record.cells()["value"]) < 22
    if abs(value) < 1e300:
        assert float(record.cells()["value"].replace(",", "")) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("rows", "error"), [([], ValueError), ({}, ValueError), ([1.0], TypeError)])
def test_a_table_of_something_else(rows, error):
    with pytest.raises(error, match="a table"):
        metrics.table(rows)


def test_one_record_is_a_table_too():
    record = metrics.Record(measure="m", value=1.0)
    assert metrics.table(record).records == (record,)


def test_solvers_are_shown_with_their_own_parameters(tiny_flow):
    x = torch.randn(4, 2)
    assert metrics.nll(tiny_flow, x).cells()["solver"] == "dopri5, rtol 1e-05, atol 1e-05"
    assert metrics.nll(tiny_flow, x, solver=Solver("euler")).cells()["solver"] == "euler, 10 steps a block"


def test_every_public_name_is_documented():
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__
