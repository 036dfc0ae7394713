// The crystal's figure: stage, controls, legend, and the same sites as a table.

import { byId, el, svg } from "./dom.js";
import { post } from "./api.js";
import { slices } from "./cell.js";
import { orbit } from "./orbit.js";

const SUPERCELLS = [[1, 1, 1], [2, 2, 1], [2, 2, 2]];
const HELP = "Arrow keys turn it, comma and full stop roll it, plus and minus zoom, a, b and c look along an edge, 0 resets.";
const state = { scene: null, crystal: null, file: null, repeat: SUPERCELLS[0], mode: "element", attribution: null };
let edgeLabels = [];

/** Show a crystal from `/api/crystal`. */
export async function showCrystal(crystal, file) {
  Object.assign(state, { crystal, file, repeat: SUPERCELLS[0], mode: "element", attribution: null });
  fillTable(crystal);
  if (!state.scene && !(await makeStage())) return;
  draw();
  state.scene.reset();
  controls();
}

async function makeStage() {
  const stage = byId("stage");
  const canvas = el("canvas", { tabindex: 0, role: "application", "aria-roledescription": "turnable crystal", "aria-describedby": "turn-help" });
  edgeLabels = ["a", "b", "c"].map((name) => el("span", { class: "edge", "aria-hidden": "true" }, name));
  stage.replaceChildren(canvas, ...edgeLabels, el("p", { id: "turn-help", class: "unseen" }, HELP));
  try {
    const { Scene } = await import("./scene.js");
    state.scene = new Scene(canvas);
  } catch (error) {
    stage.replaceChildren(el("p", { class: "absent" }, `No 3-D picture: this browser has no WebGL (${error.message}). The sites are in the table below.`));
    return false;
  }
  state.scene.afterRender = placeLabels;
  orbit(canvas, state.scene);
  new ResizeObserver(() => state.scene.resize()).observe(stage);
  state.scene.resize();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.crystal && draw());
  return true;
}

function placeLabels() {
  state.scene.edgeEnds().forEach(([x, y], n) => {
    edgeLabels[n].style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
  });
}

function draw() {
  const { scene, crystal, repeat, mode } = state;
  scene.show(crystal, repeat, look());
  byId("stage").classList.toggle("seen", mode === "seen");
  const canvas = byId("stage").querySelector("canvas");
  canvas.setAttribute("aria-label", `Crystal of ${crystal.formula}: ${crystal.sites.length} sites in the cell, ${repeat.join(" × ")} cells drawn. ${HELP}`);
  legend();
}

function look() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const plain = { flat: false, bond: dark ? "125,122,115" : "150,146,136", line: dark ? "200,196,186" : "70,66,60" };
  const { crystal, mode, attribution } = state;
  if (mode === "seen") return { flat: true, bond: "80,80,80", line: "120,120,120", colorOf: (site) => crystal.sites[site].seen };
  if (mode === "attribution") {
    const most = largest(attribution);
    return { ...plain, colorOf: (site) => diverging(attribution.site_K[site] / most) };
  }
  return { ...plain, colorOf: (site, element) => crystal.elements[element].color };
}

const largest = ({ site_K }) => Math.max(...site_K.map(Math.abs), 1e-9);

/** Blue (lowers Tc) over grey to red (raises it), for -1 to 1. */
function diverging(value) {
  const end = value < 0 ? [38, 93, 171] : [196, 52, 31], weight = Math.min(1, Math.abs(value));
  return [205, 203, 198].map((grey, k) => Math.round(grey + weight * (end[k] - grey)));
}

function controls() {
  byId("viewer-controls").replaceChildren(
    choice("Colours", [["element", "elements"], ["seen", "as the vision model sees it"], ["attribution", "kelvins per atom"]],
      state.mode, chooseMode),
    choice("Cells", SUPERCELLS.map((repeat) => [repeat, repeat.join("×")]), state.repeat, (repeat) => {
      state.repeat = repeat;
      draw();
      controls();
    }),
    el("fieldset", {}, el("legend", {}, "Look along"),
      ...["a", "b", "c"].map((name, axis) => el("button", { type: "button", onclick: () => state.scene.along(axis) }, name)),
      el("button", { type: "button", onclick: () => state.scene.reset() }, "reset")),
  );
}

