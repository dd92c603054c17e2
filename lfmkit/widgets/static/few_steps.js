// The few-step explorer: choose a solver and the number of evaluations, see the samples of each method.

function render({ model, el }) {
  const about = model.get("about"), packed = unpack(model.get("points"));
  const { keys, panels, size, limit } = about;
  const methods = panels.filter((panel) => panel.cells.some((cell) => cell && "distance" in cell));
  const known = methods.flatMap((panel) => panel.cells.map((cell) => cell?.distance)).filter((d) => d !== null && d !== undefined);
  const solvers = [...new Set(keys.map(([solver]) => solver))];
  let frame = Math.max(0, Math.min(model.get("frame"), keys.length - 1)), saving = 0;

  const redraw = perFrame(draw);
  const { root, leave } = makeRoot(el, about.label, redraw);
  const ofSolver = (solver) => keys.map(([name], k) => [name, k]).filter(([name]) => name === solver).map(([, k]) => k);
  const solver = makeSelect("solver", solvers, (name) => { // keep the number of evaluations as near as can be
    const nfe = keys[frame][1], places = ofSolver(name);
    go(places.reduce((best, k) => (Math.abs(keys[k][1] - nfe) < Math.abs(keys[best][1] - nfe) ? k : best)));
  });
  const slider = makeSlider({
    label: "NFE", min: 0, max: 1, step: 1, wide: true,
    text: (at) => String(keys[ofSolver(keys[frame][0])[at] ?? frame][1]),
    change: (at) => go(ofSolver(keys[frame][0])[at]),
  });
  root.append(make("div", { class: "row" }, solver.node, slider.node));
  const views = panels.map((panel) => {
    const canvas = makeCloudCanvas(size);
    return { ...panel, canvas, panel: makePanel(panel.title, canvas, panel.colour) };
  });
  root.append(make("div", { class: "panels" }, ...views.map((view) => view.panel.node)));
  const curves = makeCanvas(Math.min(838, Math.max(520, panels.length * (size + 12) - 12)), 190, { bare: true });
  root.append(makePanel(`${about.distance} against NFE: lower is better`, curves).node);

  function draw() {
    const [name, nfe] = keys[frame];
    for (const view of views) {
      const cell = view.cells[frame];
      const text = !cell ? "not available" : "distance" in cell ? `${about.distance} ${shortNumber(cell.distance)}` : "";
      const many = cell ? cell.to - cell.from : 0;
      const title = cell && !("distance" in cell) ? view.title : `${view.title}, ${name}, NFE ${nfe}`;
      view.canvas.draw((pixels, t) => {
        if (cell) pixels.points(packed, cell.from, cell.to, limit, many > 1500 ? 1.8 : 2.4, rgb(view.colour, t), 0.75);
      }, `${title}: ${cell ? `${many.toLocaleString("en")} points${text && ", "}` : ""}${text}`, (pen, t) => {
        if (!cell) writeMiddle(pen, t, "not available", size);
      });
      view.panel.recolour();
      view.panel.below.textContent = !cell ? `not available\nNFE ${nfe}, ${name}` : "distance" in cell ? `${text}\nNFE ${nfe}, ${name}` : " ";
    }
    const places = ofSolver(name);
    const said = methods.map((m) => `${m.title} ${m.cells[frame]?.distance == null ? "unknown" : shortNumber(m.cells[frame].distance)}`).join(", ");
    curves.draw((pen, t) => chart(pen, t, places), `${about.distance} against NFE with ${name}. At NFE ${nfe}: ${said}`);
  }

  function chart(pen, t, places) {
    const nfes = places.map((k) => keys[k][1]), positive = known.filter((d) => d > 0);
    if (!positive.length) return;
    const span = [Math.min(...positive) / 1.4, Math.max(...positive) * 1.4];
    const x = [nfes[0] / 1.15, nfes[nfes.length - 1] * 1.15];
    const width = curves.width - 150;
    const { X, Y, box } = axes(pen, t, width, curves.height, { x, y: span, logX: true, logY: true, xTicks: nfes });
    pen.setLineDash([4, 4]);
    line(pen, [[X(keys[frame][1]), box.top], [X(keys[frame][1]), box.bottom]], t.axis, 1);
    pen.setLineDash([]);
    const labels = [];
    methods.forEach((method, m) => {
      const colour = tone(method.colour, t);
      const seen = places.filter((k) => method.cells[k]?.distance > 0).map((k) => [X(keys[k][1]), Y(method.cells[k].distance), k]);
      line(pen, seen, colour);
      seen.forEach(([px, py, k]) => mark(pen, m, px, py, k === frame ? 6 : 3.2, colour));
      labels.push({ m, colour, title: method.title, y: seen.length ? seen[seen.length - 1][1] : box.bottom });
    });
    labels.sort((a, b) => a.y - b.y);
    labels.forEach((label, k) => { // names at the right ends of their curves, pushed apart
      label.y = Math.max(label.y, k ? labels[k - 1].y + 15 : box.top);
    });
    const over = Math.max(0, labels[labels.length - 1].y - box.bottom);
    pen.textAlign = "left";
    for (const label of labels) {
      mark(pen, label.m, width + 2, label.y - over, 4, label.colour);
      pen.fillStyle = t.ink;
      pen.font = "12px system-ui, sans-serif";
      pen.fillText(label.title, width + 12, label.y - over, 136);
    }
  }

  function go(k) {
    frame = k;
    const places = ofSolver(keys[k][0]);
    solver.select.value = keys[k][0];
    slider.range(0, places.length - 1);
    slider.set(places.indexOf(k));
    slider.input.disabled = places.length < 2;
    redraw();
    clearTimeout(saving);
    saving = setTimeout(() => { model.set("frame", frame); model.save_changes(); }, 250);
  }

  const follow = () => {
    const k = Math.max(0, Math.min(model.get("frame"), keys.length - 1));
    if (k !== frame) go(k);
  };
  model.on("change:frame", follow);
  go(frame);
  draw();
  return () => { clearTimeout(saving); leave(); model.off("change:frame", follow); };
}

export default { render };
