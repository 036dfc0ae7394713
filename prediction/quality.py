"""How good intervals and cautions are: on test materials, on chemical systems held out, on crystals under pressure.

Legend: n crystals, M models.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from prediction.cautions import Caution, Limits, cautions_of
from prediction.intervals import Intervals
from prediction.models import Array, Output
from prediction.novelty import Training
from tc_common.composition import fractions_formula
from tc_common.crystals import read_crystal
from tc_common.files import read_csv
from tc_common.further import ROOT, SAMPLE_COLUMNS
from tc_common.predictions import read_predictions

# Groups of fewer materials say nothing about a coverage.
LEAST_MATERIALS = 40
SAMPLE = ROOT / "data" / "sample" / "sample.csv"


def coverage_metadata(intervals: Intervals, test: pd.DataFrame, families: Sequence[str]) -> dict[str, Any]:
    """Empirical coverage and mean width (K) on test predictions, also by range of predicted Tc and by family."""
    std_K = test["tc_std"].to_numpy(float) if "tc_std" in test else None
    lower_K, upper_K = intervals.bounds(test["tc_pred"].to_numpy(float), std_K)
    tc_K = test["tc"].to_numpy(float)
    table = pd.DataFrame({"inside": (tc_K >= lower_K) & (tc_K <= upper_K), "width": upper_K - lower_K})
    ranges = [range_name(intervals, value) for value in test["tc_pred"].clip(lower=0.0)]
    return {
        "nominal_coverage": intervals.coverage,
        "test_coverage": float(table["inside"].mean()),
        "mean_width_K": float(table["width"].mean()),
        "by_predicted_range": _groups(table, ranges),
        "by_family": _groups(table, list(families)),
    }


def range_name(intervals: Intervals, tc_K: float) -> str:
    """Name of the range of predicted Tc."""
    edges = [f"{edge:g}" for edge in intervals.edges_K]
    place = int(np.digitize(tc_K, intervals.edges_K))
    if not edges:
        return "all"
    if place == 0:
        return f"below {edges[0]} K"
    return f"{edges[place - 1]} K and more" if place == len(edges) else f"{edges[place - 1]} to {edges[place]} K"


def _groups(table: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Groups of enough materials, the largest first."""
    parts = sorted(table.groupby(np.array(names)), key=lambda part: -len(part[1]))
    return [
        {
            "group": str(name), "n": len(part), "coverage": float(part["inside"].mean()),
            "mean_width_K": float(part["width"].mean()),
        }
        for name, part in parts
        if len(part) >= LEAST_MATERIALS
    ]  # fmt: skip


def new_systems(folder: Path | None, name: str, intervals: Intervals) -> dict[str, Any] | None:
    """Error on chemical systems held out, and what these intervals cover there: mean over the seeds of a study.

    Args:
        folder: with `seed_<n>/<name>_predictions.csv`; None where fewer than two are there.
    """
    if folder is None:
        return None
    paths = sorted(folder.glob(f"seed_*/{name}_predictions.csv"))
    if len(paths) < 2:
        return None
    tables = [read_predictions(path) for path in paths]
    mae_K = np.array([(table["tc_pred"] - table["tc"]).abs().mean() for table in tables])
    half_K = float(stats.t.ppf(0.975, len(mae_K) - 1) * mae_K.std(ddof=1) / len(mae_K) ** 0.5)
    known = not intervals.by_std or all("tc_std" in table for table in tables)
    families = ["all"] * len(tables[0])
    return {
        "mae_K": float(mae_K.mean()),
        "interval": [float(mae_K.mean()) - half_K, float(mae_K.mean()) + half_K],
        "interval_method": "t, 95 %, over the seeds, whose test sets overlap",
        "coverage": float(np.mean([_coverage(intervals, table) for table in tables])) if known else None,
        "seeds": [path.parent.name.removeprefix("seed_") for path in paths],
        "n_test": len(families),
        "source": str(folder),
    }


def _coverage(intervals: Intervals, table: pd.DataFrame) -> float:
    return float(coverage_metadata(intervals, table, ["all"] * len(table))["test_coverage"])


# ---- cautions ----------------------------------------------------------------------------------------------------


def cautions_for(
    materials: pd.DataFrame,
    tc_K: Array,
    outputs: dict[str, Output],
    limits: Limits,
    training: Training,
) -> list[tuple[Caution, ...]]:
    """Cautions of n materials, without the lookup of what is known: they are what the models are tested on.

    Args:
        tc_K: their prediction (n,) by all models together.
        outputs: predictions of each model for them, among them the graph network with its vectors.
    """
    structures = [read_crystal(Path(cif)) for cif in materials["cif"]]
    near = training.by_composition([fractions_formula(structure) for structure in structures])
    vectors = next((output.vectors for output in outputs.values() if output.vectors is not None), None)
    graphs = [None] * len(near) if vectors is None else training.by_graph(vectors)
    return [
        cautions_of(
            limits,
            structure,
            members_K={name: float(output.tc_K[row]) for name, output in outputs.items()},
            tc_K=float(tc_K[row]),
            composition=near[row],
            graph=graphs[row],
            training=training.table,
        )
        for row, structure in enumerate(structures)
    ]


def caution_metadata(test: pd.DataFrame, found: list[tuple[Caution, ...]]) -> dict[str, Any]:
    """How many test materials have a caution, by kind too, and their error (K) against that of the others.

    Args:
        test: `tc`, `tc_pred` (K) of n materials; found: their cautions.
    """
    flagged = np.array([bool(each) for each in found])
    error_K = (test["tc_pred"] - test["tc"]).abs().to_numpy()
    kinds = [caution.kind for each in found for caution in each]
    with_K, without_K = (float(error_K[rows].mean()) if rows.any() else None for rows in (flagged, ~flagged))
    return {
        "flagged": float(flagged.mean()),
        "by_kind": {kind: kinds.count(kind) / len(found) for kind in sorted(set(kinds))},
        "flagged_mae_K": with_K,
        "other_mae_K": without_K,
        "ratio": with_K / without_K if with_K is not None and without_K else None,
    }


def pressure_sample() -> pd.DataFrame:
    """Crystals of the sample whose Tc was measured under pressure; `cif` from any folder.

    Raises:
        UserError: the sample cannot be read.
    """
    table = read_csv(SAMPLE, SAMPLE_COLUMNS, "python -m data.sample.build")
    table = table[table["pressure_GPa"].astype(float) > 0]
    return table.assign(cif=[str(ROOT / cif) for cif in table["cif"]]).reset_index(drop=True)


def pressure_metadata(sample: pd.DataFrame, found: list[tuple[Caution, ...]]) -> dict[str, Any]:
    """How many of the crystals under pressure have a caution, and which have none."""
    flagged = [bool(each) for each in found]
    missed = [name for name, has in zip(sample["material_id"], flagged, strict=True) if not has]
    return {"n": len(flagged), "flagged": sum(flagged), "not_flagged": missed}
