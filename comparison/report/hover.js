// The name of the point nearest to the pointer; names are set as text, so they cannot become markup.
"use strict";
{
  const NEAR = 14; // pixels
  const label = document.getElementById("hover");
  let marked = null;

  const distance = (point, event) => {
    const box = point.getBoundingClientRect();
    return Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
  };

  const nearest = (points, event) => {
    let best = null, least = NEAR;
    for (const point of points) {
      const away = distance(point, event);
      if (away < least) [best, least] = [point, away];
    }
    return best;
  };

  const show = (point, event) => {
    if (marked) marked.classList.remove("marked");
    marked = point;
    label.hidden = !point;
    if (!point) return;
    point.classList.add("marked");
    label.textContent = point.dataset.name;
    label.style.left = Math.min(event.clientX + 14, innerWidth - label.offsetWidth - 8) + "px";
    label.style.top = Math.min(event.clientY + 14, innerHeight - label.offsetHeight - 8) + "px";
  };

  for (const figure of document.querySelectorAll("figure")) {
    const points = figure.querySelectorAll("[data-name]");
    if (!points.length) continue;
    figure.addEventListener("pointermove", (event) => show(nearest(points, event), event));
    figure.addEventListener("pointerleave", (event) => show(null, event));
  }
}
