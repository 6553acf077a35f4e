"use strict";
// The decision rules of kit/inference/rules.py on the page's counts: exact for all rules but `component`.

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Byte planes of counts (N images × 256 levels) → pixels at and above each level, Uint32Array (N · 256).
function atLeast(planes) {
  const count = planes.length / 4;
  const sums = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    sums[i] = planes[i] | (planes[count + i] << 8) | (planes[2 * count + i] << 16) | (planes[3 * count + i] << 24);
  }
  for (let i = count - 2; i >= 0; i--) if (i % 256 !== 255) sums[i] += sums[i + 1];
  return sums;
}

class Counts {
  constructor(data, area, overlap) {
    Object.assign(this, { area, overlap, truth: data.truth, pixels: data.pixels, fullArea: data.fullArea });
    this.length = data.truth.length;
    let place = 0; // only positives have overlaps
    this.place = data.truth.map((pixels) => (pixels ? place++ : -1));
  }
  static async of(data) {
    return new Counts(data, atLeast(await inflated(data.area)), atLeast(await inflated(data.overlap)));
  }
  // Area of {v ≥ level} in pixels, 0 at level 256.
  areaAt(row, level) {
    return level > 255 ? 0 : this.area[row * 256 + level];
  }
  overlapAt(row, level) {
    return level > 255 || this.place[row] < 0 ? 0 : this.overlap[this.place[row] * 256 + level];
  }
  // Converts an area to pixels of a 1024×1024 image.
  size(row, area) {
    return Math.floor((area * this.fullArea) / this.pixels[row]);
  }
}

const diceOf = (area, overlap, truth) => (area + truth ? (2 * overlap) / (area + truth) : 1);

// Level at which a rule cuts an image's map, from counts alone; 256 for an empty mask.
function cutOf(rule, counts, probability, row) {
  if (rule.gate !== undefined && probability[row] < rule.gate) return 256;
  if (rule.cut) return rule.cut[row];
  const sure = rule.name === "triplet" ? rule.top : rule.level;
  return counts.size(row, counts.areaAt(row, sure)) >= rule.removal ? rule.level : 256;
}

// Resizes a square map bilinearly, as OpenCV does.
function enlarged(map, side, wanted) {
  if (side === wanted) return map;
  const large = new Uint8Array(wanted * wanted);
  const scale = side / wanted;
  const last = side - 1;
  const places = Array.from({ length: wanted }, (_, i) => {
    const at = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), last);
    const low = Math.floor(at);
    return [low, Math.min(low + 1, last), at - low];
  });
  for (let y = 0; y < wanted; y++) {
    const [y0, y1, b] = places[y];
    for (let x = 0; x < wanted; x++) {
      const [x0, x1, a] = places[x];
      const upper = map[y0 * side + x0] * (1 - a) + map[y0 * side + x1] * a;
      const lower = map[y1 * side + x0] * (1 - a) + map[y1 * side + x1] * a;
      large[y * wanted + x] = Math.round(upper * (1 - b) + lower * b);
    }
  }
  return large;
}
