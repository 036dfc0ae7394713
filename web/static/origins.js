// Where a model's number comes from and what it is worth, from the cards of the shipped models.

import { byId, el, kelvin } from "./dom.js";

export const titleOf = (name, about) => about.titles[name] ?? name;

const heldOut = (card) => (card.split === "stratified" ? "materials held out at random" : "held-out materials");

/** One line: the mean error on materials like those it was trained on, and on new chemical systems. */
export function worthOf(name, about) {
  const card = about.cards[name];
  if (!card || card.test_mae_K === null) return "its own error is not on record";
  const here = `errs by ${kelvin(card.test_mae_K)} K on average over ${card.n_test} ${heldOut(card)}`;
  return `${here}, ${card.new_systems ? `by ${kelvin(card.new_systems.mae_K)} K on` : "more on"} new chemical systems`;
}

/** The same in few words, for a row of the axis. */
export function shortWorth(name, about) {
  const card = about.cards[name];
  if (!card || card.test_mae_K === null) return "";
  return `; errs by ${kelvin(card.test_mae_K)} K, ${card.new_systems ? `by ${kelvin(card.new_systems.mae_K)} K` : "more"} on new chemical systems`;
}

export function showOrigins(about) {
  const rows = Object.entries(about.cards).flatMap(([name, card]) => [
    el("dt", {}, titleOf(name, about)), el("dd", {}, `${worthOf(name, about)}. ${startOf(card.origin)}`)]);
  const first = Object.values(about.cards)[0];
  byId("origins-text").replaceChildren(
    el("p", {}, `Trained on ${first.n_train} materials of ${first.data}. The models of this page:`), el("dl", { class: "origin" }, ...rows));
}

/** Where the weights began; an ensemble has none of its own. */
const startOf = (origin) => (origin === "random" ? "Trained from random weights."
  : !origin || origin.startsWith("ensemble") ? "" : `Began with ${origin}.`);
