"""Intervals that hold where people look: conformal within each range of predicted Tc.

Split-conformal intervals (`tc_common.conformal`) hold on average over all materials, most of which have a Tc below
5 K; where 40 K are predicted they are far too narrow. So the residuals of the validation
materials are divided by a scale, and each range of predicted Tc has its own factor of it: Mondrian conformal
prediction (Vovk et al. 2005, doi 10.1007/b106715, section 4.5). The scale is the model's own SD, where it knows one,
plus a part of the prediction and a floor; both were chosen by cross-fitting on validation materials.

Legend: n crystals, m validation materials, R ranges.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from tc_common.composition import Array
from tc_common.conformal import conformal_factor, conformal_rank
from tc_common.errors import UserError
from tc_common.results import COVERAGE

# Lower edges (K) of the ranges of predicted Tc above the first; few predictions are 0 K.
EDGES_K = (5.0, 15.0, 40.0)
FLOOR_K, PART_OF_TC = 0.3, 0.1
# A range with fewer validation materials is joined with the one below it.
LEAST_MATERIALS = 30
MADE_BY = "python -m prediction.ship"


@dataclass(frozen=True)
class Intervals:
    """Half width of an interval by range of predicted Tc, as a multiple of its scale."""

    coverage: float
    """Nominal (0 to 1)."""
    edges_K: tuple[float, ...]
    """(R - 1,) lower edges of the ranges above the first."""
    factors: tuple[float, ...]
    """(R,)"""
    by_std: bool
    """Whether the scale has the model's own SD in it."""

    def bounds(self, tc_K: Array, std_K: Array | None = None) -> tuple[Array, Array]:
        """Lower and upper ends (n,) in K, cut at 0 K.

        Args:
            tc_K: predictions (n,); std_K: the model's own SD (n,) where it has one.

        Raises:
            UserError: the intervals were fitted with an SD, and there is none.
        """
        if self.by_std and std_K is None:
            raise UserError("these intervals need the model's own SD, which is missing; ship the model again")
        tc_K = np.maximum(np.asarray(tc_K, float), 0.0)
        radius_K = np.array(self.factors)[self._range(tc_K)] * scale_K(tc_K, std_K if self.by_std else None)
        return np.maximum(tc_K - radius_K, 0.0), tc_K + radius_K

    def _range(self, tc_K: Array) -> Any:
        return np.digitize(tc_K, self.edges_K)

    def plain(self) -> dict[str, Any]:
        """For the model's card."""
        return {
            "method": f"conformal within each range of predicted Tc, scale SD + {FLOOR_K:g} K + {PART_OF_TC:g} Tc "
            "(prediction/intervals.py), on the validation residuals, on which the best epoch and an ensemble's "
            "weights were chosen too",
            "coverage": self.coverage, "edges_K": list(self.edges_K), "factors": list(self.factors),
            "by_std": self.by_std,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Any) -> "Intervals":
        """From a card.

        Raises:
            UserError: it holds no such intervals.
        """
        try:
            coverage, by_std = float(plain["coverage"]), plain["by_std"]
            edges, factors = (tuple(float(value) for value in plain[name]) for name in ("edges_K", "factors"))
            fits = 0 < coverage < 1 and isinstance(by_std, bool) and len(factors) == len(edges) + 1
            if not fits or not all(map(isfinite, (*edges, *factors))) or sorted(edges) != [*edges] or min(factors) < 0:
                raise ValueError("its numbers do not fit together")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the card has no intervals ({error}); make it again: python -m prediction.ship"
            ) from error
        return cls(coverage, edges, factors, by_std)


def scale_K(tc_K: Array, std_K: Array | None) -> Array:
    """Unit (n,) of a residual at a predicted Tc."""
    known = np.zeros(len(tc_K)) if std_K is None else np.asarray(std_K, float)
    return known + FLOOR_K + PART_OF_TC * tc_K


def fit_intervals(val: pd.DataFrame, coverage: float = COVERAGE) -> Intervals:
    """Intervals from validation predictions: `tc`, `tc_pred` and perhaps `tc_std` (K), m rows.

    Raises:
        UserError: too few materials for that coverage.
    """
    tc_K = val["tc_pred"].to_numpy(float).clip(min=0.0)
    std_K = val["tc_std"].to_numpy(float) if "tc_std" in val else None
    ratios = np.abs(val["tc"].to_numpy(float) - tc_K) / scale_K(tc_K, std_K)
    needed = max(LEAST_MATERIALS, conformal_rank(LEAST_MATERIALS, coverage))
    edges: list[float] = []
    for edge in EDGES_K:
        below, above = edges[-1] if edges else -np.inf, tc_K >= edge
        if ((tc_K >= below) & ~above).sum() >= needed and above.sum() >= needed:
            edges.append(edge)
    place = np.digitize(tc_K, edges)
    factors = [conformal_factor(ratios[place == number], coverage) for number in range(len(edges) + 1)]
    if None in factors:
        raise UserError(f"{len(val)} validation materials are too few for intervals of {coverage:.0%}")
    return Intervals(coverage, tuple(edges), tuple(float(factor or 0.0) for factor in factors), std_K is not None)
