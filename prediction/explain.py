"""What each site of a crystal adds to a prediction, in kelvin. It describes the models, not the physics.

Every member is asked in the way that fits it, and the kelvins are weighted as its predictions are:

- graph network: integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) over the features of the atoms, from
  the same cell with every site empty; composition features, a prior and retrieved materials, if the network has them,
  stay as they are.
- trees on composition: Shapley values (exact) of the elements; the value of some of them is the prediction for the
  compound of these alone, in the same ratio, that of none the median Tc of the training materials. An element's value
  is divided among its sites by occupancy.
- vision: integrated gradients of the pixels from a black image, summed over the pixels that show a site, mean of the
  views (`dinov3_pipeline.attribution`).

For each member and for the whole, `reference_K + site_K.sum() + gap_K` is the prediction before it is cut at 0 K.

Legend: n sites, N atoms and F features of a graph, K copies of it along the integral, k elements.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gat_pipeline.dataset import join
from gat_pipeline.graphs import CrystalGraph
from gat_pipeline.model import AlignnTc
from prediction.doping import site_labels
from prediction.inputs import crystal_of
from prediction.models import AlignnModel, Array, BaseModel, SeedEnsemble, TreeModel, VisionModel
from tc_common.composition import chemical_formula
from tc_common.devices import to_device
from tc_common.errors import UserError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from prediction.predictor import Predictor

FEWEST_STEPS, MOST_STEPS, LARGEST_GAP = 16, 64, 0.05
MOST_ELEMENTS = 10
# A gradient keeps about 45 kB for each angle.
ANGLES_AT_ONCE = 8_000


@dataclass(frozen=True, eq=False)
class MemberAttribution:
    """One model's part."""

    name: str
    weight: float
    tc_K: float
    """Its prediction, before it is cut at 0 K."""
    reference_K: float
    """Its prediction without the sites: see the module's docstring."""
    site_K: Array
    """(n,) kelvins that each site adds."""

    @property
    def gap_K(self) -> float:
        """What belongs to no site: error of the integral; of images also bonds and background."""
        return self.tc_K - self.reference_K - float(self.site_K.sum())


@dataclass(frozen=True, eq=False)
class Attribution:
    """Kelvins that each site of a crystal adds to its prediction."""

    name: str
    formula: str
    model: str
    structure: "Structure"
    """The crystal as it was read; its sites are those of `site_K`."""
    sites: tuple[str, ...]
    """(n,) labels such as La1, Cu1."""
    tc_K: float
    reference_K: float
    site_K: Array
    """(n,)"""
    gap_K: float
    members: tuple[MemberAttribution, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "name": self.name,
            "formula": self.formula,
            "model": self.model,
            "tc_K": self.tc_K,
            "reference_K": self.reference_K,
            "gap_K": self.gap_K,
            "sites": [*self.sites],
            "site_K": self.site_K.tolist(),
            "members": [_plain(member) for member in self.members],
        }

    def __repr__(self) -> str:
        largest = sorted(zip(self.sites, self.site_K, strict=True), key=lambda pair: -abs(pair[1]))[:4]
        parts = ", ".join(f"{label} {kelvin:+.1f}" for label, kelvin in largest)
        return f"Attribution({self.formula}: {self.tc_K:.1f} K = {self.reference_K:.1f} {parts} …, {self.model})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{label}</th><td>{kelvin:+.2f} K</td></tr>"
            for label, kelvin in zip(self.sites, self.site_K, strict=True)
        )
        rest = f"<tr><th>reference</th><td>{self.reference_K:.2f} K</td></tr>"
        rest += (
            f"<tr><th>no site's</th><td>{self.gap_K:+.2f} K</td></tr><tr><th>Tc</th><td>{self.tc_K:.2f} K</td></tr>"
        )
        return f"<table><caption>{self.formula} ({self.model})</caption>{rows}{rest}</table>"


def _plain(member: MemberAttribution) -> dict[str, Any]:
    return {
        "name": member.name,
        "weight": member.weight,
        "tc_K": member.tc_K,
        "reference_K": member.reference_K,
        "gap_K": member.gap_K,
        "site_K": member.site_K.tolist(),
    }


def attribution(predictor: "Predictor", x: Any, name: str = "") -> Attribution:
    """Explain one crystal.

    Raises:
        UserError: it cannot be read or computed, or has more than 10 elements.
    """
    structure = crystal_of(x)
    none_K = float(predictor.training.table["tc"].median())
    parts = [
        MemberAttribution(model.name, float(weight), *_attribute(model, structure, none_K))
        for model, weight in zip(predictor.base_models, predictor.weights, strict=True)
        if weight
    ]

    def total(values: Callable[[MemberAttribution], Any]) -> Any:
        return sum(part.weight * values(part) for part in parts)

    return Attribution(
        name=name,
        formula=chemical_formula(structure),
        model=predictor.model,
        structure=structure,
        sites=tuple(site_labels(structure)),
        tc_K=total(lambda part: part.tc_K),
        reference_K=total(lambda part: part.reference_K),
        site_K=total(lambda part: part.site_K),
        gap_K=total(lambda part: part.gap_K),
        members=tuple(parts),
    )


def _attribute(model: BaseModel, structure: "Structure", none_K: float) -> tuple[float, float, Array]:
    """Prediction, reference (K) and kelvins of the sites (n,)."""
    if isinstance(model, TreeModel):
        return of_trees(model, structure, none_K)
    if isinstance(model, SeedEnsemble):
        tc_K, reference_K, site_K = zip(*(of_graph(each, structure) for each in model.trainings), strict=True)
        return float(np.mean(tc_K)), float(np.mean(reference_K)), np.mean(site_K, axis=0)
    if isinstance(model, AlignnModel):
        return of_graph(model, structure)
    if isinstance(model, VisionModel):
        return of_views(model, structure)
    raise UserError(f"{model.name} cannot be explained")


