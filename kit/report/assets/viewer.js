"use strict";
// The dialog that shows an image, its truth, mask and probabilities side by side, with common pan and zoom.
class Viewer {
  // `shown` returns the images of the gallery in order; `moved` is called when another image or none is open, `leave`
  // with the last open image.
  constructor(decision, shown, moved, leave) {
    Object.assign(this, { decision, shown, moved, open: null, box: document.getElementById("viewer") });
    const on = (id, act) => document.getElementById(id).addEventListener("click", act);
    on("close", () => this.box.close());
    on("previous", () => this.step(-1));
    on("next", () => this.step(1));
    on("as-it-was", () => this.reset());
    this.box.addEventListener("click", (event) => {
      if (event.target === this.box) this.box.close();
    });
    this.box.addEventListener("keydown", (event) => {
      const act = {
        ArrowLeft: () => event.target.type !== "range" && this.step(-1),
        ArrowRight: () => event.target.type !== "range" && this.step(1),
        "+": () => this.zoom(1.25),
        "=": () => this.zoom(1.25),
        "-": () => this.zoom(0.8),
        0: () => this.reset(),
        h: () => this.box.classList.toggle("bare"),
      }[event.key];
      if (act && !event.ctrlKey && !event.metaKey) act();
    });
    this.box.addEventListener("close", () => {
      const last = this.open;
      this.open = null;
      this.moved();
      if (last) leave(last);
    });
    for (const name of ["brightness", "contrast", "opacity"]) {
      const slider = document.getElementById(name);
      slider.addEventListener("input", () => this.box.style.setProperty(`--${name}`, slider.value));
    }
    for (const pane of this.box.querySelectorAll(".pane")) this.bindPane(pane);
    this.reset();
  }

  bindPane(pane) {
    pane.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      pane.setPointerCapture(event.pointerId);
    });
    pane.addEventListener("pointermove", (event) => {
      if (!pane.hasPointerCapture(event.pointerId)) return;
      const { width, height } = pane.getBoundingClientRect();
      this.place(this.scale, this.x + event.movementX / width, this.y + event.movementY / height);
    });
    pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8);
    });
    pane.addEventListener("dblclick", () => this.zoom(2));
  }

  zoom(by) {
    this.place(Math.min(16, Math.max(1, this.scale * by)), this.x * by, this.y * by);
  }

  // Zooms and pans all panes, in shares of their width and height, within the bounds of the image.
  place(scale, x, y) {
    const most = (scale - 1) / 2;
    const within = (value) => Math.min(most, Math.max(-most, value));
    Object.assign(this, { scale, x: within(x), y: within(y) });
    const style = { "--scale": scale, "--x": `${100 * this.x}%`, "--y": `${100 * this.y}%` };
    for (const [name, value] of Object.entries(style)) this.box.style.setProperty(name, value);
  }

  reset() {
    this.place(1, 0, 0);
    this.box.classList.remove("bare");
    for (const name of ["brightness", "contrast", "opacity"]) {
      document.getElementById(name).value = 1;
      this.box.style.setProperty(`--${name}`, 1);
    }
  }

  async show(image) {
    const { decision } = this;
    this.open = image;
    const age = image.age === null ? "age unknown" : `${image.age} years`;
    document.getElementById("viewer-title").textContent = image.id;
    document.getElementById("viewer-facts").textContent = [
      decision.outcome(image.row),
      `Dice ${decision.score(image.row)}`,
      decision.otherScore(image.row),
      decision.distance(image.row),
      `truth ${decision.extent(image.row, decision.counts.truth[image.row])}`,
      `mask ${decision.extent(image.row, decision.area[image.row])}`,
      `P(${decision.data.finding}) ${image.image_probability.toFixed(3)}`,
      image.stratum,
      `${image.sex}, ${age}, ${image.view}`,
      `fold ${image.fold}`,
      `patient ${image.patient_id}`,
    ].filter(Boolean).join(" · ");
    if (!this.box.open) this.box.showModal();
    this.moved();
    for (const pane of this.box.querySelectorAll(".pane")) {
      const [picture, canvas] = pane.children;
      const { layer } = canvas.dataset;
      pane.style.aspectRatio = image.aspect;
      picture.src = `data:image/webp;base64,${image.picture}`;
      picture.alt = `Radiograph ${image.id}`;
      await paint(canvas, decision, image, layer === "prediction" ? ["prediction", "truth", "other"] : [layer], 512);
      if (this.open !== image) return; // another image was opened meanwhile
      canvas.setAttribute("aria-label", `${layer} of ${decision.describe(image)}`);
    }
  }

  step(by) {
    const shown = this.shown();
    const next = shown[shown.indexOf(this.open) + by];
    if (this.open && next) this.show(next);
  }
}
