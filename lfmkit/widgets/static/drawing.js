// The drawing pad: ink is drawn here at once and sent to the kernel after each stroke; the kernel trains.

const SIDE = 340; // CSS pixels of the pad

function toText(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function render({ model, el }) {
  const about = model.get("about"), { size, limit } = about;
  const unit = SIDE * 8 / (2 * limit) / (size - 1); // a pixel: centres lie on [-4, 4] of [-limit, limit]
  const origin = SIDE * (limit - 4) / (2 * limit); // centre of the first pixel
  const ink = new Uint8Array(size * size), pen_ = { x: size >> 1, y: size >> 1, down: false, shown: false };
  let radius = 1.5, erasing = false, sent = "", telling = 0, stroke = null;
  const small = document.createElement("canvas");
  small.width = small.height = size;
  const redraw = perFrame(draw);
  const { root, leave } = makeRoot(el, about.label, redraw);

  const canvas = makeCanvas(SIDE, SIDE), result = makeCloudCanvas(SIDE);
  const hint = make("p", { class: "hint", id: `hint-${Math.random().toString(36).slice(2)}` },
    "Draw with mouse or finger. By keyboard: arrow keys move the pen (with Shift, five pixels), space puts it down and lifts it.");
  const pad = make("div", {
    class: "pad", tabindex: "0", role: "application", "aria-label": "drawing pad", "aria-describedby": hint.id,
  });
  const voice = make("div", { class: "hidden-text", role: "status" });
  const brush = makeSlider({ label: "brush", min: 1, max: 8, step: 1, text: (v) => `${v} px`, change: (v) => { radius = v / 2; redraw(); } });
  const eraser = makeCheck("eraser", false, (on) => { erasing = on; redraw(); });
  const clear = make("button", { type: "button", onclick: () => { ink.fill(0); redraw(); tell(); voice.textContent = "cleared"; } }, "Clear");
  const train = make("button", { type: "button", class: "main", onclick: begin }, "Train a flow");
  const halt = make("button", { type: "button", onclick: () => { halt.disabled = true; model.send({ do: "stop" }); } }, "Stop");
  const bar = make("progress", { max: "1", "aria-label": "training" });
  const news = make("span", { class: "below" }), alarm = make("div", { role: "alert" });
  const left = makePanel("the drawing", canvas), right = makePanel("the trained flow", result);
  left.node.insertBefore(pad, left.below); // the pad, which holds the canvas, takes the canvas's place
  pad.append(canvas.node);
  root.append(
    make("div", { class: "row" }, brush.node, eraser.node, clear),
    make("div", { class: "panels" }, left.node, right.node),
    make("div", { class: "row" }, train, halt, bar, news), alarm, hint, voice,
  );

  function readInk() {
    const text = model.get("ink");
    if (text === sent) return;
    sent = text;
    const bytes = atob(text);
    for (let i = 0; i < ink.length; i++) ink[i] = bytes.charCodeAt(i);
    redraw();
  }
  function tell() {
    clearTimeout(telling);
    telling = setTimeout(() => {
      sent = toText(ink);
      model.set("ink", sent);
      model.save_changes();
    }, 60);
  }

  function stamp(x, y) {
    const reach = Math.ceil(radius) + 1;
    for (let j = Math.max(0, Math.floor(y - reach)); j <= Math.min(size - 1, y + reach); j++) {
      for (let i = Math.max(0, Math.floor(x - reach)); i <= Math.min(size - 1, x + reach); i++) {
        const share = Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(i - x, j - y)));
        const k = j * size + i, wet = Math.round(255 * share);
        ink[k] = erasing ? Math.min(ink[k], 255 - wet) : Math.max(ink[k], wet);
      }
    }
  }
  function drag(from, to) {
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(to.x - from.x, to.y - from.y)));
    for (let s = 0; s <= steps; s++) stamp(from.x + (to.x - from.x) * s / steps, from.y + (to.y - from.y) * s / steps);
    redraw();
    tell();
  }

  function place(event) {
    const box = canvas.node.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width * SIDE - origin) / unit,
      y: ((event.clientY - box.top) / box.height * SIDE - origin) / unit,
    };
  }
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pad.setPointerCapture(event.pointerId);
    pad.focus({ preventScroll: true });
    stroke = place(event);
    pen_.shown = false;
    drag(stroke, stroke);
  });
  pad.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const at of (events.length ? events : [event]).map(place)) { drag(stroke, at); stroke = at; }
  });
  for (const kind of ["pointerup", "pointercancel"]) pad.addEventListener(kind, () => { stroke = null; });
  pad.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      pen_.down = !pen_.down;
      if (pen_.down) drag(pen_, pen_);
    } else if (moves[event.key]) {
      const [dx, dy] = moves[event.key], far = event.shiftKey ? 5 : 1, from = { ...pen_ };
      pen_.x = Math.max(0, Math.min(size - 1, pen_.x + far * dx));
      pen_.y = Math.max(0, Math.min(size - 1, pen_.y + far * dy));
      if (pen_.down) drag(from, pen_);
    } else if (event.key === "Escape") pen_.down = false;
    else return;
    event.preventDefault();
    pen_.shown = true;
    voice.textContent = `pen ${pen_.down ? "down" : "up"}, column ${pen_.x + 1}, row ${pen_.y + 1}`;
    redraw();
  });
  pad.addEventListener("focus", () => { if (pad.matches(":focus-visible")) { pen_.shown = true; redraw(); } });
  pad.addEventListener("blur", () => { pen_.shown = pen_.down = false; redraw(); });

  function begin() {
    clearTimeout(telling);
    sent = toText(ink);
    train.disabled = true;
    alarm.textContent = "";
    news.textContent = "starting";
    bar.value = 0;
    model.send({ do: "train", ink: sent });
  }

  function draw() {
    const inked = ink.reduce((sum, v) => sum + (v > 127), 0);
    const share = Math.round(100 * inked / ink.length);
    canvas.draw((pen, t) => {
      const image = small.getContext("2d").createImageData(size, size), grey = t.dark ? 235 : 30;
      for (let i = 0; i < ink.length; i++) image.data.set([grey, grey, grey, ink[i]], 4 * i);
      small.getContext("2d").putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, origin - unit / 2, origin - unit / 2, unit * size, unit * size);
      pen.strokeStyle = t.grid;
      pen.strokeRect(origin - unit / 2, origin - unit / 2, unit * size, unit * size);
      if (pen_.shown) cursor(pen, t);
    }, inked ? `The drawing: ${share} % of ${size} x ${size} pixels are ink` : "The drawing: empty paper");
    const packed = unpack(model.get("points")), { state } = model.get("progress");
    const many = packed.length / 2;
    result.draw(
      (pixels, t) => pixels.points(packed, 0, many, limit, 1.8, rgb("#0072b2", t), 0.8),
      many ? `${many.toLocaleString("en")} samples of the trained flow` : "No flow is trained yet",
      (pen, t) => { if (!many) writeMiddle(pen, t, state === "training" ? "training …" : "nothing is trained yet", SIDE); },
    );
  }
  function cursor(pen, t) { // a ring of the brush's size and four ticks: filled while the pen is down
    const x = origin + pen_.x * unit, y = origin + pen_.y * unit, r = Math.max(5, (radius + 0.5) * unit);
    for (const [colour, width] of [[t.paper, 5], [erasing ? "#cc79a7" : "#d55e00", 2.2]]) {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(x, y, r, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { pen.moveTo(x + r * dx, y + r * dy); pen.lineTo(x + (r + 6) * dx, y + (r + 6) * dy); }
      pen.stroke();
    }
    if (!pen_.down) return;
    pen.beginPath();
    pen.arc(x, y, 3.4, 0, 2 * Math.PI);
    pen.fill();
  }

  function showProgress() {
    const { state, share, loss, seconds, message } = model.get("progress"), training = state === "training";
    train.disabled = training;
    halt.disabled = !training;
    bar.value = share;
    bar.setAttribute("aria-valuetext", `${Math.round(100 * share)} %`);
    const numbers = `${Math.round(100 * share)} %, loss ${shortLoss(loss)}, ${seconds.toFixed(1)} s`;
    news.textContent = state === "idle" || state === "failed" ? "" : training ? numbers : `${message}, ${numbers}`;
    alarm.textContent = state === "failed" ? message : "";
    if (state === "done" || state === "stopped") voice.textContent = message;
    redraw();
  }
  function shortLoss(loss) { return loss === null || loss === undefined ? "–" : loss.toPrecision(3); }

  const events = { "change:ink": readInk, "change:progress": showProgress, "change:points": redraw };
  for (const [name, action] of Object.entries(events)) model.on(name, action);
  brush.set(3);
  readInk();
  showProgress();
  draw();
  return () => { clearTimeout(telling); leave(); for (const [name, action] of Object.entries(events)) model.off(name, action); };
}

export default { render };
