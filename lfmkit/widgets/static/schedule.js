// The schedule explorer: asks the kernel for a schedule's numbers, one question at a time, and draws them.

const WIDE = 270, HIGH = 170; // a chart, in CSS pixels
const CLOUD = 156; // CSS pixels a side
const PATIENCE = 4000; // ms without an answer after which a message is shown

function render({ model, el }) {
  const about = model.get("about"), packed = unpack(model.get("points"));
  const { count, limit, ranges, families } = about;
  let answer = model.get("answer");
  const wanted = { family: answer.family, values: { ...answer.values } };
  let asked = answer.id, under_way = false, again = false, timer = 0;

  const redraw = perFrame(draw);
  const { root, leave } = makeRoot(el, about.label, redraw);
  const family = makeSelect("family", Object.keys(families), (name) => { wanted.family = name; arrange(); ask(); });
  const sliders = Object.fromEntries(Object.entries(ranges).map(([name, [low, high, step]]) => [name, makeSlider({
    label: name, min: low, max: high, step,
    text: (value) => String(Number(value.toPrecision(5))),
    change: (value) => { wanted.values[name] = value; ask(); },
  })]));
  const controls = make("div", { class: "row" }, family.node, ...Object.values(sliders).map((slider) => slider.node));
  const summary = make("div", { class: "below strong", role: "status" });
  const alarm = make("div", { role: "alert" });
  const charts = {
    gamma: makeCanvas(WIDE, HIGH, { bare: true }), signal: makeCanvas(WIDE, HIGH, { bare: true }), chi2: makeCanvas(WIDE, HIGH, { bare: true }),
  };
  const title = about.chi2 ? "chi2 from N(0, I) left at time T" : "share of chi2 left at T: at most e^-2T";
  const clouds = Array.from({ length: about.clouds }, () => makePanel("", makeCloudCanvas(CLOUD)));
  const canvases = clouds.map((panel) => panel.canvas);
  const rows = make("tbody");
  const head = ["k", "step", "time T", "signal left", about.chi2 ? "chi2 left" : "e^-2T"].map((name) => make("th", { scope: "col" }, name));
  const numbers = make("details", { ontoggle: redraw }, make("summary", {}, "numbers"), make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows));
  root.append(
    controls, summary, alarm,
    make("div", { class: "panels" },
      makePanel("step size of block k", charts.gamma).node, makePanel("signal left at time T, e^-T", charts.signal).node, makePanel(title, charts.chi2).node),
    make("div", { class: "panels" }, ...clouds.map((panel) => panel.node)),
    numbers,
  );

  function arrange() {
    family.select.value = wanted.family;
    for (const [name, slider] of Object.entries(sliders)) {
      slider.node.hidden = !families[wanted.family].includes(name);
      slider.set(wanted.values[name]);
    }
  }

  function ask() {
    if (under_way) { again = true; return; } // the latest wish waits, older ones are forgotten
    under_way = true;
    again = false;
    asked += 1;
    timer = setTimeout(() => {
      under_way = false;
      alarm.textContent = "No answer: the kernel is busy or not running. The picture shows the last schedule it computed.";
    }, PATIENCE);
    model.send({ id: asked, family: wanted.family, values: wanted.values });
  }

  function receive() {
    answer = model.get("answer");
    if (answer.id < asked) return; // an answer to an outdated request
    asked = answer.id;
    clearTimeout(timer);
    under_way = false;
    alarm.textContent = answer.error;
    draw(); // at once: the next answer comes after the next question
    if (again) ask();
    else if (!answer.error && !isWanted()) { // another view of this widget has asked
      wanted.family = answer.family;
      wanted.values = { ...answer.values };
      arrange();
    }
  }

  function isWanted() {
    return answer.family === wanted.family && families[answer.family].every((name) => answer.values[name] === wanted.values[name]);
  }

  function draw() {
    const { gamma, T, signal, chi2 } = answer;
    const n = gamma.length, end = Math.max(1, T[n - 1] * 1.05);
    summary.textContent = answer.summary;
    charts.gamma.draw((pen, t) => {
      const ticks = Array.from({ length: n }, (_, k) => k + 1).filter((k) => n <= 8 || k === 1 || k % 4 === 0);
      const { X, Y, box } = axes(pen, t, WIDE, HIGH, { x: [0.4, n + 0.6], y: [0, Math.max(...gamma) * 1.08], xTicks: ticks });
      pen.fillStyle = tone("#0072b2", t);
      const width = Math.min(36, 0.72 * (X(2) - X(1)));
      gamma.forEach((g, k) => pen.fillRect(X(k + 1) - width / 2, Y(g), width, box.bottom - Y(g)));
    }, `Step sizes of ${n} blocks: ${gamma.map((g) => shortNumber(g)).join(", ")}`);
    charts.signal.draw((pen, t) => {
      const { X, Y, box } = axes(pen, t, WIDE, HIGH, { x: [0, end], y: [0, 1.05] });
      line(pen, Array.from({ length: 61 }, (_, i) => [X(end * i / 60), Y(Math.exp(-end * i / 60))]), t.axis);
      T.forEach((at, k) => {
        line(pen, [[X(at), box.bottom], [X(at), box.bottom - 6]], tone("#0072b2", t), 2);
        mark(pen, 0, X(at), Y(signal[k]), 4, tone("#0072b2", t));
      });
    }, `Signal left against time: after step 1 at T ${shortNumber(T[0])} ${shortNumber(signal[0])}, at the end at T ${shortNumber(T[n - 1])} ${shortNumber(signal[n - 1])}`);
    charts.chi2.draw((pen, t) => {
      const curve = about.chi2 ? upTo(about.chi2, end) : Array.from({ length: 61 }, (_, i) => [end * i / 60, Math.exp(-2 * end * i / 60)]);
      const seen = [...curve.map(([, v]) => v), ...chi2].filter((v) => v > 0);
      if (!seen.length) return;
      const { X, Y } = axes(pen, t, WIDE, HIGH, { x: [0, end], y: [Math.max(1e-9, Math.min(...seen) / 1.3), Math.max(...seen) * 1.3], logY: true });
      line(pen, curve.map(([at, v]) => [X(at), Y(v)]), t.axis);
      T.forEach((at, k) => { if (chi2[k] > 1e-9) mark(pen, 0, X(at), Y(chi2[k]), 4, tone("#0072b2", t)); });
    }, `${title}: ${shortNumber(chi2[0])} after step 1, ${shortNumber(chi2[n - 1])} at the end`);
    clouds.forEach((panel, p) => {
      const cloud_ = answer.clouds[p];
      panel.node.style.visibility = cloud_ ? "visible" : "hidden"; // keeps its place: nothing jumps
      if (!cloud_) return;
      panel.caption.textContent = cloud_.title;
      canvases[p].draw((pixels, t) => diffused(pixels, t, cloud_), `${count.toLocaleString("en")} points, ${cloud_.title}, signal ${shortNumber(cloud_.a)}, noise ${shortNumber(cloud_.b)}`);
    });
    if (numbers.open) rows.replaceChildren(...gamma.map((g, k) => make("tr", {}, ...[k + 1, g, T[k], signal[k], chi2[k]].map((v) => make("td", {}, shortNumber(v))))));
  }

  function upTo(table, end) { // the curve's part before `end`, and its place there
    const after = table.findIndex(([at]) => at > end);
    if (after < 1) return table;
    const [[t0, v0], [t1, v1]] = [table[after - 1], table[after]], share = (end - t0) / (t1 - t0);
    return [...table.slice(0, after), [end, v0 ** (1 - share) * v1 ** share]];
  }

  function diffused(pixels, t, { a, b }) {
    const scale = 2 * REACH / 65535, unit = pixels.width / (2 * limit), ink = rgb("#222222", t);
    for (let i = 0; i < 2 * count; i += 2) {
      const x = a * (packed[i] * scale - REACH) + b * (packed[2 * count + i] * scale - REACH);
      const y = a * (packed[i + 1] * scale - REACH) + b * (packed[2 * count + i + 1] * scale - REACH);
      pixels.dot((x + limit) * unit, (limit - y) * unit, 1.6 * pixels.ratio, ink, 0.65);
    }
  }

  model.on("change:answer", receive);
  arrange();
  alarm.textContent = answer.error;
  draw();
  return () => { clearTimeout(timer); leave(); model.off("change:answer", receive); };
}

export default { render };
