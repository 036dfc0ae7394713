"""Tables that put several tests of the same models side by side: README's overview, and the three tests of one split.

A cell is a mean absolute error (MAE) in kelvin, bold where it is the lowest of its column, a dash where there is none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from comparison.formatting import NOT_KNOWN, display, number
from comparison.report.tables import Rows
from tc_common.errors import UserError
from tc_common.further import LITERATURE, NO_SPLIT
from tc_common.predictions import read_predictions
from tc_common.results import further_path

OTHERS = "other_structures"
# Crystals of these splits are new compositions; those of training and validation materials took part in the making.
NEW_SPLITS = ("test", NO_SPLIT)
Column = tuple[str, dict[str, float], dict[str, float]]


def overview_rows(one_split: dict[str, Any], several: dict[str, Any]) -> Rows:
    """Head and one row per model of either comparison, by rising MAE of the first column.

    Args:
        one_split: `comparison.json` of models on one random split, with the further tests.
        several: that over splits with chemical systems held out.

    Raises:
        UserError: a comparison of the wrong kind.
    """
    if "runs" in one_split or "runs" not in several:
        raise UserError("an overview names a folder of models, then one over runs (compare_models.py runs)")
    models = several["models"].items()
    held_out = {name: model["mae_K"]["mean"] for name, model in models}
    spread = {name: model["mae_K"]["sd"] for name, model in models}
    columns: list[Column] = [
        (f"random split (n={one_split['n']})", _chosen(one_split), {}),
        (f"chemical systems held out ({several['runs']} splits)", held_out, spread),
        *_further_columns(one_split),
    ]
    return _rows(columns, {name: model["init"] for name, model in one_split["models"].items()})


def three_tests_rows(folder: Path, comparison: dict[str, Any]) -> Rows:
    """Head and one row per model: chosen structures, others of the same compositions, literature by what is known.

    A composition of the literature is new if it is not among the training and validation materials and if no model of
    the folder was fitted on it (further labels): the same crystals for every model.

    Raises:
        UserError: a prediction file is damaged, or the models' crystals differ.
    """
    crystals = _crystals(folder, list(comparison["models"]))
    columns: list[Column] = [(f"chosen structures (n={comparison['n']})", _chosen(comparison), {})]
    columns += _further_columns(comparison)[:1]
    if crystals:
        new = _new(crystals)
        for name, rows in (("known", ~new), ("new", new)):
            errors_K = {model: _mae_K(table[rows]) for model, table in crystals.items()}
            columns.append((f"literature, {name} composition (n={int(rows.sum())})", errors_K, {}))
    return _rows(columns, {name: model["init"] for name, model in comparison["models"].items()})


def _chosen(comparison: dict[str, Any]) -> dict[str, float]:
    return {name: model["score"]["mae_K"] for name, model in comparison["models"].items()}


def _further_columns(comparison: dict[str, Any]) -> list[Column]:
    """MAE on other structure files of the test compositions and on the literature's structures, with their number."""
    found = {name: model.get("further", {}) for name, model in comparison["models"].items()}
    others = {name: tests[OTHERS]["all"] for name, tests in found.items() if OTHERS in tests}
    crystals = {name: tests[LITERATURE]["groups"][0] for name, tests in found.items() if LITERATURE in tests}
    heads = ("other structure files", "literature structures")
    return [_column(head, groups) for head, groups in zip(heads, (others, crystals), strict=True)]


def _column(head: str, groups: dict[str, dict[str, Any]]) -> Column:
    sizes = sorted({group["n"] for group in groups.values()})
    if len(sizes) > 1:
        raise UserError(f"{head}: the models predicted {sizes[0]} and {sizes[-1]}; predict the further tests again")
    size = f" (n={sizes[0]:,})" if sizes else ""
    return head + size, {name: group["mae_K"] for name, group in groups.items()}, {}


def _crystals(folder: Path, models: list[str]) -> dict[str, pd.DataFrame]:
    """Predictions of the literature's crystals, of those models that have them; the same crystals for all."""
    paths = {name: further_path(folder, name, LITERATURE) for name in models}
    tables = {name: read_predictions(path) for name, path in paths.items() if path.exists()}
    ids = {name: tuple(table["material_id"]) for name, table in tables.items()}
    if len(set(ids.values())) > 1:
        raise UserError(f"{folder}: the models predicted other crystals of the literature; predict them again")
    return tables


def _new(crystals: Mapping[str, pd.DataFrame]) -> "pd.Series[bool]":
    """Which crystals have a composition that no model was fitted on, nor chosen by."""
    known = pd.concat([table["known"] for table in crystals.values()], axis=1).any(axis=1)
    split = next(iter(crystals.values()))["split"].fillna(NO_SPLIT)
    return split.isin(NEW_SPLITS) & ~known


def _mae_K(table: pd.DataFrame) -> float:
    return float((table["tc_pred"] - table["tc"]).abs().mean())


def _rows(columns: list[Column], init: dict[str, str | None]) -> Rows:
    """One row per model that any column has, ordered by the first column that has it."""
    everything = [values for _, values, _ in columns]
    models = {name for values in everything for name in values}

    def rank(name: str) -> tuple[int, float, str]:
        place = next(position for position, values in enumerate(everything) if name in values)
        return place, everything[place][name], name

    head = ["model", *(head for head, _, _ in columns)]
    return [head] + [
        [display(name, init.get(name)), *(_cell(name, values, sd) for _, values, sd in columns)]
        for name in sorted(models, key=rank)
    ]


def _cell(name: str, values: dict[str, float], sd: dict[str, float]) -> str:
    if name not in values:
        return NOT_KNOWN
    text = number(values[name])
    best = text == number(min(values.values()))
    text += f" ± {number(sd[name])}" if sd else ""
    return f"**{text}**" if best else text
