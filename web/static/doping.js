// Tc over the replaced fraction of an element, or of its sites of one kind: curve with its band, members on request, measured compounds as points.

import { byId, el, formula, interval, kelvin, niceStep, steps, svg, whileDisabled } from "./dom.js";
import { post } from "./api.js";
import { titleOf } from "./origins.js";

const USUAL = { La: "Sr", Nd: "Ce", Pr: "Ce", Sm: "Ce", Y: "Ca", Ba: "K", Sr: "K", Ca: "Na", Mg: "Al", B: "C", Fe: "Co", O: "F", As: "P", Se: "Te", Te: "Se",
  Bi: "Pb", Nb: "Ti", Cu: "Zn", Pb: "Bi", Sn: "In", Ti: "Nb", C: "B", Tl: "Pb", Hg: "Tl", V: "Ti", Ni: "Cu", Al: "Mg", Si: "Ge", Ge: "Si", H: "" };
const SYMBOLS = ("H Li Be B C N O F Na Mg Al Si P S Cl K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I "
  + "Cs Ba La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Th U Np Pu").split(" ");
const HEIGHT = 320, MARGIN = { left: 46, right: 14, top: 26, bottom: 44 };
let file = null, about = null, series = null, membersShown = false, reading = 0;

export function setUpDoping() {
  byId("elements").replaceChildren(...SYMBOLS.map((symbol) => el("option", { value: symbol })));
  byId("old").addEventListener("change", suggest);
  byId("doping-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const button = event.currentTarget.querySelector("button");
    whileDisabled(button, "doping-problem", ask);
  });
  new ResizeObserver(() => series && draw()).observe(byId("doping-chart"));
}

/** Offer the elements of a new crystal. */
export function offerDoping(crystal, crystalFile, cards) {
  file = crystalFile;
  about = cards;
  series = null;
  byId("doping").classList.remove("drawn");
  byId("doping-chart").replaceChildren();
  byId("old").replaceChildren(...Object.keys(crystal.elements).flatMap((symbol) => choices(symbol, crystal.sites)));
  const likely = Object.keys(USUAL).find((symbol) => symbol in crystal.elements);
  if (likely) byId("old").value = likely;
  suggest();
}

/** The element, and where symmetry tells its sites apart each kind of them. */
function choices(symbol, sites) {
  const own = sites.filter((site) => elementOf(site.label) === symbol), kinds = [...new Set(own.map((site) => site.kind))];
  const labels = kinds.length > 1 ? kinds.map((kind) => own.filter((site) => site.kind === kind).map((site) => site.label)) : [];
  return [el("option", { value: symbol }, symbol), ...labels.map((some) => el("option", { value: some.join("+") }, shortened(some)))];
}

const elementOf = (old) => old.match(/^[A-Z][a-z]?/)[0];
const shortened = (labels) => labels.length > 3 ? `${labels[0]} to ${labels.at(-1)} (${labels.length} sites)` : labels.join(", ");

function suggest() {
  byId("new").value = USUAL[elementOf(byId("old").value)] ?? "";
}

async function ask() {
  const asked = file;
  const found = await post("/api/substitute", file, { old: byId("old").value, new: byId("new").value.trim() });
  if (file !== asked) return;
  series = found;
  membersShown = false;
  reading = series.predictions.reduce((best, each, n, all) => (each.tc_K > all[best].tc_K ? n : best), 0);
  byId("doping").classList.add("drawn");
  build();
}

function build() {
  const slider = el("input", { type: "range", min: 0, max: series.fractions.length - 1, step: 1, value: reading, id: "read-x", oninput: (event) => {
    reading = Number(event.currentTarget.value);
    draw();
  } });
  const members = el("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    membersShown = !membersShown;
    event.currentTarget.setAttribute("aria-pressed", String(membersShown));
    draw();
  } }, "each model");
  byId("doping-chart").replaceChildren(
    el("figure", { class: "chart" }, el("div", { id: "chart" }), el("figcaption", { id: "chart-caption" })),
    el("div", { class: "read-off" }, el("label", { for: "read-x" }, "read off at x"), slider, members, el("output", { for: "read-x", id: "read-out" })),
    tableOf(series));
  draw();
}

const pointsOf = (name) => series.predictions.map((each) => each.members.find((member) => member.name === name)?.tc_K);
const memberNames = () => series.predictions[0].members.map((member) => member.name);