# ---- graph network -----------------------------------------------------------------------------------------------


def of_graph(model: AlignnModel, structure: "Structure") -> tuple[float, float, Array]:
    """Integrated gradients over the features of the atoms; steps double until what is missing is below 5 %."""
    prepared, network = model.prepare(structure), model.model
    prior_K = model.prior_K([prepared])
    tc_K = float(_values(network, prepared.graph, np.ones(1), prior_K)[0])
    with without_retrieval(network) as weight:
        empty_K, full_K = weight * _values(network, prepared.graph, np.array([0.0, 1.0]), prior_K)
        steps = FEWEST_STEPS
        while True:
            site_K = weight * _gradients(network, prepared.graph, steps, prior_K)
            missing_K = abs(full_K - empty_K - site_K.sum())
            if steps == MOST_STEPS or missing_K <= LARGEST_GAP * abs(full_K - empty_K):
                return tc_K, tc_K - float(full_K - empty_K), site_K
            steps *= 2


@contextmanager
def without_retrieval(network: AlignnTc) -> Iterator[float]:
    """Inside the block the network predicts alone; gives the weight of that in its whole prediction."""
    retrieval, network.retrieval = network.retrieval, None
    try:
        yield 1.0 if retrieval is None else 1.0 - float(retrieval.mixing_weight)
    finally:
        network.retrieval = retrieval


def _gradients(model: AlignnTc, graph: CrystalGraph, steps: int, prior_K: Array | None) -> Array:
    """Kelvins (n,) of the atoms: mean gradient at the middles of `steps` parts of the way, times the features."""
    filled = (np.arange(steps) + 0.5) / steps
    at_once = max(1, min(steps, ANGLES_AT_ONCE // max(graph.angles, 1)))
    total = np.zeros(len(graph.atom_features))
    for at in range(0, steps, at_once):
        copies = filled[at : at + at_once]
        batch = _batch(model, graph, copies, prior_K)
        atoms = batch["atom_features"].requires_grad_()
        (gradient,) = torch.autograd.grad(model(batch).sum(), atoms)
        added = (gradient.double().cpu().numpy() * np.tile(graph.atom_features, (len(copies), 1))).sum(axis=1)
        total += added.reshape(len(copies), -1).sum(axis=0)
    return total / steps


@torch.no_grad()
def _values(model: AlignnTc, graph: CrystalGraph, filled: Array, prior_K: Array | None) -> Array:
    """Tc (K,) with the atoms' features scaled by each of `filled` (K,)."""
    kelvin: Array = model(_batch(model, graph, filled, prior_K)).double().cpu().numpy()
    return kelvin


def _batch(model: AlignnTc, graph: CrystalGraph, filled: Array, prior_K: Array | None) -> dict[str, Any]:
    """K copies of the graph, the features of their atoms scaled."""
    repeated_K = None if prior_K is None else np.repeat(prior_K, len(filled))
    batch = join([graph] * len(filled), model.options.angle_cutoff_A, model.feature_kind, repeated_K)
    scale = torch.from_numpy(np.repeat(filled, len(graph.atom_features)).astype(np.float32)).unsqueeze(1)
    return to_device({**batch, "atom_features": batch["atom_features"] * scale}, next(model.parameters()).device)


# ---- trees -------------------------------------------------------------------------------------------------------


def of_trees(model: TreeModel, structure: "Structure", none_K: float) -> tuple[float, float, Array]:
    """Shapley values of the elements, divided among the sites by occupancy."""
    amounts = {element.symbol: float(amount) for element, amount in structure.composition.items()}
    if len(amounts) > MOST_ELEMENTS:
        raise UserError(f"{len(amounts)} elements; crystals of at most {MOST_ELEMENTS} are explained")
    value_K = coalitions(model, amounts, none_K)
    element_K = {symbol: shapley(symbol, [*amounts], value_K) for symbol in amounts}
    site_K = [
        sum(
            float(amount) / amounts[element.symbol] * element_K[element.symbol]
            for element, amount in site.species.items()
        )
        for site in structure
    ]
    return value_K[frozenset(amounts)], none_K, np.array(site_K)


def coalitions(model: TreeModel, amounts: dict[str, float], none_K: float) -> dict[frozenset[str], float]:
    """Tc in K predicted for the compound of every subset of the elements, in the same ratio."""
    subsets = [each for size in range(1, len(amounts) + 1) for each in combinations(amounts, size)]
    formulas = [
        "".join(f"{symbol}{amounts[symbol] / sum(amounts[each] for each in subset):.7f}" for symbol in subset)
        for subset in subsets
    ]
    predicted = model.predict(formulas).tc_K
    return {frozenset(): none_K, **{frozenset(s): float(tc_K) for s, tc_K in zip(subsets, predicted, strict=True)}}


def shapley(symbol: str, elements: Sequence[str], value_K: dict[frozenset[str], float]) -> float:
    """Shapley value of one element: its mean addition over all orders in which the elements may come."""
    others, k = [each for each in elements if each != symbol], len(elements)
    total = 0.0
    for size in range(k):
        weight = factorial(size) * factorial(k - size - 1) / factorial(k)
        for subset in combinations(others, size):
            total += weight * (value_K[frozenset({*subset, symbol})] - value_K[frozenset(subset)])
    return total


# ---- vision ------------------------------------------------------------------------------------------------------


def of_views(model: VisionModel, structure: "Structure") -> tuple[float, float, Array]:
    """Integrated gradients of the pixels, by the site that they show."""
    from prediction.explain_views import view_gradients

    found = view_gradients(model, structure)
    return found.tc_K, found.reference_K, found.site_K
