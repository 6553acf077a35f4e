"use strict";
// Areas and Dice of every image under a rule: known for the run's own rule, counted for others.
class Decision {
  constructor(data, counts) {
    Object.assign(this, { data, counts, rule: { ...data.rules[0] } });
    this.dice = new Float64Array(counts.length);
    this.area = new Float64Array(counts.length);
    this.maps = new Map();
    this.decide();
    this.totals(); // stores the score of the run's own rule
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
      this.area[row] = counts.areaAt(row, cut);
      this.dice[row] = diceOf(this.area[row], counts.overlapAt(row, cut), counts.truth[row]);
    }
  }

  // The level at which a map is cut, 256 for an empty mask.
  cut(row) {
    return cutOf(this.rule, this.counts, this.data.cases.image_probability, row);
  }

  // Small map of an image, as a promise of a Uint8Array.
  mapOf(image) {
    if (!this.maps.has(image.row)) this.maps.set(image.row, inflated(image.map));
    return this.maps.get(image.row);
  }

  outcome(row) {
    if (this.counts.truth[row]) return !this.area[row] ? "missed" : this.dice[row] ? "found" : "misplaced";
    return this.area[row] ? "false positive" : "kept empty";
  }

  // Names and values of the rule's scores on all images.
  totals() {
    const { area, counts, data, dice } = this;
    let sum = 0, weight = 0, positives = 0, found = 0, empty = 0, masked = 0;
    for (let row = 0; row < counts.length; row++) {
      sum += data.weights[row] * dice[row];
      weight += data.weights[row];
      masked += area[row] > 0;
      if (counts.truth[row]) { positives++; found += dice[row]; } else empty += area[row] === 0;
    }
    const whole = sum / weight;
    this.first ??= whole;
    const gain = whole - this.first;
    const negatives = counts.length - positives;
    return [
      ["Dice of all images", whole.toFixed(4)],
      ["against the run's rule", `${gain >= 0 ? "+" : "−"}${Math.abs(gain).toFixed(4)}`],
      ["on positives", positives ? (found / positives).toFixed(4) : "–"],
      ["negatives kept empty", negatives ? `${((100 * empty) / negatives).toFixed(1)} %` : "–"],
      ["images with a mask", `${masked} of ${counts.length}`],
    ];
  }

  percent(row, area) {
    return `${((100 * area) / this.data.pixels[row]).toFixed(2)} %`;
  }

  // Adds square centimetres if the size of a pixel is known.
  extent(row, area) {
    const whole = this.data.cases.image_cm2[row];
    const cm2 = whole ? ` (${((whole * area) / this.data.pixels[row]).toFixed(1)} cm²)` : "";
    return this.percent(row, area) + cm2;
  }

  score(row) {
    return this.dice[row].toFixed(3);
  }

  // Dice of the second run of a comparison; empty without a second run.
  otherScore(row) {
    const { other } = this.data;
    const dice = other?.dice[row];
    return dice === undefined ? "" : `${other.name} ${dice === null ? "–" : dice.toFixed(3)}`;
  }

  // Hausdorff distance between the run's own mask and the truth; empty once a threshold has been moved.
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
