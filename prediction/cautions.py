"""Cautions: what about a crystal makes its prediction doubtful, each from one measured limit.

- pressure: its volume per atom is far below the sum of its elements' volumes, which are fitted to the training set
  (additive volumes, as Zen's law has them), or the literature measured it under pressure; Tc was learned at ambient
  pressure.
- hydrogen: more hydrogen than any training material has.
- disagreement: the models' predictions are farther apart than those of nearly all validation materials.
- composition, structure: far from the training materials (`prediction.novelty`).
- range: predicted Tc is above nearly all of the training set's. Few materials are there to learn from, and trees and
  retrieval cannot exceed the highest of them.
- known: a measured Tc lies outside the interval.

Legend: n training materials, m validation materials, E elements, M models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from pymatgen.core import Element, Structure

from prediction.known import Known
from prediction.novelty import Distance
from tc_common.composition import LAST_Z, Array, element_fractions, fractions_formula
from tc_common.errors import UserError
from tc_common.files import read_json

Kind: TypeAlias = Literal["pressure", "hydrogen", "disagreement", "composition", "structure", "known", "range"]
FILE = "cautions.json"
MADE_BY = "python -m prediction.ship"
# Chosen on validation materials, so that about one in twenty is flagged at all.
DENSEST = 0.005
"""Fraction of the training materials with a smaller volume ratio than the limit."""
FARTHEST_APART = 0.97
"""Fraction of the validation materials on which the models differ less than the limit."""
# Of predictions of 1 and 3 K nobody would say that the models disagree.
FLOOR_K = 5.0
FAR = 0.99
"""Percentile of a distance to the training set from which it is a caution."""
HIGHEST = 0.99
"""Quantile of the training materials' Tc above which a predicted Tc is a caution."""
# Volumes are fitted by least absolute differences: weighted least squares, repeated.
ROUNDS, LEAST_RESIDUAL_A3 = 10, 0.1


@dataclass(frozen=True)
class Caution:
    """One reason for doubt."""

    kind: Kind
    text: str

    def to_dict(self) -> dict[str, str]:
        """Fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Limits:
    """What the training and validation materials do not go beyond."""

    volumes_A3: dict[str, float]
    """Volume of an atom of each element of the training set."""
    least_volume: float
    """Ratio of a crystal's volume to the sum of its elements'."""
    most_hydrogen: float
    """Fraction of the atoms."""
    most_disagreement: float
    """As `disagreement` measures it."""

    def volume_ratio(self, structure: Structure) -> float | None:
        """Volume over the sum of the elements' volumes; None with an element that the training set has not."""
        amounts = element_fractions([fractions_formula(structure)])[0]
        own = np.array([self.volumes_A3.get(symbol, np.nan) for symbol in SYMBOLS])
        expected_A3 = float((amounts[amounts > 0] * own[amounts > 0]).sum())
        ratio = volume_per_atom_A3(structure) / expected_A3
        return ratio if np.isfinite(ratio) else None


SYMBOLS = tuple(Element.from_Z(number).symbol for number in range(1, LAST_Z + 1))


def volume_per_atom_A3(structure: Structure) -> float:
    """Cell volume per atom, partly occupied sites counted by their occupancy."""
    return float(structure.volume / structure.composition.num_atoms)


def fit_limits(structures: Sequence[Structure], pred_K: Array) -> Limits:
    """Limits from n training structures and the models' validation predictions (m, M)."""
    fractions = element_fractions([fractions_formula(structure) for structure in structures])
    measured_A3 = np.array([volume_per_atom_A3(structure) for structure in structures])
    volumes_A3 = additive_volumes(fractions, measured_A3)
    ratio = measured_A3 / (fractions @ volumes_A3)
    apart = disagreement(pred_K)
    return Limits(
        {SYMBOLS[column]: round(float(volumes_A3[column]), 2) for column in np.flatnonzero(volumes_A3 > 0)},
        float(np.quantile(ratio, DENSEST)),
        float(fractions[:, 0].max()),
        float(np.quantile(apart, FARTHEST_APART)),
    )


def additive_volumes(fractions: Array, volumes_A3: Array) -> Array:
    """Volume (E,) of an atom of each element with the least absolute differences to volumes per atom (n,)."""
    from scipy.optimize import nnls  # not needed to predict

    weights = np.ones(len(volumes_A3))
    for _ in range(ROUNDS):
        found, _norm = nnls(fractions * weights[:, None], volumes_A3 * weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(volumes_A3 - fractions @ found), LEAST_RESIDUAL_A3))
    return np.asarray(found)


def disagreement(pred_K: Array) -> Array:
    """Range of the predictions (n, M) in units of 5 K + the largest of them: 0 to 1 for each crystal."""
    pred_K = np.maximum(pred_K, 0.0)
    return np.ptp(pred_K, axis=1) / (FLOOR_K + pred_K.max(axis=1))


