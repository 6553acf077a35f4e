"use strict";
// The gallery: tiles that can be sorted and filtered, sliders for the thresholds, and an address that restores the view.
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const counts = await Counts.of(data);
  for (const image of data.images) {
    for (const [name, column] of Object.entries(data.cases)) image[name] = column[image.row];
    image.id = image.image_id;
  }
  const images = data.images;
  const known = data.rules;
  const decision = new Decision(data, counts);
  const { dice, area } = decision;
  const tiles = new Map();
  const PAGE = 48;
  let shown = [];
  let visible = 0;
  let picked = null; // rows selected in a figure
  let ready = false;
  const viewer = new Viewer(decision, () => shown, remember, (image) => {
    const tile = tiles.get(image.row);
    if (tile?.isConnected) tile.querySelector("button").focus();
  });

  // ---- totals and tiles -------------------------------------------------------------------------------------------
  function showTotals() {
    element("totals").replaceChildren(
      ...decision.totals().map(([name, value]) => {
        const box = document.createElement("div");
        const term = document.createElement("dt");
        const detail = document.createElement("dd");
        [term.textContent, detail.textContent] = [name, value];
        box.append(term, detail);
        return box;
      }),
    );
  }

  function tileOf(image) {
    if (tiles.has(image.row)) return tiles.get(image.row);
    const item = document.createElement("li");
    item.innerHTML =
      '<button type="button"><span class="shot"><img alt="" decoding="async"><canvas role="img" aria-label=""></canvas></span>' +
      '<span class="facts"><span class="badge"></span><b></b><span class="other"></span><span class="area"></span><span class="id"></span></span></button>';
    item.dataset.id = image.id;
    const picture = item.querySelector("img");
    picture.src = `data:image/webp;base64,${image.picture}`;
    picture.alt = `Radiograph ${image.id}`;
    item.querySelector(".shot").style.aspectRatio = image.aspect;
    item.querySelector(".id").textContent = image.id.length > 24 ? `…${image.id.slice(-22)}` : image.id;
    item.querySelector(".id").title = image.id;
    item.querySelector("button").addEventListener("click", () => viewer.show(image));
    tiles.set(image.row, item);
    return item;
  }

  async function refresh(image) {
    const item = tileOf(image);
    const kind = decision.outcome(image.row);
    item.dataset.dice = dice[image.row].toFixed(6);
    const badge = item.querySelector(".badge");
    badge.textContent = kind;
    badge.dataset.kind = kind;
    item.querySelector("b").textContent = `Dice ${decision.score(image.row)}`;
    item.querySelector(".other").textContent = decision.otherScore(image.row);
    item.querySelector(".area").textContent = decision.areas(image.row);
    item.querySelector("button").setAttribute("aria-label", `Open ${decision.describe(image)}`);
    const canvas = item.querySelector("canvas");
    canvas.setAttribute("aria-label", `Masks of ${decision.describe(image)}`);
    await paint(canvas, decision, image, ["prediction", "truth", "other"], 256);
  }

  // ---- sort and filter --------------------------------------------------------------------------------------------
  const apart = ({ row }) => Math.abs(dice[row] - (data.other?.dice[row] ?? dice[row]));
  const orders = {
    worst: (a, b) => dice[a.row] - dice[b.row] || counts.truth[b.row] + area[b.row] - counts.truth[a.row] - area[a.row],
    best: (a, b) => dice[b.row] - dice[a.row] || counts.truth[b.row] - counts.truth[a.row],
    large: (a, b) => counts.truth[b.row] - counts.truth[a.row],
    small: (a, b) => (counts.truth[a.row] || Infinity) - (counts.truth[b.row] || Infinity),
    masked: (a, b) => area[b.row] - area[a.row],
    probability: (a, b) => b.image_probability - a.image_probability,
    difference: (a, b) => apart(b) - apart(a),
    id: (a, b) => (a.id < b.id ? -1 : 1),
  };
  const bands = data.bands; // in pixels of a 1024×1024 image
  const filters = ["outcome", "area", "sex", "view", "fold"];

  function passes(image) {
    const value = Object.fromEntries(filters.map((name) => [name, element(name).value]));
    const kind = decision.outcome(image.row);
    const positive = counts.truth[image.row] > 0;
    const truth = counts.size(image.row, counts.truth[image.row]);
    const band = bands[value.area];
    return (
      (!picked || picked.has(image.row)) &&
      (!value.outcome || value.outcome === kind || (value.outcome === "positives" && positive) || (value.outcome === "negatives" && !positive)) &&
      (!band || (positive && truth >= band[0] && truth < band[1])) &&
      ["sex", "view", "fold"].every((name) => !value[name] || String(image[name]) === value[name]) &&
      image.id.toLowerCase().includes(element("search").value.trim().toLowerCase())
    );
  }

  function arrange() {
    shown = images.filter(passes).sort((a, b) => orders[element("sort").value](a, b) || (a.id < b.id ? -1 : 1));
    visible = Math.min(PAGE, shown.length);
    render();
    remember();
  }

  // Shows only the images of the given rows of a figure, or all images again.
  function pick(rows, title) {
    picked = rows && new Set(rows);
    element("picked").hidden = !rows;
    element("picked").textContent = rows ? `${rows.length} from “${title}” ✕` : "";
    arrange();
    if (rows) element("cases").scrollIntoView();
  }

  // ---- the address --------------------------------------------------------------------------------------------------
  const thresholds = ["top", "level", "removal", "gate"];

  function remember() {
    if (!ready) return;
    const state = new URLSearchParams();
    for (const name of [...filters, "sort", "search"]) {
      if (element(name).value && element(name).value !== "worst") state.set(name, element(name).value);
    }
    const { rule } = decision;
    if (!rule.exact) state.set("rule", rule.name);
    for (const name of rule.exact ? [] : thresholds) if (rule[name] !== undefined) state.set(name, rule[name]);
    if (viewer.open) state.set("case", viewer.open.id);
    try {
      history.replaceState(null, "", `#${state}`);
    } catch {
      // may be forbidden for a page from the disk
    }
  }

  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const name of [...filters, "sort", "search"]) {
      if (state.has(name)) element(name).value = state.get(name);
      if (element(name).selectedIndex < 0) element(name).selectedIndex = 0; // a value that this page lacks
    }
    const rule = ruleOf(state.get("rule"));
    if (rule?.level !== undefined || rule?.cut) {
      const given = thresholds.filter((name) => rule[name] !== undefined && state.has(name) && isFinite(state.get(name)));
      const values = Object.fromEntries(given.map((name) => [name, Number(state.get(name))]));
      decision.rule = { ...rule, exact: undefined, ...values };
      element("rule").value = rule.name;
    }
    settle();
    const open = images.find(({ id }) => id === state.get("case"));
    if (open) viewer.show(open);
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
  // R-TH on a logarithmic scale: 0 … 2^20 + 1 pixels over 0 … 2000.
  const removalOf = (place) => Math.round(2 ** ((place / 2000) * Math.log2(data.fullArea + 2)) - 1);
  const placeOf = (removal) => Math.round((Math.log2(removal + 1) / Math.log2(data.fullArea + 2)) * 2000);

  const ruleOf = (name) => known.find((rule) => rule.name === name);
  // A rule without movable thresholds shows those of the rule `image`; moving them selects that rule.
  const movable = (name) =>
    name !== "gate" && decision.rule.level === undefined ? ruleOf("image") ?? decision.rule : decision.rule;

  function showControls() {
    element("borrowed").hidden = movable("level") === decision.rule;
    for (const name of thresholds) {
      element(`${name}-box`).hidden = movable(name)[name] === undefined;
    }
    const texts = {
      top: (value) => (value / 255).toFixed(3),
      level: (value) => (value / 255).toFixed(3),
      removal: (value) => `${value} px`,
      gate: (value) => value.toFixed(2),
    };
    const places = { removal: placeOf, gate: (value) => Math.round(value * 100) };
    for (const [name, text] of Object.entries(texts)) {
      const rule = movable(name);
      if (rule[name] === undefined) continue;
      const slider = element(name);
      if (document.activeElement !== slider) slider.value = (places[name] ?? Number)(rule[name]);
      slider.setAttribute("aria-valuetext", text(rule[name]));
      element(`${name}-value`).textContent = text(rule[name]);
    }
  }

  function follow() {
    showControls();
    decision.decide();
    showTotals();
    shown.slice(0, visible).forEach(refresh);
  }

  function settle() {
    follow();
    arrange();
  }

  function choose(name) {
    decision.rule = { ...ruleOf(name) };
    settle();
  }

  const read = { top: Number, level: Number, removal: (value) => removalOf(Number(value)), gate: (value) => Number(value) / 100 };
  for (const [name, value] of Object.entries(read)) {
    element(name).addEventListener("input", () => {
      decision.rule = { ...movable(name), exact: undefined, [name]: value(element(name).value) };
      element("rule").value = decision.rule.name;
      follow();
    });
    element(name).addEventListener("change", settle);
  }
  element("rule").replaceChildren(
    ...known.map(({ name }, place) => new Option(place ? name : `${name} (in use)`, name)),
  );
  element("rule").addEventListener("change", () => choose(element("rule").value));
  element("reset").addEventListener("click", () => choose((element("rule").value = known[0].name)));
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
  element("picked").addEventListener("click", () => pick(null));
  for (const figure of document.querySelectorAll("figure[data-rows]")) bindPoints(figure, pick);
  for (const form of ["live", "filters", "look"]) element(form).addEventListener("submit", (event) => event.preventDefault());

  document.querySelector(".workbench").hidden = false;
  restore();
  ready = true;
  document.documentElement.dataset.ready = "yes"; // for tests
})();
