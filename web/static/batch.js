// Many crystals: a line each as it is done, a table to sort, and the same lines as CSV or JSON.

import { byId, el, formula, interval, kelvin, say } from "./dom.js";
import { postForLines } from "./api.js";

const COLUMNS = [
  { title: "file", value: (row) => row.name, cell: (row) => row.name },
  { title: "formula", value: (row) => row.formula, cell: (row) => formula(row.formula) },
  { title: "Tc (K)", number: true, value: (row) => row.tc_K ?? -1, cell: (row) => (row.error ? "" : kelvin(row.tc_K)) },
  { title: "90 % interval (K)", value: (row) => (row.upper_K ?? 0) - (row.lower_K ?? 0), cell: (row) => interval(row.lower_K, row.upper_K).replace(" K", "") },
  { title: "measured (K)", number: true, value: (row) => row.known?.tc_K ?? -1, cell: (row) => (row.known ? kelvin(row.known.tc_K) : "") },
  { title: "remarks", value: (row) => remarks(row), cell: (row) => remarks(row) },
];
let rows = [], order = { column: 0, down: false }, running = null;

const remarks = (row) => row.error || (row.warnings ?? []).map((warning) => warning.text).join("; ");

export function setUpBatch() {
  byId("batch-csv").addEventListener("click", () => save("predictions.csv", "text/csv", csv(rows)));
  byId("batch-json").addEventListener("click", () => save("predictions.json", "application/json", JSON.stringify(rows, null, 1)));
  byId("batch-stop").addEventListener("click", () => running?.abort());
}

/** Predict all crystals of some files or zips. */
export async function predictFiles(files) {
  running?.abort();
  const mine = running = new AbortController();
  rows = [];
  order = { column: 0, down: false };
  byId("batch").hidden = byId("batch-stop").hidden = false;
  byId("batch-progress").value = 0;
  byId("batch-progress").hidden = false;
  say("batch-problem", "");
  say("batch-state", "reading …");
  byId("batch-title").focus();
  draw();
  try {
    const total = await postForLines("/api/batch", files, (row, all) => mine === running && add(row, all), mine.signal);
    if (mine === running) finish(rows.length < total ? `stopped after ${rows.length} of ${total}` : done());
  } catch (error) {
    if (mine !== running) return;
    finish(error.name === "AbortError" ? `stopped; ${done()}` : "");
    if (error.name !== "AbortError") say("batch-problem", error.message);
  }
}

function add(row, total) {
  rows.push(row);
  byId("batch-progress").value = rows.length / total;
  say("batch-state", `${rows.length} of ${total}`);
  draw();
}

function finish(text) {
  byId("batch-progress").hidden = byId("batch-stop").hidden = true;
  say("batch-state", text);
}

function done() {
  const failed = rows.filter((row) => row.error).length;
  return `${rows.length - failed} predicted${failed ? `, ${failed} not: their reasons are in the table` : ""}`;
}

function draw() {
  const head = el("tr", {}, ...COLUMNS.map((column, n) => el("th", {
    scope: "col", class: column.number ? "number" : null, "aria-sort": n === order.column ? (order.down ? "descending" : "ascending") : null,
  }, el("button", { type: "button", onclick: () => sortBy(n) }, column.title))));
  const body = sorted().map((row) => el("tr", {}, ...COLUMNS.map((column) => el("td", { class: cellClass(row, column) }, column.cell(row)))));
  byId("batch-table").replaceChildren(el("thead", {}, head), el("tbody", {}, ...body));
}

const cellClass = (row, column) => (row.error && column.title === "remarks" ? "failed" : column.number ? "number" : null);

function sortBy(column) {
  order = { column, down: column === order.column ? !order.down : Boolean(COLUMNS[column].number) };
  draw();
  byId("batch-table").querySelectorAll("th button")[column].focus();
}

function sorted() {
  const { value, number } = COLUMNS[order.column], sign = order.down ? -1 : 1;
  const compare = number || order.column === 3 ? (a, b) => value(a) - value(b) : (a, b) => String(value(a)).localeCompare(String(value(b)), "en", { numeric: true });
  return [...rows].sort((a, b) => sign * compare(a, b));
}

/** The rows as a table for a spreadsheet; a text that it would run as a formula gets an apostrophe. */
export function csv(lines) {
  const columns = {
    name: (row) => row.name, formula: (row) => row.formula, tc_K: (row) => row.tc_K, lower_K: (row) => row.lower_K, upper_K: (row) => row.upper_K,
    known_tc_K: (row) => row.known?.tc_K, nearest_formula: (row) => row.nearest?.[0]?.formula, nearest_tc_K: (row) => row.nearest?.[0]?.tc_K,
    warnings: (row) => (row.warnings ?? []).map((warning) => warning.text).join("; "), error: (row) => row.error,
  };
  const text = lines.map((row) => Object.values(columns).map((value) => cell(value(row))).join(","));
  return [Object.keys(columns).join(","), ...text].join("\r\n") + "\r\n";
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return value.toFixed(4);
  const safe = /^\s*[=+\-@＝＋－＠]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function save(name, type, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
