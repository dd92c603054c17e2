// Small charts: axes with few ticks, bars, lines, marks of different shapes.

function niceTicks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(10)));
  return ticks;
}

function logTicks(low, high, count) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / count));
  const ticks = [];
  for (let k = first; k <= last; k += every) ticks.push(10 ** k);
  return ticks.length > 1 ? ticks : [low, high];
}

function shortNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(size >= 1e5 || size < 1e-3 ? 1 : 0).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

// Axes on a canvas of w x h; returns functions from values to places.
function axes(pen, t, w, h, { x, y, logX = false, logY = false, xTicks = null, left = 46 }) {
  const box = { left, right: w - 12, top: 10, bottom: h - 24 };
  const place = (range, log, from, to) => {
    const f = log ? Math.log : (v) => v;
    return (v) => from + (f(v) - f(range[0])) / (f(range[1]) - f(range[0])) * (to - from);
  };
  const X = place(x, logX, box.left, box.right), Y = place(y, logY, box.bottom, box.top);
  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const v of logY ? logTicks(...y, 5) : niceTicks(...y, 4)) {
    pen.strokeStyle = t.grid;
    pen.beginPath();
    pen.moveTo(box.left, Math.round(Y(v)) + 0.5);
    pen.lineTo(box.right, Math.round(Y(v)) + 0.5);
    pen.stroke();
    pen.fillStyle = t.axis;
    pen.fillText(shortNumber(v), box.left - 5, Y(v));
  }
  pen.textAlign = "center";
  for (const v of xTicks || (logX ? logTicks(...x, 5) : niceTicks(...x, 5))) pen.fillText(shortNumber(v), X(v), box.bottom + 12);
  pen.strokeStyle = t.axis;
  pen.beginPath();
  pen.moveTo(box.left, box.bottom + 0.5);
  pen.lineTo(box.right, box.bottom + 0.5);
  pen.stroke();
  return { X, Y, box };
}

function line(pen, points, colour, width = 1.5) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.stroke();
}

// Marks whose shape says as much as their colour.
function mark(pen, shape, x, y, r, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  const corners = [0, 4, 3, 4, 5][shape % 5], turn = [0, Math.PI / 4, -Math.PI / 2, 0, -Math.PI / 2][shape % 5];
  if (!corners) pen.arc(x, y, r, 0, 2 * Math.PI);
  else for (let k = 0; k < corners; k++) pen.lineTo(x + 1.25 * r * Math.cos(turn + 2 * Math.PI * k / corners), y + 1.25 * r * Math.sin(turn + 2 * Math.PI * k / corners));
  pen.fill();
}
