// Shared by all widgets: the theme, sharp canvases, clouds of points, labelled native controls.

const REACH = 9; // half-width of the square that 16 bits hold, as in points.py

function isDark() {
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false";
  if (document.body.dataset.vscodeThemeKind) return document.body.dataset.vscodeThemeKind.includes("dark");
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function theme() {
  return isDark()
    ? { dark: true, rgb: [20, 23, 27], paper: "#14171b", ink: "#e8eaed", axis: "#aab2bb", grid: "#2b3038" }
    : { dark: false, rgb: [255, 255, 255], paper: "#ffffff", ink: "#222222", axis: "#5b636d", grid: "#e9ecef" };
}

// A colour of the light palette, made lighter where paper is dark.
function rgb(hex, t) {
  const mix = !t.dark ? 0 : hex === "#222222" ? 0.9 : 0.3;
  return [1, 3, 5].map((at) => Math.round(parseInt(hex.slice(at, at + 2), 16) * (1 - mix) + 255 * mix));
}

function tone(hex, t) {
  return `rgb(${rgb(hex, t)})`;
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// The widget's root. Keys and clicks stay inside: a notebook would take arrows and letters for commands.
function makeRoot(el, label, redraw) {
  const root = make("div", { class: "lfmkit", role: "group", "aria-label": label });
  root.dataset.lmSuppressShortcuts = "true";
  for (const kind of ["keydown", "keyup", "mousedown", "pointerdown", "touchstart"]) {
    root.addEventListener(kind, (event) => event.stopPropagation(), { passive: true });
  }
  const recolour = () => { root.classList.toggle("dark", isDark()); redraw(); };
  root.classList.toggle("dark", isDark());
  const watched = new MutationObserver(recolour);
  watched.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind"] });
  const preference = matchMedia("(prefers-color-scheme: dark)");
  preference.addEventListener("change", recolour);
  el.append(root);
  const leave = () => { watched.disconnect(); preference.removeEventListener("change", recolour); };
  return { root, leave };
}

// A canvas of fixed size, sharp on every screen; each picture is drawn in one go, so none is seen half done.
function makeCanvas(width, height, { bare = false } = {}) {
  const node = make("canvas", { role: "img", class: bare ? "bare" : "" });
  node.style.width = `${width}px`;
  node.style.aspectRatio = `${width} / ${height}`;
  const pen = node.getContext("2d");
  let ratio = 0;
  return {
    node, width, height,
    draw(picture, text) {
      const now = Math.max(1, window.devicePixelRatio || 1);
      if (now !== ratio) {
        ratio = now;
        node.width = Math.round(width * ratio);
        node.height = Math.round(height * ratio);
      }
      const t = theme();
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.globalAlpha = 1;
      if (bare) pen.clearRect(0, 0, width, height);
      else { pen.fillStyle = t.paper; pen.fillRect(0, 0, width, height); }
      picture(pen, t, ratio);
      if (node.getAttribute("aria-label") !== text) node.setAttribute("aria-label", text);
    },
  };
}

// Several requests before the next frame of the screen make one picture: the latest.
function perFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

function unpack(view) {
  if (!view || !view.byteLength) return new Uint16Array(0);
  return new Uint16Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function makeField(label, control) {
  control.setAttribute("aria-label", label);
  return make("label", { class: "field" }, make("span", {}, label), control);
}

function makeSlider({ label, min, max, step, text, change, wide = false }) {
  const input = make("input", { type: "range", min: String(min), max: String(max), step: String(step) });
  const readout = make("output", { "aria-hidden": "true" });
  const node = make("span", { class: wide ? "control wide" : "control" }, makeField(label, input), readout);
  const show = (value) => {
    readout.textContent = text(value);
    input.setAttribute("aria-valuetext", text(value));
  };
  input.addEventListener("input", () => { show(Number(input.value)); change(Number(input.value)); });
  return {
    node, input,
    set(value) { input.value = value; show(value); },
    range(low, high) { input.min = low; input.max = high; },
  };
}

function makeSelect(label, options, change) {
  const entries = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const select = make("select", {}, ...entries.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", () => change(select.value));
  return { node: makeField(label, select), select };
}

function makeCheck(label, checked, change) {
  const box = make("input", { type: "checkbox", checked });
  box.addEventListener("change", () => change(box.checked));
  return { node: make("label", { class: "field" }, box, make("span", {}, label)), box };
}

// A titled canvas with a line of text below; the bar beside the title has the method's colour.
function makePanel(title, canvas, colour = null) {
  const below = make("div", { class: "below" });
  const caption = make("figcaption", { title }, title);
  if (colour) caption.classList.add("method");
  caption.style.maxWidth = `${canvas.width}px`;
  below.style.width = `${canvas.width}px`;
  below.style.maxWidth = "100%";
  return {
    node: make("figure", {}, caption, canvas.node, below), caption, below, canvas,
    recolour() { if (colour) caption.style.borderLeftColor = tone(colour, theme()); },
  };
}
