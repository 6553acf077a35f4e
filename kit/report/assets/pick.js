"use strict";
// Figures whose points are cases: a click on a point, or a drag over several, selects their images.
const NEAR = 14; // maximum distance of a click from a point in pixels

// `choose` is called with rows of the cases and the figure's title.
function bindPoints(figure, choose) {
  const rows = figure.dataset.rows.split(" ").map(Number);
  const svg = figure.querySelector("svg");
  const points = [...svg.querySelectorAll(`[id="${figure.dataset.name}-cases"] use`)];
  if (points.length !== rows.length) return;
  const frame = document.createElement("div");
  frame.className = "frame";
  let start = null;

  const extent = (event) => ({
    left: Math.min(start.x, event.clientX),
    right: Math.max(start.x, event.clientX),
    top: Math.min(start.y, event.clientY),
    bottom: Math.max(start.y, event.clientY),
  });
  const places = () =>
    points.map((point) => {
      const { left, right, top, bottom } = point.getBoundingClientRect();
      return { x: (left + right) / 2, y: (top + bottom) / 2 };
    });
  const chosen = (event) => {
    const { left, right, top, bottom } = extent(event);
    if (right - left + bottom - top > 6) {
      const inside = ({ x, y }) => x >= left && x <= right && y >= top && y <= bottom;
      return places().flatMap((place, index) => (inside(place) ? [rows[index]] : []));
    }
    const away = places().map(({ x, y }) => Math.hypot(x - event.clientX, y - event.clientY));
    const nearest = Math.min(...away);
    return nearest <= NEAR ? [rows[away.indexOf(nearest)]] : [];
  };
  const end = () => {
    start = null;
    frame.remove();
  };

  figure.classList.add("pickable");
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault(); // no text is selected
    start = { x: event.clientX, y: event.clientY };
    svg.setPointerCapture(event.pointerId);
    document.body.append(frame);
    frame.style.cssText = "width: 0; height: 0";
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const { left, right, top, bottom } = extent(event);
    frame.style.cssText = `left: ${left}px; top: ${top}px; width: ${right - left}px; height: ${bottom - top}px`;
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const found = chosen(event);
    end();
    if (found.length) choose(found, figure.dataset.title);
  });
  svg.addEventListener("pointercancel", end);
}
