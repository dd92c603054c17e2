// Thousands of points and lines, written straight into a canvas's pixels: some ten times faster than rectangles.

class Pixels {
  // For a canvas of width x height CSS pixels that shows [-limit, limit] in both directions.
  constructor(width, height, ratio) {
    this.ratio = ratio;
    this.width = Math.round(width * ratio);
    this.height = Math.round(height * ratio);
    this.image = new ImageData(this.width, this.height);
  }

  clear([r, g, b]) {
    new Uint32Array(this.image.data.buffer).fill((255 << 24) | (b << 16) | (g << 8) | r);
  }

  // A square of side `size` (CSS pixels) around a place in device pixels, each pixel by the share it covers.
  dot(x, y, side, [r, g, b], alpha) {
    const { data } = this.image;
    const half = side / 2, x1 = x + half, y1 = y + half, x0 = x - half, y0 = y - half;
    const right = Math.min(this.width, Math.ceil(x1)), bottom = Math.min(this.height, Math.ceil(y1));
    for (let j = Math.max(0, Math.floor(y0)); j < bottom; j++) {
      const covered = alpha * (Math.min(y1, j + 1) - Math.max(y0, j));
      for (let i = Math.max(0, Math.floor(x0)); i < right; i++) {
        const a = covered * (Math.min(x1, i + 1) - Math.max(x0, i)), k = 4 * (j * this.width + i);
        data[k] += (r - data[k]) * a;
        data[k + 1] += (g - data[k + 1]) * a;
        data[k + 2] += (b - data[k + 2]) * a;
      }
    }
  }

  // Points [from, to) of packed pairs.
  points(packed, from, to, limit, side, colour, alpha) {
    const scale = (2 * REACH / 65535) * this.width / (2 * limit), shift = (limit - REACH) * this.width / (2 * limit);
    const size = side * this.ratio, top = this.height - shift;
    for (let i = 2 * from; i < 2 * to; i += 2) {
      this.dot(packed[i] * scale + shift, top - packed[i + 1] * scale, size, colour, alpha);
    }
  }

  // A line between two places in device pixels, as a row of dots.
  line(x0, y0, x1, y1, side, colour, alpha) {
    const size = side * this.ratio, length = Math.hypot(x1 - x0, y1 - y0);
    const steps = Math.ceil(length / (0.75 * size));
    for (let s = 0; s < steps; s++) this.dot(x0 + (x1 - x0) * s / steps, y0 + (y1 - y0) * s / steps, size, colour, alpha);
  }
}

function writeMiddle(pen, t, text, size) {
  pen.fillStyle = t.axis;
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillText(text, size / 2, size / 2);
}

// A canvas for clouds: `picture` fills the pixels, then `over` may write on them with a pen.
function makeCloudCanvas(size) {
  const canvas = makeCanvas(size, size);
  let pixels = null;
  return {
    ...canvas,
    draw(picture, text, over = null) {
      canvas.draw((pen, t, ratio) => {
        if (!pixels || pixels.ratio !== ratio) pixels = new Pixels(size, size, ratio);
        pixels.clear(t.rgb);
        picture(pixels, t);
        pen.putImageData(pixels.image, 0, 0);
        if (over) over(pen, t);
      }, text);
    },
  };
}
