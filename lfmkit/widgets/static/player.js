// The frame shown, with a play button and a slider for it; the kernel learns it a little later, and may set it.
function makePlayer({ model, frames, label, text, seconds, redraw }) {
  const last = frames - 1;
  let frame = Math.max(0, Math.min(model.get("frame"), last)), playing = 0, saving = 0;
  const play = make("button", { type: "button", class: "play", disabled: !last, onclick: () => (playing ? stop() : start()) });
  const slider = makeSlider({ label, min: 0, max: last, step: 1, wide: true, text, change: (k) => { stop(); go(k); } });
  slider.input.disabled = !last;

  function go(k) {
    frame = k;
    slider.set(k);
    show();
    clearTimeout(saving);
    saving = setTimeout(() => { model.set("frame", frame); model.save_changes(); }, 250);
  }
  function start() {
    const first = frame === last ? 0 : frame, began = performance.now();
    const next = (now) => {
      const k = Math.min(last, first + Math.floor((now - began) / 1000 / seconds * last));
      if (k !== frame) go(k);
      playing = k < last ? requestAnimationFrame(next) : 0;
      if (!playing) show();
    };
    playing = requestAnimationFrame(next);
    show();
  }
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    show();
  }
  function show() {
    play.textContent = playing ? "❚❚ pause" : frame === last ? "↺ again" : "▶ play";
    redraw();
  }
  const follow = () => {
    const k = Math.max(0, Math.min(model.get("frame"), last));
    if (k !== frame) { stop(); go(k); }
  };
  model.on("change:frame", follow);
  slider.set(frame);
  show();
  return {
    play, slider: slider.node, start,
    get frame() { return frame; },
    leave() { stop(); clearTimeout(saving); model.off("change:frame", follow); },
  };
}
