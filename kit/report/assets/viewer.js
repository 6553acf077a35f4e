"use strict";
// The dialog with an image, its truth, its mask and its probabilities side by side.
class Viewer {
  // `shown` gives the images that the gallery has, in order; `leave` takes the one that was open last.
  constructor(decision, shown, leave) {
    Object.assign(this, { decision, shown, open: null, box: document.getElementById("viewer") });
    const on = (id, act) => document.getElementById(id).addEventListener("click", act);
    on("close", () => this.box.close());
    on("previous", () => this.step(-1));
    on("next", () => this.step(1));
    this.box.addEventListener("click", (event) => {
      if (event.target === this.box) this.box.close();
      if (event.target.matches("canvas")) event.target.closest("figure").classList.toggle("large");
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
    this.box.addEventListener("close", () => {
      const last = this.open;
      this.open = null;
      if (last) leave(last);
    });
  }

  async show(image) {
    const { decision } = this;
    this.open = image;
    const age = image.age === null ? "age unknown" : `${image.age} years`;
    const probability = decision.data.probability[image.row].toFixed(3);
    document.getElementById("viewer-title").textContent = image.id;
    document.getElementById("viewer-facts").textContent = [
      decision.outcome(image.row),
      `Dice ${decision.score(image.row)}`,
      ...decision.areas(image.row).split(", "),
      `P(pneumothorax) ${probability}`,
      image.stratum,
      `${image.sex}, ${age}, ${image.view}`,
      `fold ${image.fold}`,
      `patient ${image.patient}`,
    ].join(" · ");
    if (!this.box.open) this.box.showModal();
    const picture = new Image();
    picture.src = `data:image/webp;base64,${image.picture}`;
    await picture.decode();
    if (this.open !== image) return; // another one was asked for meanwhile
    for (const canvas of this.box.querySelectorAll("canvas")) {
      const layer = canvas.dataset.layer;
      await paint(canvas, decision, image, layer === "prediction" ? ["prediction", "truth"] : [layer], 512);
      if (this.open !== image) return;
      const context = canvas.getContext("2d");
      context.globalCompositeOperation = "destination-over";
      context.drawImage(picture, 0, 0, 512, 512);
      context.globalCompositeOperation = "source-over";
      canvas.setAttribute("aria-label", `${layer} of ${decision.describe(image)}`);
    }
  }

  step(by) {
    const shown = this.shown();
    const next = shown[shown.indexOf(this.open) + by];
    if (this.open && next) this.show(next);
  }
}
