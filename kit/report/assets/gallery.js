"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const counts = await Counts.of(data);
  const images = data.images;
  const best = data.rules;
  const colours = { truth: "#22d3ee", found: [255, 122, 26] };
  let rule = { ...best[0] };
  let shown = [];
  let visible = 0;
  const PAGE = 48;

  // ---- what the rule makes of every image -------------------------------------------------------------------------
  const dice = new Float64Array(counts.length);
  const area = new Float64Array(counts.length);
  const estimated = new Map(); // by row: what `component` leaves of an image, from its small map

  function decide() {
    for (let row = 0; row < counts.length; row++) {
      const cut = cutOf(rule, counts, data.probability, row);
      let pixels = counts.areaAt(row, cut);
      let overlap = counts.overlapAt(row, cut);
      const left = rule.name === "component" && cut < 256 ? estimated.get(row) : undefined;
      if (left) [pixels, overlap] = [pixels * left.area, overlap * left.overlap];
      area[row] = pixels;
      dice[row] = diceOf(pixels, overlap, counts.truth[row]);
    }
  }

  async function estimate() {
    estimated.clear();
    if (rule.name !== "component" || !rule.removal) return;
    const side = data.mapSide;
    for (const image of images) {
      const { map, truth } = await mapOf(image);
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

  function tally(mask, truth) {
    const sums = { area: 0, overlap: 0 };
    for (let i = 0; i < mask.length; i++) {
      sums.area += mask[i];
      sums.overlap += mask[i] & truth[i];
    }
    return sums;
  }

  const maps = new Map();
  function mapOf(image) {
    if (!maps.has(image.row)) {
      const size = data.mapSide ** 2;
      maps.set(
        image.row,
        inflated(image.map).then((bytes) => ({ map: bytes.subarray(0, size), truth: bytes.subarray(size) })),
      );
    }
    return maps.get(image.row);
  }

  function outcome(row) {
    if (counts.truth[row]) return !area[row] ? "missed" : dice[row] ? "found" : "misplaced";
    return area[row] ? "false positive" : "kept empty";
  }

  // ---- totals -----------------------------------------------------------------------------------------------------
  function surfaceDice() {
    const { removals, surface } = rule;
    let column = 0;
    while (column + 1 < removals.length && removals[column + 1] <= rule.removal) column++;
    return surface[Math.min(rule.level, 255) * removals.length + column];
  }

  function totals() {
    let sum = 0, weight = 0, positives = 0, found = 0, empty = 0, masked = 0;
    for (let row = 0; row < counts.length; row++) {
      sum += data.weights[row] * dice[row];
      weight += data.weights[row];
      masked += area[row] > 0;
      if (counts.truth[row]) { positives++; found += dice[row]; } else empty += area[row] === 0;
    }
    const component = rule.name === "component";
    const whole = component && rule.surface ? surfaceDice() : sum / weight;
    const start = best[0].dice;
    const gain = whole - start;
    const near = component ? "≈ " : "";
    const rows = [
      ["Dice of all images", whole.toFixed(4)],
      ["against the run's rule", `${gain >= 0 ? "+" : "−"}${Math.abs(gain).toFixed(4)}`],
      ["on positives", positives ? near + (found / positives).toFixed(4) : "–"],
      ["negatives kept empty", counts.length > positives ? `${near}${((100 * empty) / (counts.length - positives)).toFixed(1)} %` : "–"],
      ["images with a mask", `${near}${masked} of ${counts.length}`],
    ];
    element("totals").replaceChildren(
      ...rows.map(([name, value]) => {
        const box = document.createElement("div");
        const term = document.createElement("dt");
        const detail = document.createElement("dd");
        [term.textContent, detail.textContent] = [name, value];
        box.append(term, detail);
        return box;
      }),
    );
  }

  // ---- tiles ------------------------------------------------------------------------------------------------------
  const percent = (pixels) => `${((100 * pixels) / data.pixels).toFixed(2)} %`;
  const score = (row) => `${estimated.has(row) ? "≈ " : ""}${dice[row].toFixed(3)}`;
  const describe = (image) =>
    `Image ${image.id}: ${outcome(image.row)}, Dice ${score(image.row)}, truth ${percent(counts.truth[image.row])}, mask ${percent(area[image.row])}`;
  const tiles = new Map();

  function tileOf(image) {
    if (tiles.has(image.row)) return tiles.get(image.row);
    const item = document.createElement("li");
    item.innerHTML =
      '<button type="button"><span class="shot"><img alt="" decoding="async"><canvas role="img" aria-label=""></canvas></span>' +
      '<span class="facts"><span class="badge"></span><b></b><span class="area"></span><span class="id"></span></span></button>';
    item.dataset.id = image.id;
    const picture = item.querySelector("img");
    picture.src = `data:image/webp;base64,${image.picture}`;
    picture.alt = `Radiograph ${image.id}`;
    item.querySelector(".id").textContent = image.id.length > 24 ? `…${image.id.slice(-22)}` : image.id;
    item.querySelector(".id").title = image.id;
    item.querySelector("button").addEventListener("click", () => view(image));
    tiles.set(image.row, item);
    return item;
  }

  async function refresh(image) {
    const item = tileOf(image);
    const row = image.row;
    const kind = outcome(row);
    item.dataset.dice = dice[row].toFixed(6);
    const badge = item.querySelector(".badge");
    badge.textContent = kind;
    badge.dataset.kind = kind;
    item.querySelector("b").textContent = `Dice ${score(row)}`;
    item.querySelector(".area").textContent = `truth ${percent(counts.truth[row])}, mask ${percent(area[row])}`;
    item.querySelector("button").setAttribute("aria-label", `Open ${describe(image)}`);
    const canvas = item.querySelector("canvas");
    canvas.setAttribute("aria-label", `Masks of ${describe(image)}`);
    await paint(canvas, image, ["prediction", "truth"], 256);
  }

  // ---- painting ---------------------------------------------------------------------------------------------------
  async function paint(canvas, image, layers, side) {
    const { map } = await mapOf(image);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    const cut = cutOf(rule, counts, data.probability, image.row);
    if (layers.includes("prediction")) {
      canvas.dataset.pixels = 0;
      if (cut < 256) {
        // `component` looks at the small map, whose pixels its areas are counted in; the others at the enlarged one.
        const small = rule.name === "component" ? maskOf(map, data.mapSide, cut, rule, data.fullArea) : null;
        const levels = enlarged(map, data.mapSide, side);
        const kept = small ? enlarged(small.map((pixel) => pixel * 255), data.mapSide, side) : null;
        fill(context, side, canvas, (i) => levels[i] >= cut && (!kept || kept[i] > 64));
      }
    }
    if (layers.includes("probability")) heat(context, side, enlarged(map, data.mapSide, side));
    if (layers.includes("truth")) outline(context, side, image.outline);
  }

  function fill(context, side, canvas, inside) {
    const [red, green, blue] = colours.found;
    const picture = context.createImageData(side, side);
    let pixels = 0;
    for (let i = 0; i < side * side; i++) {
      if (!inside(i)) continue;
      pixels++;
      const x = i % side;
      const edge = x === 0 || x === side - 1 || !inside(i - 1) || !inside(i + 1) || i < side || i >= side * (side - 1) || !inside(i - side) || !inside(i + side);
      picture.data.set([red, green, blue, edge ? 255 : 80], 4 * i);
    }
    canvas.dataset.pixels = pixels;
    context.putImageData(picture, 0, 0);
  }

  function heat(context, side, levels) {
    const picture = context.createImageData(side, side);
    for (let i = 0; i < levels.length; i++) {
      const p = levels[i] / 255; // black → violet → orange → yellow, as opaque as it is probable
      const red = Math.min(255, 60 + 330 * p);
      const green = Math.max(0, 300 * p - 70);
      const blue = Math.max(0, 150 * Math.sin(Math.PI * Math.min(1, p * 1.25)));
      picture.data.set([red, green, blue, Math.min(225, 420 * p)], 4 * i);
    }
    context.putImageData(picture, 0, 0);
  }

  function outline(context, side, borders) {
    context.strokeStyle = colours.truth;
    context.lineWidth = Math.max(1.5, side / 200);
    context.lineJoin = "round";
    for (const border of borders) {
      context.beginPath();
      for (let i = 0; i < border.length; i += 2) context.lineTo((border[i] * side) / 1000, (border[i + 1] * side) / 1000);
      context.closePath();
      context.stroke();
    }
  }

  // ---- the viewer -------------------------------------------------------------------------------------------------
  const viewer = element("viewer");
  let open = null;

  async function view(image) {
    open = image;
    const row = image.row;
    const age = image.age === null ? "age unknown" : `${image.age} years`;
    element("viewer-title").textContent = image.id;
    element("viewer-facts").textContent =
      `${outcome(row)} · Dice ${score(row)} · truth ${percent(counts.truth[row])} · mask ${percent(area[row])} · ` +
      `P(pneumothorax) ${data.probability[row].toFixed(3)} · ${image.stratum} · ${image.sex}, ${age}, ${image.view} · fold ${image.fold} · patient ${image.patient}`;
    if (!viewer.open) viewer.showModal();
    const picture = new Image();
    picture.src = `data:image/webp;base64,${image.picture}`;
    await picture.decode();
    for (const canvas of viewer.querySelectorAll("canvas")) {
      const layer = canvas.dataset.layer;
      await paint(canvas, image, layer === "prediction" ? ["prediction", "truth"] : [layer], 512);
      const context = canvas.getContext("2d");
      context.globalCompositeOperation = "destination-over";
      context.drawImage(picture, 0, 0, 512, 512);
      context.globalCompositeOperation = "source-over";
      canvas.setAttribute("aria-label", `${layer} of ${describe(image)}`);
    }
  }

  function step(by) {
    const here = shown.indexOf(open);
    if (open && shown[here + by]) view(shown[here + by]);
  }
  element("close").addEventListener("click", () => viewer.close());
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
    if (event.target.matches("canvas")) event.target.closest("figure").classList.toggle("large");
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  viewer.addEventListener("close", () => {
    const tile = open && tiles.get(open.row);
    open = null;
    if (tile?.isConnected) tile.querySelector("button").focus();
  });

  // ---- sort and filter --------------------------------------------------------------------------------------------
  const orders = {
    worst: (a, b) => dice[a.row] - dice[b.row] || counts.truth[b.row] + area[b.row] - counts.truth[a.row] - area[a.row],
    best: (a, b) => dice[b.row] - dice[a.row] || counts.truth[b.row] - counts.truth[a.row],
    large: (a, b) => counts.truth[b.row] - counts.truth[a.row],
    small: (a, b) => (counts.truth[a.row] || Infinity) - (counts.truth[b.row] || Infinity),
    masked: (a, b) => area[b.row] - area[a.row],
    probability: (a, b) => data.probability[b.row] - data.probability[a.row],
    id: (a, b) => (a.id < b.id ? -1 : 1),
  };
  const bands = { "below 0.2 %": [0, 0.002], "0.2–0.8 %": [0.002, 0.0078], "0.8–3 %": [0.0078, 0.031], "3 % and more": [0.031, 2] };
  const filters = ["outcome", "area", "sex", "view", "fold"];

  function passes(image) {
    const value = Object.fromEntries(filters.map((name) => [name, element(name).value]));
    const kind = outcome(image.row);
    const positive = counts.truth[image.row] > 0;
    const share = counts.truth[image.row] / data.pixels;
    const band = bands[value.area];
    return (
      (!value.outcome || value.outcome === kind || (value.outcome === "positives" && positive) || (value.outcome === "negatives" && !positive)) &&
      (!band || (positive && share >= band[0] && share < band[1])) &&
      ["sex", "view", "fold"].every((name) => !value[name] || String(image[name]) === value[name]) &&
      image.id.toLowerCase().includes(element("search").value.trim().toLowerCase())
    );
  }

  function arrange() {
    shown = images.filter(passes).sort((a, b) => orders[element("sort").value](a, b) || (a.id < b.id ? -1 : 1));
    visible = Math.min(PAGE, shown.length);
    render();
  }

  function render() {
    const page = shown.slice(0, visible);
    element("tiles").replaceChildren(...page.map(tileOf));
    page.forEach(refresh);
    element("count").textContent = `${shown.length} of ${images.length} images`;
    element("more").hidden = visible >= shown.length;
  }

  element("more").addEventListener("click", () => {
    const next = shown[visible];
    visible = Math.min(visible + PAGE, shown.length);
    render();
    tileOf(next).querySelector("button").focus();
  });

  // ---- controls ---------------------------------------------------------------------------------------------------
  // R-TH on a scale that is fine where thresholds are small: 0 … 2^20 + 1 pixels over 0 … 2000.
  const removalOf = (place) => Math.round(2 ** ((place / 2000) * Math.log2(data.fullArea + 2)) - 1);
  const placeOf = (removal) => Math.round((Math.log2(removal + 1) / Math.log2(data.fullArea + 2)) * 2000);

  // A rule without thresholds shows those of another one: moving them chooses it.
  const movable = () => (rule.level === undefined ? best.find((known) => known.name === "image") ?? rule : rule);

  function showControls() {
    const rule = movable();
    for (const name of ["top", "level", "removal", "gate"]) element(`${name}-box`).hidden = rule[name] === undefined;
    const texts = {
      top: (value) => (value / 255).toFixed(3),
      level: (value) => (value / 255).toFixed(3),
      removal: (value) => `${value} px`,
      gate: (value) => value.toFixed(2),
    };
    const places = { removal: placeOf, gate: (value) => Math.round(value * 100) };
    for (const [name, text] of Object.entries(texts)) {
      if (rule[name] === undefined) continue;
      const slider = element(name);
      if (document.activeElement !== slider) slider.value = (places[name] ?? Number)(rule[name]);
      slider.setAttribute("aria-valuetext", text(rule[name]));
      element(`${name}-value`).textContent = text(rule[name]);
    }
  }

  function follow() {
    showControls();
    decide();
    totals();
    shown.slice(0, visible).forEach(refresh);
  }

  async function settle() {
    await estimate();
    follow();
    arrange();
  }

  function choose(name) {
    rule = { ...best.find((known) => known.name === name) };
    return settle();
  }

  const read = { top: Number, level: Number, removal: (value) => removalOf(Number(value)), gate: (value) => Number(value) / 100 };
  for (const [name, value] of Object.entries(read)) {
    element(name).addEventListener("input", () => {
      rule = { ...movable() };
      rule[name] = value(element(name).value);
      element("rule").value = rule.name;
      follow();
    });
    element(name).addEventListener("change", settle);
  }
  element("rule").replaceChildren(
    ...best.map((known, place) => new Option(place ? known.name : `${known.name} (in use)`, known.name)),
  );
  element("rule").addEventListener("change", () => choose(element("rule").value));
  element("reset").addEventListener("click", () => choose((element("rule").value = best[0].name)));
  const options = {
    outcome: ["positives", "negatives", ...data.outcomes],
    area: Object.keys(bands),
    ...Object.fromEntries(["sex", "view", "fold"].map((name) => [name, [...new Set(images.map((image) => String(image[name])))].sort()])),
  };
  for (const name of filters) {
    element(name).replaceChildren(new Option("all", ""), ...options[name].map((value) => new Option(value, value)));
    element(name).addEventListener("change", arrange);
  }
  element("sort").addEventListener("change", arrange);
  element("search").addEventListener("input", arrange);
  for (const form of ["live", "filters"]) element(form).addEventListener("submit", (event) => event.preventDefault());
  for (const known of best) {
    if (known.surface) known.surface = new Float32Array((await inflated(known.surface)).buffer);
  }

  document.querySelector(".workbench").hidden = false;
  await settle();
  document.documentElement.dataset.ready = "yes"; // for tests
})();
