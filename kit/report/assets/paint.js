"use strict";
// Masks, probabilities and outlines on a canvas.
const FOUND = [255, 122, 26];
const COLOURS = { truth: "#22d3ee", found: `rgb(${FOUND})`, other: "#be8cff" };

// Draws layers of an image (prediction, probability, truth, the other run's mask) on a canvas of `side` pixels.
async function paint(canvas, decision, image, layers, side) {
  const { data, rule } = decision;
  const map = await decision.mapOf(image);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, side);
  if (layers.includes("prediction") && rule.exact) {
    canvas.dataset.pixels = decision.area[image.row];
    outline(context, side, image.mask, COLOURS.found, true);
  } else if (layers.includes("prediction")) {
    const cut = decision.area[image.row] ? decision.cut(image.row) : 256;
    const levels = enlarged(map, data.mapSide, side);
    fill(context, side, canvas, (i) => levels[i] >= cut);
  }
  if (layers.includes("probability")) heat(context, side, enlarged(map, data.mapSide, side));
  if (layers.includes("truth")) outline(context, side, image.outline, COLOURS.truth);
  if (layers.includes("other") && image.other) outline(context, side, image.other, COLOURS.other);
}

function fill(context, side, canvas, inside) {
  const [red, green, blue] = FOUND;
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

// Draws the borders of a mask, filled by the even-odd rule if `filled`.
function outline(context, side, borders, colour, filled = false) {
  const path = new Path2D();
  for (const border of borders) {
    for (let i = 0; i < border.length; i += 2) path[i ? "lineTo" : "moveTo"]((border[i] * side) / 1000, (border[i + 1] * side) / 1000);
    path.closePath();
  }
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = Math.max(1.5, side / 200);
  context.lineJoin = "round";
  context.stroke(path);
  context.globalAlpha = 0.3;
  if (filled) context.fill(path, "evenodd");
  context.globalAlpha = 1;
}