function choice(title, options, chosen, choose) {
  return el("fieldset", {}, el("legend", {}, title), ...options.map(([value, text]) => el("button", {
    type: "button", "aria-pressed": String(value === chosen), onclick: (event) => choose(value, event.currentTarget),
  }, text)));
}

async function chooseMode(mode, button) {
  if (mode === "attribution" && !state.attribution && !(await attribute(button))) return;
  state.mode = mode;
  draw();
  controls();
}

/** Ask for the kelvins of each atom: some seconds of work, therefore only on request. */
async function attribute(button) {
  const { file, crystal } = state;
  button.disabled = true;
  byId("legend").textContent = "computing, some seconds …";
  try {
    const found = await post("/api/attribution", file);
    if (state.crystal !== crystal) return false;
    state.attribution = found;
    return true;
  } catch (error) {
    legend();
    byId("legend").prepend(el("span", { class: "problem", role: "alert" }, error.message));
    return false;
  } finally {
    button.disabled = false;
  }
}

function legend() {
  byId("legend").replaceChildren(...{ element: elementLegend, seen: seenLegend, attribution: attributionLegend }[state.mode]());
}

function elementLegend() {
  const { elements, sites } = state.crystal;
  const chips = Object.entries(elements).map(([symbol, { name, color }]) => chip([[color, 1]], symbol, name));
  const mixed = sites.find((site) => Object.values(site.occupancies).reduce((sum, x) => sum + x, 0) < 0.999);
  return mixed ? [...chips, chip([["none", 1]], "vacant")] : chips;
}

function seenLegend() {
  const seen = new Map(state.crystal.sites.map((site) => [occupants(site), site.seen]));
  return [...seen].slice(0, 12).map(([name, color]) => chip([[color, 1]], name));
}

function attributionLegend() {
  const { attribution } = state, most = largest(attribution);
  const ramp = [-1, -0.5, 0, 0.5, 1].map((value, n) => svg("rect", { x: `${20 * n}%`, width: "20%", height: "100%", fill: `rgb(${diverging(value)})` }));
  return [
    el("span", {}, `${(-most).toFixed(1)} K`), svg("svg", { class: "scale", "aria-hidden": "true" }, ...ramp), el("span", {}, `+${most.toFixed(1)} K`),
    el("span", { class: "help" }, `what each atom adds to the prediction for no atom at all (${attribution.reference_K.toFixed(1)} K); about the model, not the physics`),
  ];
}

function chip(parts, text, title) {
  const [color] = parts[0];
  const circle = svg("circle", { cx: "50%", cy: "50%", r: "45%", fill: color === "none" ? "none" : `rgb(${color})` });
  return el("span", { class: "chip", title }, svg("svg", { "aria-hidden": "true" }, circle), text);
}

export function occupants(site) {
  const parts = slices(site.occupancies), filled = parts.reduce((sum, part) => sum + site.occupancies[part.element], 0);
  const names = parts.map(({ element }) => (site.occupancies[element] > 0.999 ? element : `${element} ${site.occupancies[element].toFixed(3).replace(/0+$/, "")}`));
  return filled < 0.999 ? `${names.join(", ")}, vacant ${(1 - filled).toFixed(3).replace(/0+$/, "")}` : names.join(", ");
}

function fillTable(crystal) {
  const head = ["site", "occupied by", "x", "y", "z"].map((name) => el("th", { scope: "col" }, name));
  const rows = crystal.sites.map((site, n) => el("tr", {}, el("td", {}, String(n + 1)), el("td", {}, occupants(site)),
    ...site.frac.map((x) => el("td", {}, x.toFixed(4)))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  byId("site-table").replaceChildren(el("summary", {}, `Sites as numbers (${crystal.sites.length})`),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "sites of the cell" }, table));
}
