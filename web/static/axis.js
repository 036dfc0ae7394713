// Tc on one kelvin axis: a dot and a 90 % bar per model, the measured value, the nearest known compounds.

import { byId, el, formula, interval, kelvin, niceStep, steps, svg } from "./dom.js";
import { shortWorth, titleOf, worthOf } from "./origins.js";

const DIAMOND = "M0-7 7 0 0 7-7 0Z";

export function showPrediction(prediction, about) {
  const rows = [...modelRows(prediction, about), ...measuredRows(prediction)];
  const most = top(prediction), step = niceStep(most, 6), end = step * Math.ceil(most / step + 0.05);
  const at = (value) => `${Math.min(100, 100 * value / end)}%`;
  const list = el("ul", { class: "axis-rows" }, ...rows.map((row) => drawRow(row, at, steps(end, step))));
  byId("tc").replaceChildren(headline(prediction), el("p", { class: "worth" }, `${origin(prediction, about)} ${worthOf(prediction.model, about)}.`), list, axis(at, steps(end, step)));
}

function top({ upper_K, tc_K, members, known, nearest }) {
  const values = [upper_K, tc_K, known?.highest_K, known?.tc_K, ...members.flatMap((each) => [each.upper_K, each.tc_K]), ...nearest.map((each) => each.tc_K)];
  return Math.max(1, ...values.filter(Number.isFinite));
}

function headline({ tc_K, lower_K, upper_K, coverage }) {
  const bounds = interval(lower_K, upper_K);
  return el("p", { class: "headline" }, el("b", {}, kelvin(tc_K)), " K",
    bounds ? `, and in ${Math.round(100 * (coverage ?? 0.9))} of 100 such cases between ${bounds.replace(" to ", " and ")}` : "");
}

function origin({ model, members }, about) {
  return members.length > 1 ? "The weighted mean of the models below;" : `From the ${titleOf(model, about)};`;
}

function modelRows({ model, tc_K, lower_K, upper_K, members }, about) {
  const whole = { title: titleOf(model, about), tc_K, lower_K, upper_K, main: true };
  const single = members.length === 1 && members[0].name === model;
  const parts = single ? [] : members.map((each) => ({ ...each, title: titleOf(each.name, about), note: partNote(each, about) }));
  return [whole, ...parts];
}

function partNote({ name, weight }, about) {
  const percent = Math.round(100 * (weight ?? 0));
  return `${percent ? `weighs ${percent} %` : "weighs nothing, shown for comparison"}${shortWorth(name, about)}`;
}

function measuredRows({ known, nearest }) {
  const spread = known && known.lowest_K < known.highest_K ? ` (${kelvin(known.lowest_K)} to ${kelvin(known.highest_K)})` : "";
  const entries = known ? `${known.entries} ${known.entries === 1 ? "entry" : "entries"} in ${known.source}` : "";
  const rows = known ? [{ measured: true, title: formula(known.formula), number: `measured ${kelvin(known.tc_K)} K${spread}`, tc_K: known.tc_K,
    lower_K: known.lowest_K, upper_K: known.highest_K, note: `${entries}; the same composition, so the models may have seen it` }] : [];
  const near = nearest.filter((each) => !known || each.formula !== known.formula);
  return [...rows, ...near.map((each) => ({ near: true, title: formula(each.formula), tc_K: each.tc_K,
    number: `measured ${kelvin(each.tc_K)} K`, note: `known compound near it: ${(100 * each.distance).toFixed(each.distance < 0.1 ? 1 : 0)} % of the atoms differ; ${each.source}` }))];
}

function drawRow(row, at, ticks) {
  const bounds = interval(row.lower_K, row.upper_K);
  const number = row.number ?? `${kelvin(row.tc_K)} K${bounds ? ` (${bounds.replace(" K", "")})` : ""}`;
  return el("li", { class: row.main ? "main-row" : row.measured ? "known-row" : null },
    el("div", { class: "value-line" }, el("span", {}, row.title), el("span", { class: "number" }, number)),
    svg("svg", { class: "track", "aria-hidden": "true" }, ...ticks.map((tick) => svg("line", { class: "grid", x1: at(tick), x2: at(tick), y1: 0, y2: "100%" })), ...marks(row, at)),
    row.note ? el("p", { class: "worth" }, row.note) : null);
}

function marks(row, at) {
  if (!Number.isFinite(row.tc_K)) return [];
  const bar = bounded(row) ? [svg("line", { class: "bar", x1: at(row.lower_K), x2: at(row.upper_K), y1: "50%", y2: "50%" })] : [];
  if (row.near) return [svg("line", { class: "tick", x1: at(row.tc_K), x2: at(row.tc_K), y1: "10%", y2: "90%" })];
  if (row.measured) return [...bar, svg("svg", { x: at(row.tc_K), y: "50%", overflow: "visible" }, svg("path", { class: "diamond", d: DIAMOND }))];
  return [...bar, svg("circle", { class: "dot", cx: at(row.tc_K), cy: "50%", r: row.main ? 7 : 5 })];
}

const bounded = (row) => Number.isFinite(row.lower_K) && Number.isFinite(row.upper_K);

function axis(at, ticks) {
  const marked = ticks.map((tick) => svg("g", {}, svg("line", { x1: at(tick), x2: at(tick), y1: 0, y2: 6 }), svg("text", { x: at(tick), y: "1.35rem" }, String(tick))));
  return svg("svg", { class: "axis", "aria-hidden": "true" }, svg("line", { x1: 0, x2: "100%", y1: 0, y2: 0 }), ...marked,
    svg("text", { x: "50%", y: "2.3rem" }, "Tc (K)"));
}
