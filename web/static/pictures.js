// The eighteen views, plain or under the vision model's attention; asked for, not sent along.

import { byId, el, whileDisabled } from "./dom.js";
import { postForPicture } from "./api.js";

let file = null;

export function setUpPictures() {
  byId("show-pictures").addEventListener("click", (event) => show(event.currentTarget, "/api/pictures", "Eighteen views of the crystal."));
  byId("show-attention").addEventListener("click", (event) => show(event.currentTarget, "/api/attention",
    "The same views as the network reads them, under its attention: yellow where most of it goes, in each view by itself."));
}

/** A new crystal: its pictures are not there yet. */
export function offerPictures(crystalFile) {
  file = crystalFile;
  byId("pictures").classList.remove("drawn");
  byId("pictures-sheet").replaceChildren();
}

function show(button, path, caption) {
  const asked = file;
  return whileDisabled(button, "pictures-problem", async () => {
    const bitmap = await postForPicture(path, asked);
    if (file !== asked) return;
    const canvas = el("canvas", { class: "sheet", width: bitmap.width, height: bitmap.height, role: "img", "aria-label": caption });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    byId("pictures").classList.add("drawn");
    byId("pictures-sheet").replaceChildren(el("figure", {}, canvas, el("figcaption", {}, caption)));
  });
}
