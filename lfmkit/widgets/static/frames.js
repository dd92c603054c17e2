// Sheets of images drawn beforehand: a slider and a player switch them.

const PACE = 0.8; // seconds a frame

function render({ model, el }) {
  const about = model.get("about"), packed = model.get("sheets");
  const { labels, name, count, columns, zoom, gap, ends } = about;
  const [high, wide] = about.size;
  const place = (index, side) => index * (side * zoom + gap);
  const rows = Math.ceil(count / columns);
  let sheets = [];

  const redraw = perFrame(draw);
  const { root, leave } = makeRoot(el, about.label, redraw);
  const player = makePlayer({
    model, redraw, frames: labels.length, label: name, seconds: PACE * (labels.length - 1),
    text: (k) => labels[k],
  });
  root.append(make("div", { class: "row" }, player.play, player.slider));
  const canvas = makeCanvas(place(columns, wide) - gap, place(rows, high) - gap, { bare: true });
  canvas.node.classList.add("images");
  const panel = makePanel(about.label, canvas);
  root.append(make("div", { class: "panels" }, panel.node));

  function draw() {
    const title = `${about.label}, ${name} ${labels[player.frame]}`, sheet = sheets[player.frame];
    panel.caption.textContent = title;
    canvas.draw((pen, t, ratio) => {
      if (!sheet) return;
      pen.setTransform(1, 0, 0, 1, 0, 0); // edges on whole pixels of the screen, whatever its ratio
      pen.imageSmoothingEnabled = false;
      for (let k = 0; k < count; k++) {
        const column = k % columns, row = (k - column) / columns;
        const x = Math.round(place(column, wide) * ratio), y = Math.round(place(row, high) * ratio);
        pen.drawImage(sheet, column * wide, row * high, wide, high, x, y,
          Math.round((place(column, wide) + wide * zoom) * ratio) - x, Math.round((place(row, high) + high * zoom) * ratio) - y);
      }
    }, `${title}: ${count.toLocaleString("en")} image${count === 1 ? "" : "s"}`);
  }

  const decoded = labels.map((_, k) => {
    const bytes = new Uint8Array(packed.buffer, packed.byteOffset + ends[k], ends[k + 1] - ends[k]);
    return createImageBitmap(new Blob([bytes], { type: "image/png" }));
  });
  Promise.all(decoded).then((all) => { sheets = all; redraw(); });
  return () => { player.leave(); leave(); };
}

export default { render };
