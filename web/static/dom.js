// Elements, formulas and numbers. Text from outside becomes text nodes only, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** A formula with its amounts as subscripts. */
export function formula(text) {
  const parts = String(text).split(/((?<=[A-Za-z)\]])\d+(?:\.\d+)?)/);
  return el("span", { class: "formula" }, ...parts.map((part, n) => (n % 2 ? el("sub", {}, part) : part)));
}

/** Kelvins with as many digits as they deserve. */
export function kelvin(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 0.05) return "0";
  return value.toFixed(value < 9.95 ? 1 : 0);
}

export function interval(lower, upper) {
  return lower === null || lower === undefined || upper === null || upper === undefined
    ? "" : `${kelvin(lower)} to ${kelvin(upper)} K`;
}

/** Steps of 1, 2 or 5 times a power of ten, about `count` of them up to `most`. */
export function niceStep(most, count) {
  const rough = most / count, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

export function steps(most, step) {
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, n) => Number((n * step).toPrecision(6)));
}

export function say(id, text) {
  const node = byId(id);
  node.textContent = text;
  if (node.classList.contains("problem")) node.hidden = !text;
}

/** Run a slow action of a button: it is disabled meanwhile, and a problem is said where it belongs. */
export async function whileDisabled(button, problemId, action) {
  say(problemId, "");
  button.disabled = true;
  try {
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") say(problemId, error.message);
    return undefined;
  } finally {
    button.disabled = false;
  }
}