def cautions_of(
    limits: Limits,
    structure: Structure,
    *,
    members_K: Mapping[str, float],
    tc_K: float | None = None,
    lower_K: float | None = None,
    upper_K: float | None = None,
    composition: Distance | None = None,
    graph: Distance | None = None,
    known: Known | None = None,
    training: pd.DataFrame | None = None,
) -> tuple[Caution, ...]:
    """Every caution that a prediction needs, the gravest first.

    Args:
        members_K: Tc by model; tc_K, lower_K, upper_K: the prediction and its interval.
        composition, graph: distances to the nearest training material.
        training: the training materials (`formula`, `tc` in K).
    """
    found = [
        ("pressure", _pressure(limits, structure) or _measured_under_pressure(known)),
        ("hydrogen", _hydrogen(limits, structure)),
        ("known", _known(lower_K, upper_K, known)),
        ("disagreement", _disagreement(limits, members_K)),
        ("composition", _far("composition", composition, training)),
        ("structure", _far("structure", graph, training)),
        ("range", _beyond(tc_K, training)),
    ]
    return tuple(Caution(kind, text) for kind, text in found if text)  # type: ignore[arg-type]


def _pressure(limits: Limits, structure: Structure) -> str:
    ratio = limits.volume_ratio(structure)
    if ratio is None or ratio >= limits.least_volume:
        return ""
    return (
        f"dense as if under pressure: {volume_per_atom_A3(structure):.3g} Å³ per atom, {ratio:.2f} of what its "
        f"elements need in the training set (limit {limits.least_volume:.2f}); Tc was learned at ambient pressure"
    )


def _measured_under_pressure(known: Known | None) -> str:
    if known is None or not known.under_pressure:
        return ""
    return f"Tc of {known.formula} was measured under pressure ({known.source})"


def _hydrogen(limits: Limits, structure: Structure) -> str:
    hydrogen = element_fractions([fractions_formula(structure)])[0, 0]
    if hydrogen <= limits.most_hydrogen:
        return ""
    return f"{hydrogen:.0%} of its atoms are hydrogen; no training material has more than {limits.most_hydrogen:.0%}"


def _known(lower_K: float | None, upper_K: float | None, known: Known | None) -> str:
    if known is None or lower_K is None or upper_K is None or lower_K <= known.tc_K <= upper_K:
        return ""
    return (
        f"measured Tc of {known.formula} is {known.tc_K:.4g} K ({known.source}), outside the interval "
        f"{lower_K:.3g} to {upper_K:.3g} K"
    )


def _disagreement(limits: Limits, members_K: Mapping[str, float]) -> str:
    pred_K = np.array([*members_K.values()], float)
    if len(pred_K) < 2 or disagreement(pred_K[None])[0] <= limits.most_disagreement:
        return ""
    return "the models disagree: " + ", ".join(f"{name} {tc_K:.3g} K" for name, tc_K in members_K.items())


def _far(kind: str, distance: Distance | None, training: pd.DataFrame | None) -> str:
    if distance is None or distance.percentile < FAR:
        return ""
    near = "" if training is None else f" ({training['formula'].iloc[distance.row]})"
    return (
        f"{kind} far from the training data: {distance.value:.3g} from the nearest{near}; "
        f"{distance.percentile:.1%} of the training materials have a closer neighbour"
    )


def _beyond(tc_K: float | None, training: pd.DataFrame | None) -> str:
    if tc_K is None or training is None or tc_K <= training["tc"].quantile(HIGHEST):
        return ""
    higher, most_K = int((training["tc"] > tc_K).sum()), training["tc"].max()
    return (
        f"only {higher} of {len(training)} training materials have a higher Tc (at most {most_K:.4g} K): little was "
        "learned there, and the models stay below that while the true Tc may not"
    )


def read_limits(path: Path) -> Limits:
    """Limits that `python -m prediction.ship` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds no numbers.
    """
    plain = read_json(path)
    try:
        volumes_A3 = {str(symbol): float(value) for symbol, value in plain["volumes_A3"].items()}
        names = ("least_volume", "most_hydrogen", "most_disagreement")
        numbers = [float(plain[name]) for name in names]
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no limits ({error}); make it again with: {MADE_BY}") from error
    every = [*volumes_A3.values(), *numbers]
    if not all(0 <= value < 1e6 for value in every) or not volumes_A3.keys() <= set(SYMBOLS):
        raise UserError(f"{path} holds a limit that is none; make it again with: {MADE_BY}")
    return Limits(volumes_A3, *numbers)


def plain_limits(limits: Limits) -> dict[str, Any]:
    """What `read_limits` reads."""
    return asdict(limits)