function draw() {
  const width = Math.max(260, byId("chart").clientWidth), right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  const { fractions, predictions, measured } = series;
  const names = membersShown && memberNames().length > 1 ? memberNames() : [];
  const values = [...predictions.flatMap((each) => [each.tc_K, each.upper_K]), ...measured.map((each) => each.tc_K), ...names.flatMap(pointsOf)];
  const most = Math.max(1, ...values.filter(Number.isFinite)), step = niceStep(most, 5), end = step * Math.ceil(most / step + 0.02);
  const widest = Math.max(fractions.at(-1), 0.01);
  const x = (fraction) => MARGIN.left + (right - MARGIN.left) * fraction / widest, y = (value) => bottom - (bottom - MARGIN.top) * value / end;
  byId("chart").replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-labelledby": "chart-caption" },
    ...grid(x, y, steps(end, step), steps(widest, niceStep(widest, 5)), right, bottom),
    ...band(x, y), ...names.map((name, n) => memberLine(name, n, x, y)),
    svg("path", { class: "curve", d: line(fractions, predictions.map((each) => each.tc_K), x, y) }),
    ...measured.filter((each) => each.fraction <= widest).map((each) => point(each, x, y)), ...readingMarks(x, y, bottom)));
  caption();
  readOut();
}

function grid(x, y, rows, columns, right, bottom) {
  return [
    ...rows.map((value) => svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) })),
    ...rows.map((value) => svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value))),
    ...columns.map((value) => svg("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, String(value))),
    svg("path", { class: "frame", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}` }),
    svg("text", { x: (MARGIN.left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, `x: fraction of ${shortened(series.old.split("+"))} replaced by ${series.new || "vacancies"}`),
    svg("text", { x: 14, y: 12, "text-anchor": "start" }, "Tc (K)"),
  ];
}

function line(fractions, values, x, y) {
  return fractions.map((fraction, n) => `${n ? "L" : "M"}${x(fraction).toFixed(1)} ${y(values[n]).toFixed(1)}`).join("");
}

function band(x, y) {
  const { fractions, predictions } = series;
  if (!predictions.every((each) => Number.isFinite(each.lower_K) && Number.isFinite(each.upper_K))) return [];
  const upper = line(fractions, predictions.map((each) => each.upper_K), x, y);
  const lower = line([...fractions].reverse(), predictions.map((each) => each.lower_K).reverse(), x, y).replace("M", "L");
  return [svg("path", { class: "band", d: `${upper}${lower}Z` })];
}

function memberLine(name, n, x, y) {
  const values = pointsOf(name), dash = ["6 3", "2 3", "9 3 2 3", "1 2"][n % 4];
  return svg("g", {}, svg("path", { class: "member", "stroke-dasharray": dash, d: line(series.fractions, values, x, y) }),
    svg("text", { class: "name", x: x(series.fractions.at(-1)) - 4, y: y(values.at(-1)) - 5, "text-anchor": "end" }, titleOf(name, about)));
}

function point(each, x, y) {
  return svg("path", { class: "diamond", transform: `translate(${x(each.fraction)} ${y(each.tc_K)})`, d: "M0-6 6 0 0 6-6 0Z" },
    svg("title", {}, `${each.formula}: measured ${kelvin(each.tc_K)} K`));
}

function readingMarks(x, y, bottom) {
  const at = x(series.fractions[reading]), value = y(series.predictions[reading].tc_K);
  return [svg("line", { class: "reading", x1: at, x2: at, y1: MARGIN.top, y2: bottom }), svg("circle", { class: "at", cx: at, cy: value, r: 5 })];
}

function readOut() {
  const each = series.predictions[reading], bounds = interval(each.lower_K, each.upper_K);
  byId("read-out").replaceChildren(`x = ${series.fractions[reading].toFixed(3)}, `, formula(each.formula), `: ${kelvin(each.tc_K)} K${bounds ? ` (${bounds})` : ""}`);
  byId("read-x").setAttribute("aria-valuetext", byId("read-out").textContent);
}

function caption() {
  const { measured } = series, seen = measured.length;
  const points = seen ? `Diamonds: ${seen} measured ${seen === 1 ? "compound" : "compounds"} of this series, which the models may have seen.` : "No compound of this series is among the measured ones.";
  byId("chart-caption").textContent = `Tc over x, with the band that is meant to hold nine measurements of ten. ${points} Where a doped crystal would change its structure, the curve does not know.`;
}

function tableOf({ fractions, predictions, measured }) {
  const head = ["x", "formula", "Tc (K)", "90 % band (K)"].map((name) => el("th", { scope: "col" }, name));
  const rows = fractions.map((fraction, n) => el("tr", {}, el("td", {}, fraction.toFixed(3)), el("td", {}, formula(predictions[n].formula)),
    el("td", {}, kelvin(predictions[n].tc_K)), el("td", {}, interval(predictions[n].lower_K, predictions[n].upper_K))));
  const known = measured.map((each) => el("li", {}, formula(each.formula), `, x = ${each.fraction.toFixed(3)}: ${kelvin(each.tc_K)} K measured`));
  return el("details", {}, el("summary", {}, "The curve as numbers"),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Tc over x" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))),
    known.length ? el("ul", {}, ...known) : null);
}
