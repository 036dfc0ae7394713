// The page: one crystal or several come in, the parts of the answer are shown as they are there.

import { byId, el, formula, say } from "./dom.js";
import { get, getText, post } from "./api.js";
import { showPrediction } from "./axis.js";
import { predictFiles, setUpBatch } from "./batch.js";
import { offerDoping, setUpDoping } from "./doping.js";
import { showOrigins } from "./origins.js";
import { offerPictures, setUpPictures } from "./pictures.js";
import { showCrystal } from "./viewer.js";

const EXAMPLES = ["MgB2-AlB2", "La1.85Sr0.15CuO4-K2NiF4", "YBa2Cu3O6.93-YBa2Cu3O7", "Ba0.6K0.4Fe2As2-ThCr2Si2", "Nb3Sn-Cr3Si", "H3S-H3S"];
const about = get("/api/about");
let running = null;

/** Take what was dropped or chosen: one crystal is shown, several or a zip become a table. */
function take(files) {
  say("problem", "");
  const list = [...files];
  if (!list.length) return;
  const size = list.reduce((sum, file) => sum + file.size, 0);
  about.then(({ limits }) => {
    if (list.length === 1 && !/\.zip$/i.test(list[0].name)) {
      if (size > limits.crystal_bytes) say("problem", `${list[0].name}: larger than ${limits.crystal_bytes / 1000} kB; give one unit cell`);
      else show(list[0]);
    } else if (size > limits.batch_bytes || list.length > limits.batch_crystals) {
      say("problem", `at most ${limits.batch_crystals} files and ${limits.batch_bytes / 1e6} MB at once`);
    } else predictFiles(list);
  }, (error) => say("problem", error.message));
}

async function show(file) {
  running?.abort();
  const mine = running = new AbortController();
  say("problem", "");
  say("status", `reading ${file.name} …`);
  try {
    const crystal = await post("/api/crystal", file, {}, mine.signal);
    const facts = await about;
    if (mine !== running) return;
    describe(crystal);
    offerDoping(crystal, file, facts);
    offerPictures(file);
    byId("answer").hidden = false;
    byId("formula").focus();
    say("status", "predicting …");
    const drawn = showCrystal(crystal, file);
    const prediction = await post("/api/predict", file, {}, mine.signal);
    await drawn;
    if (mine !== running) return;
    warn(prediction.warnings);
    showPrediction(prediction, facts);
    say("status", "");
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    say("status", "");
    say("problem", `${file.name}: ${error.message}`);
  }
}

function describe(crystal) {
  const { cell, space_group: group } = crystal;
  byId("formula").replaceChildren(formula(crystal.formula));
  byId("tc").replaceChildren(el("p", { class: "help" }, "predicting …"));
  byId("warnings").hidden = true;
  const symmetry = group ? [el("span", {}, spaceGroup(group.symbol), ` (no. ${group.number})`)] : [];
  const facts = [...symmetry, ...lengths(cell), ...angles(cell),
    el("span", {}, `${crystal.volume_A3.toFixed(1)} Å³`), el("span", {}, `${crystal.density_g_cm3.toFixed(2)} g/cm³`)];
  byId("facts").replaceChildren(...facts.flatMap((fact) => [fact, " "]));
  byId("remarks").hidden = !crystal.remarks.length;
  byId("remarks").replaceChildren(...crystal.remarks.map((remark) => el("li", {}, remark)));
}

/** Hermann-Mauguin symbol with its screw axes as subscripts and its bars as overlines. */
function spaceGroup(symbol) {
  const parts = symbol.split(/(_\d|-\d)/).map((part) => (part.startsWith("_") ? el("sub", {}, part.slice(1)) : part.startsWith("-") ? `${part.slice(1)}\u0305` : part));
  return el("i", {}, ...parts);
}

const close = (x, y) => Math.abs(x - y) < 1e-3 * Math.abs(x);
const length = (name, value) => el("span", {}, el("i", {}, name), ` = ${value.toFixed(3)} Å`);
const angle = (name, value) => el("span", {}, el("i", {}, name), ` = ${value.toFixed(1)}°`);

function lengths({ a, b, c }) {
  if (close(a, b) && close(a, c)) return [length("a", a)];
  return close(a, b) ? [length("a", a), length("c", c)] : [length("a", a), length("b", b), length("c", c)];
}

function angles({ alpha, beta, gamma }) {
  return [["α", alpha], ["β", beta], ["γ", gamma]].filter(([, value]) => !close(value, 90)).map(([name, value]) => angle(name, value));
}

function warn(warnings) {
  byId("warnings").hidden = !warnings.length;
  byId("warning-list").replaceChildren(...warnings.map(({ text }) => el("li", {}, sentence(text))));
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function setUpDrop() {
  const drop = byId("drop");
  for (const target of [drop, document.body]) {
    target.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.body.addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  document.body.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
  byId("files").addEventListener("change", (event) => { take(event.currentTarget.files); event.currentTarget.value = ""; });
  byId("read-text").addEventListener("click", () => {
    const text = byId("text").value;
    if (text.trim()) take([new File([text], "pasted text")]);
    else say("problem", "there is no text to read");
  });
}

async function setUpSample() {
  const crystals = await get("/api/sample");
  const open = async (number) => {
    byId("sample").value = String(number);
    const text = await getText(`/api/sample/${number}`);
    take([new File([text], `${crystals[number].id}.cif`)]);
  };
  const families = new Map();
  crystals.forEach((crystal, number) => {
    if (!families.has(crystal.family)) families.set(crystal.family, []);
    families.get(crystal.family).push(el("option", { value: number }, `${crystal.formula} (${crystal.prototype} type)`));
  });
  byId("sample").append(...[...families].map(([label, options]) => el("optgroup", { label }, ...options)));
  byId("sample").addEventListener("change", (event) => event.currentTarget.value && open(Number(event.currentTarget.value)));
  const numbers = EXAMPLES.map((id) => crystals.findIndex((crystal) => crystal.id === id)).filter((number) => number >= 0);
  byId("examples").append(...numbers.map((number) => el("button", { type: "button", onclick: () => open(number) }, formula(crystals[number].formula))));
}

setUpDrop();
setUpBatch();
setUpDoping();
setUpPictures();
about.then(showOrigins, (error) => say("problem", error.message));
setUpSample().catch((error) => say("problem", error.message));
