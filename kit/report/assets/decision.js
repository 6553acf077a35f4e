"use strict";
// What a rule makes of every image of the page: the run's own as it is known, others by counts, and what `component`
// leaves by its map.
class Decision {
  constructor(data, counts) {
    Object.assign(this, { data, counts, rule: { ...data.rules[0] } });
    this.dice = new Float64Array(counts.length);
    this.area = new Float64Array(counts.length);
    this.estimated = new Map(); // by row: what `component` leaves of an image, from its small map
    this.maps = new Map();
    this.decide();
    this.totals(); // notes what the run's own rule scores
  }

  decide() {
    const { counts, rule } = this;
    for (let row = 0; row < counts.length; row++) {
      if (rule.exact) {
        const { dice, mask_area } = this.data.cases;
        [this.area[row], this.dice[row]] = [(mask_area[row] * counts.pixels[row]) / counts.fullArea, dice[row]];
        continue;
      }
      const cut = this.cut(row);
      let pixels = counts.areaAt(row, cut);
      let overlap = counts.overlapAt(row, cut);
      const left = rule.name === "component" && cut < 256 ? this.estimated.get(row) : undefined;
      if (left) [pixels, overlap] = [pixels * left.area, overlap * left.overlap];
      this.area[row] = pixels;
      this.dice[row] = diceOf(pixels, overlap, counts.truth[row]);
    }
  }

  // The level at which a map is cut, 256 for an empty mask.
  cut(row) {
    return cutOf(this.rule, this.counts, this.data.cases.image_probability, row);
  }

  async estimate() {
    const { data, estimated, rule } = this;
    estimated.clear();
    if (rule.exact || rule.name !== "component" || !rule.removal) return;
    const side = data.mapSide;
    for (const image of data.images) {
      const { map, truth } = await this.mapOf(image);
      if (this.rule !== rule) return; // another one was chosen meanwhile, and is estimated by a call of its own
      const mask = map.map((level) => (level >= rule.level ? 1 : 0));
      const before = tally(mask, truth);
      const after = tally(removeSmall(mask, side, (rule.removal * side * side) / data.fullArea), truth);
      const share = (part, whole) => (whole ? part / whole : 0);
      estimated.set(image.row, {
        area: share(after.area, before.area),
        overlap: before.overlap ? share(after.overlap, before.overlap) : share(after.area, before.area),
      });
    }
  }

  // The small map of an image and its truth, a promise of Uint8Arrays.
  mapOf(image) {
    if (!this.maps.has(image.row)) {
      const size = this.data.mapSide ** 2;
      this.maps.set(
        image.row,
        inflated(image.map).then((bytes) => ({ map: bytes.subarray(0, size), truth: bytes.subarray(size) })),
      );
    }
    return this.maps.get(image.row);
  }

  outcome(row) {
    if (this.counts.truth[row]) return !this.area[row] ? "missed" : this.dice[row] ? "found" : "misplaced";
    return this.area[row] ? "false positive" : "kept empty";
  }

  // The Dice of all images by the surface that the search has left, exact for `component` too; `removal` is one of its.
  surfaceDice() {
    const { level, removal, removals, surface } = this.rule;
    return surface[Math.min(level, 255) * removals.length + removals.indexOf(removal)];
  }

  // Names and values of what the rule scores on all images.
  totals() {
    const { area, counts, data, dice, rule } = this;
    let sum = 0, weight = 0, positives = 0, found = 0, empty = 0, masked = 0;
    for (let row = 0; row < counts.length; row++) {
      sum += data.weights[row] * dice[row];
      weight += data.weights[row];
      masked += area[row] > 0;
      if (counts.truth[row]) { positives++; found += dice[row]; } else empty += area[row] === 0;
    }
    const component = rule.name === "component" && !rule.exact;
    // The surface is of the gate that was searched.
    const known = component && rule.surface && rule.gate === data.rules.find(({ name }) => name === rule.name).gate;
    const whole = known ? this.surfaceDice() : sum / weight;
    this.first ??= whole;
    const gain = whole - this.first;
    const near = component ? "≈ " : "";
    // What `component` leaves of an image without a picture is not known here.
    const unknown = component && rule.removal > 0 && data.images.length < counts.length;
    const negatives = counts.length - positives;
    return [
      ["Dice of all images", known || !unknown ? (known ? "" : near) + whole.toFixed(4) : "–"],
      ["against the run's rule", known || !unknown ? `${gain >= 0 ? "+" : "−"}${Math.abs(gain).toFixed(4)}` : "–"],
      ["on positives", positives && !unknown ? near + (found / positives).toFixed(4) : "–"],
      ["negatives kept empty", negatives && !unknown ? `${near}${((100 * empty) / negatives).toFixed(1)} %` : "–"],
      ["images with a mask", unknown ? "–" : `${near}${masked} of ${counts.length}`],
    ];
  }

  percent(row, area) {
    return `${((100 * area) / this.data.pixels[row]).toFixed(2)} %`;
  }

  // The same with square centimetres, where the size of a pixel is known.
  extent(row, area) {
    const whole = this.data.cases.image_cm2[row];
    const cm2 = whole ? ` (${((whole * area) / this.data.pixels[row]).toFixed(1)} cm²)` : "";
    return this.percent(row, area) + cm2;
  }

  score(row) {
    return `${this.estimated.has(row) ? "≈ " : ""}${this.dice[row].toFixed(3)}`;
  }

  // The Dice of the run that this one is compared with; nothing where there is none.
  otherScore(row) {
    const { other } = this.data;
    const dice = other?.dice[row];
    return dice === undefined ? "" : `${other.name} ${dice === null ? "–" : dice.toFixed(3)}`;
  }

  // How far the outlines of the run's own mask and of the truth lie apart; nothing once a threshold has been moved.
  distance(row) {
    const { hd95, image_cm2 } = this.data.cases;
    if (!this.rule.exact || hd95[row] === null) return "";
    const millimetres = (hd95[row] * 10 * Math.sqrt(image_cm2[row])) / Math.sqrt(this.data.fullArea);
    return `HD95 ${image_cm2[row] ? `${millimetres.toFixed(1)} mm` : `${hd95[row].toFixed(0)} px`}`;
  }

  areas(row) {
    return `truth ${this.percent(row, this.counts.truth[row])}, mask ${this.percent(row, this.area[row])}`;
  }

  describe({ id, row }) {
    return `Image ${id}: ${this.outcome(row)}, Dice ${this.score(row)}, ${this.areas(row)}`;
  }
}

// Foreground of a mask, and of mask and truth together.
function tally(mask, truth) {
  const sums = { area: 0, overlap: 0 };
  for (let i = 0; i < mask.length; i++) {
    sums.area += mask[i];
    sums.overlap += mask[i] & truth[i];
  }
  return sums;
}
