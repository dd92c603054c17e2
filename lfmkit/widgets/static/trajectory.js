// The trajectory explorer: one panel for each method, one scrubber for all, everything drawn here.

const SECONDS = 6; // from the first to the last frame
const TURNS = { all: null, right: 0, up: 6, left: 12, down: 18 }; // centres of the quarters, in colours of the wheel

function render({ model, el }) {
  const about = model.get("about"), packed = unpack(model.get("points"));
  const { frames, count, panels, ends, wheel, size, limit, lines } = about;
  const shown = { points: true, paths: about.paths, from: "all" };
  const colours = wheel.map((hex) => rgb(hex, { dark: false })); // light enough for both themes

  const redraw = perFrame(draw);
  const { root, leave } = makeRoot(el, about.label, redraw);
  const player = makePlayer({
    model, frames, redraw, label: "step", seconds: SECONDS,
    text: (k) => `${k + 1} of ${frames}`,
  });
  const points = makeCheck("points", true, (on) => { shown.points = on; redraw(); });
  const paths = makeCheck("paths", about.paths, (on) => { shown.paths = on; redraw(); });
  const from = makeSelect("start", [["all", "everywhere"], "right", "up", "left", "down"], (name) => { shown.from = name; redraw(); });
  const key = makeCanvas(44, 44, { bare: true });
  root.append(
    make("div", { class: "row" }, player.play, player.slider, points.node, paths.node, from.node, key.node),
  );
  const views = panels.map((panel) => {
    const canvas = makeCloudCanvas(size);
    return { ...panel, canvas, panel: makePanel(panel.title, canvas, panel.colour) };
  });
  root.append(make("div", { class: "panels" }, ...views.map((view) => view.panel.node)));

  function quarter(hue) {
    const centre = TURNS[shown.from];
    if (centre === null) return true;
    const away = Math.abs(hue - centre) % wheel.length;
    return Math.min(away, wheel.length - away) <= wheel.length / 8;
  }

  function draw() {
    key.draw((pen, t) => {
      wheel.forEach((colour, hue) => {
        const turn = 2 * Math.PI / wheel.length, middle = -hue * turn;
        pen.globalAlpha = quarter(hue) ? 1 : 0.15;
        pen.fillStyle = colour;
        pen.beginPath();
        pen.arc(22, 22, 20, middle - turn / 2 - 0.02, middle + turn / 2 + 0.02);
        pen.arc(22, 22, 10, middle + turn / 2, middle - turn / 2, true);
        pen.fill();
      });
    }, `Colour of a point: the direction it starts in, ${shown.from === "all" ? "all directions" : shown.from} shown`);
    views.forEach((view, p) => {
      view.canvas.draw((pixels) => paint(pixels, p), describe(view));
      view.panel.recolour();
      view.panel.below.textContent = `${view.readouts[player.frame]}\n${view.nfe}`;
    });
  }

  function describe(view) {
    const what = [shown.points && `${count.toLocaleString("en")} points`, shown.paths && `${lines.length} paths`];
    const from = shown.from === "all" ? "" : `, those that start ${shown.from} stand out`;
    return `${view.title}: ${what.filter(Boolean).join(" and ") || "nothing"}${from}; ${view.readouts[player.frame]}, ${view.nfe}`;
  }

  function paint(pixels, p) {
    const { frame } = player;
    const first = (k) => (k * panels.length + p) * count; // first point of frame k in this panel
    if (shown.points) {
      for (const on of [false, true]) { // points that stand out are drawn last
        colours.forEach((colour, hue) => {
          if (quarter(hue) !== on) return;
          const alpha = on ? (shown.paths ? 0.45 : 0.85) : 0.12;
          pixels.points(packed, first(frame) + ends[hue], first(frame) + ends[hue + 1], limit, about.dot, colour, alpha);
        });
      }
    }
    if (!shown.paths) return;
    const scale = (2 * REACH / 65535) * pixels.width / (2 * limit), shift = (limit - REACH) * pixels.width / (2 * limit);
    for (const { point, hue } of lines) {
      if (!quarter(hue)) continue;
      let x0 = NaN, y0 = NaN;
      for (let k = 0; k <= frame; k++) {
        const at = 2 * (first(k) + point), x = packed[at] * scale + shift, y = pixels.height - shift - packed[at + 1] * scale;
        if (k) pixels.line(x0, y0, x, y, 1.2, colours[hue], 0.8);
        [x0, y0] = [x, y];
      }
      pixels.dot(x0, y0, 4.5 * pixels.ratio, colours[hue], 1);
    }
  }

  draw();
  if (about.autoplay && !matchMedia("(prefers-reduced-motion: reduce)").matches) player.start();
  return () => { player.leave(); leave(); };
}

export default { render };
