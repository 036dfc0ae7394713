"""README's overview and the table of three tests: what is in a cell, in which order, and what is refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather
from comparison.published.overview import overview_rows, three_tests_rows
from comparison.published.readme import block
from tc_common.errors import UserError
from tc_common.files import plain, write_csv, write_json
from tc_common.results import further_path
from tests.comparison.made import make_further, make_results

SEVERAL: dict[str, Any] = {
    "runs": 5,
    "models": {"alignn": {"mae_K": {"mean": 4.0, "sd": 0.5}}, "pair": {"mae_K": {"mean": 3.5, "sd": 0.25}}},
}


@pytest.fixture
def one(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder of two models, of which one predicted the further tests, and its comparison."""
    results = make_results(tmp_path, {"alignn": 2.0, "composition": 1.0})
    make_further(tmp_path, "alignn", results.splits, 3.0, 9, spread_K=1.0)
    return tmp_path, compared(tmp_path)


def compared(folder: Path) -> dict[str, Any]:
    comparison = plain(evaluate(gather(folder, folder / "splits"), Uncertainty(resamples=100)))
    write_json(folder / "comparison.json", comparison)
    return dict(comparison)


def mae_K(path: Path, rows: slice = slice(None)) -> str:
    table = pd.read_csv(path)[rows]
    return f"{(table['tc_pred'] - table['tc']).abs().mean():.2f}"


def test_the_overview_has_every_model_once_with_a_dash_where_it_has_no_number(one: tuple[Path, Any]) -> None:
    folder, comparison = one
    chosen = {name: mae_K(folder / f"{name}_predictions.csv") for name in ("alignn", "composition")}
    assert overview_rows(comparison, SEVERAL) == [
        [
            "model",
            "random split (n=60)",
            "chemical systems held out (5 splits)",
            "other structure files (n=120)",
            "literature structures (n=12)",
        ],
        ["composition trees", f"**{chosen['composition']}**", "–", "–", "–"],
        [
            "ALIGNN",
            chosen["alignn"],
            "4.00 ± 0.50",
            f"**{mae_K(folder / 'alignn_other_structures_predictions.csv')}**",
            "**2.50**",
        ],
        ["pair", "–", "**3.50 ± 0.25**", "–", "–"],
    ]


def test_the_literature_is_split_by_what_any_model_was_fitted_on(one: tuple[Path, Any]) -> None:
    folder, comparison = one
    rows = three_tests_rows(folder, comparison)
    assert rows[0][3:] == ["literature, known composition (n=6)", "literature, new composition (n=6)"]
    assert rows[2][3:] == ["**1.00**", "**4.00**"] and rows[1][3:] == ["–", "–"]
    path = further_path(folder, "alignn", "literature")
    table = pd.read_csv(path)
    write_csv(further_path(folder, "composition", "literature"), table.assign(known=table["tc"] < 8, tc_pred=9.0))
    head, best, second = three_tests_rows(folder, compared(folder))
    assert head[3:] == ["literature, known composition (n=8)", "literature, new composition (n=4)"]
    assert second[3:] == ["**1.75**", "4.00"], "known to one model is known for all"
    assert best[3:] == ["5.50", "**1.00**"]


def test_a_composition_of_the_validation_materials_is_not_new(one: tuple[Path, Any]) -> None:
    folder = one[0]
    path = further_path(folder, "alignn", "literature")
    table = pd.read_csv(path, keep_default_na=False)
    write_csv(path, table.assign(split=["train"] * 6 + ["val", "test", "none", "none", "val", "test"]))
    assert three_tests_rows(folder, compared(folder))[0][3:] == [
        "literature, known composition (n=8)",
        "literature, new composition (n=4)",
    ]


def test_models_of_other_crystals_are_refused(one: tuple[Path, Any]) -> None:
    folder, comparison = one
    table = pd.read_csv(further_path(folder, "alignn", "literature"), keep_default_na=False)
    write_csv(further_path(folder, "composition", "literature"), table.iloc[1:])
    with pytest.raises(UserError, match="other crystals"):
        three_tests_rows(folder, comparison)
    comparison["models"]["composition"]["further"] = {"literature": {"groups": [{"n": 11, "mae_K": 1.0}]}}
    with pytest.raises(UserError, match="predicted 11 and 12"):
        overview_rows(comparison, SEVERAL)


def test_an_overview_of_the_wrong_folders_is_refused(one: tuple[Path, Any]) -> None:
    folder, comparison = one
    with pytest.raises(UserError, match="then one over runs"):
        overview_rows(comparison, comparison)
    with pytest.raises(UserError, match="names 2 folder"):
        block("overview", ["."], folder)
