"""Other structures and literature crystals in the comparison: numbers, report, ensembles, means, published check."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comparison.ensemble import with_ensembles, write_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.further import further_numbers, spreads
from comparison.gather import Results, gather
from comparison.mean import mean_further
from comparison.published.recompute import recompute
from comparison.report.documents import markdown, terminal
from comparison.report.write import write_comparison
from tc_common.errors import UserError
from tc_common.files import plain, write_csv
from tc_common.results import further_path
from tests.comparison.made import make_further, make_model, make_splits, read_json

QUICK = Uncertainty(resamples=200)


def made(folder: Path, **spread_K: float) -> Results:
    """Models of 2 K error whose structures of a composition differ by `spread_K` besides."""
    splits = make_splits(folder / "splits")
    for number, (name, spread) in enumerate(spread_K.items()):
        make_model(folder, name, splits, 2.0, number, init="random")
        make_further(folder, name, splits, 2.0, 100 + number, spread_K=spread)
    return gather(folder, folder / "splits")


def test_the_files_of_a_model_are_not_models(tmp_path: Path) -> None:
    results = made(tmp_path, a=0.0, b=1.0)
    assert list(results.test) == list(results.val) == ["a", "b"]
    assert {test: list(tables) for test, tables in results.further.items()} == {
        "val_other_structures": ["a", "b"], "other_structures": ["a", "b"], "literature": ["a", "b"]
    }  # fmt: skip


def test_errors_ratio_spread_and_coverage_are_as_computed_by_hand(tmp_path: Path) -> None:
    results = made(tmp_path, a=3.0)
    found = further_numbers(results, "a", 0.9)["further"]["other_structures"]
    others = results.further["other_structures"]["a"]
    chosen = results.test["a"].set_index("material_id").loc[others["chosen"]]
    mae_K = np.abs(others["tc_pred"] - others["tc"]).mean()
    chosen_K = np.abs(chosen["tc_pred"] - chosen["tc"]).mean()
    assert found["compositions"] == 60 and found["all"]["n"] == 120
    assert (found["all"]["mae_K"], found["all"]["chosen_mae_K"]) == pytest.approx((mae_K, chosen_K))
    assert found["all"]["ratio"] == pytest.approx(mae_K / chosen_K)
    high = others["tc"].to_numpy() > 20
    high_K = np.abs(others["tc_pred"] - others["tc"]).to_numpy()[high].mean()
    assert found["above_20_K"]["n"] == high.sum() and found["above_20_K"]["mae_K"] == pytest.approx(high_K)
    radius_K = np.sort(np.abs(results.val["a"]["tc_pred"] - results.val["a"]["tc"]))[int(np.ceil(61 * 0.9)) - 1]
    lower, upper = (np.maximum(others["tc_pred"] + sign * radius_K, 0) for sign in (-1, 1))
    assert found["all"]["coverage"] == pytest.approx(((lower <= others["tc"]) & (others["tc"] <= upper)).mean())


def test_the_spread_is_over_pairs_and_each_composition_counts_once() -> None:
    table = pd.DataFrame({"chosen": ["a"] * 3 + ["b"] * 2, "tc_pred": [0.0, 1.0, 3.0, 5.0, 5.0]})
    assert spreads(table).to_dict() == {"a": 2.0, "b": 0.0}


def test_a_model_blind_to_structure_has_ratio_one_and_no_spread(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    make_model(tmp_path, "blind", splits, 2.0, 1)
    make_further(tmp_path, "blind", splits, 0.0, 1, structures=3)
    path = further_path(tmp_path, "blind", "other_structures")
    same = pd.read_csv(tmp_path / "blind_predictions.csv").set_index("material_id")["tc_pred"]
    others = pd.read_csv(path)[lambda rows: rows.index % 7 != 0]  # compositions have two or three
    write_csv(path, others.assign(tc_pred=same[others["chosen"]].to_numpy()))
    found = further_numbers(gather(tmp_path, tmp_path / "splits"), "blind", 0.9)["further"]["other_structures"]
    assert found["all"]["ratio"] == pytest.approx(1) and found["spread_K"] == 0


def test_the_literature_is_told_apart_by_what_is_known_and_by_family(tmp_path: Path) -> None:
    found = further_numbers(made(tmp_path, a=0.0), "a", 0.9)["further"]["literature"]
    assert {row["group"]: (row["n"], row["mae_K"]) for row in found["groups"]} == {
        "all": (12, 2.5), "known": (6, 1.0), "new": (6, 4.0)
    }  # fmt: skip
    assert {row["group"]: (row["n"], row["mae_K"]) for row in found["by_family"]} == {
        "cuprate": (4, 2.5), "element": (8, 2.5)
    }  # fmt: skip


def test_every_form_of_the_report_has_them_and_none_without_files(tmp_path: Path) -> None:
    results = made(tmp_path, a=0.0, b=1.0)
    comparison = plain(evaluate(results, QUICK))
    assert "ratio, Tc > 20 K" in terminal(comparison)
    text = markdown(comparison)
    assert "## Other structures of the test compositions" in text and "| a | 2.50 (n=12) | 1.00 (n=6) | 4.00" in text
    write_comparison(tmp_path, results, comparison)
    assert "Crystals from the literature" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    for path in tmp_path.glob("*_other_structures_*"):
        path.unlink()
    for path in tmp_path.glob("*_literature_*"):
        path.unlink()
    bare = plain(evaluate(gather(tmp_path, tmp_path / "splits"), QUICK))
    assert "further" not in bare["models"]["a"]
    assert "Other structures" not in markdown(bare) and "Crystals from" not in markdown(bare)


def test_ensembles_and_means_predict_the_further_tests(tmp_path: Path) -> None:
    results = with_ensembles(made(tmp_path, a=0.0, b=1.0), ["ensemble", "ensemble_equal"], 1)
    a, b, mean, fitted = (
        results.further["other_structures"][name]["tc_pred"] for name in ("a", "b", "ensemble_equal", "ensemble")
    )
    assert mean.tolist() == pytest.approx(((a + b) / 2).tolist())
    weights = results.ensembles["ensemble"]["weights"]
    assert fitted.tolist() == pytest.approx((weights["a"] * a + weights["b"] * b).tolist())
    write_ensembles(results, tmp_path, 0.9)
    written = pd.read_csv(further_path(tmp_path, "ensemble", "literature"))
    assert {"known", "split", "family", "tc_std", "tc_lower"} <= set(written)
    means = mean_further([results, results], "a")
    assert set(means) == {"val_other_structures", "other_structures", "literature"}
    assert means["other_structures"]["chosen"].equals(results.further["other_structures"]["a"]["chosen"])


def test_the_published_check_recomputes_them(tmp_path: Path) -> None:
    results = with_ensembles(made(tmp_path, a=0.0, b=1.0), ["ensemble"], QUICK.seed)
    write_ensembles(results, tmp_path, 0.9)
    write_comparison(tmp_path, results, evaluate(results, QUICK))
    assert recompute(tmp_path)[0] == []
    path = further_path(tmp_path, "ensemble", "literature")
    table = pd.read_csv(path)
    write_csv(path, table.assign(tc_pred=table["tc_pred"] + 1))
    assert "ensemble_literature_predictions.csv" in "".join(recompute(tmp_path)[0])


def test_an_ensemble_that_records_no_fitting_is_recomputed_ungrouped(tmp_path: Path) -> None:
    results = made(tmp_path, a=0.0, b=1.0)
    old = with_ensembles(results, ["ensemble"], QUICK.seed, fitting="ungrouped")
    new = with_ensembles(results, ["ensemble"], QUICK.seed)
    assert "fitting" not in old.ensembles["ensemble"] and new.ensembles["ensemble"]["fitting"] == "grouped"
    assert old.ensembles["ensemble"]["weights"] != new.ensembles["ensemble"]["weights"]
    for given in (old, new):
        write_ensembles(given, tmp_path, 0.9)
        write_comparison(tmp_path, given, evaluate(given, QUICK))
        assert recompute(tmp_path)[0] == []
        assert read_json(tmp_path / "ensemble_metrics.json").get("fitting") == given.ensembles["ensemble"].get(
            "fitting"
        )


@pytest.mark.parametrize(
    ("test", "change", "message"),
    [
        ("other_structures", {"chosen": "nobody"}, "nobody is no material of test.csv"),
        ("val_other_structures", {"chosen": "test-001"}, "test-001 is no material of val.csv"),
        ("literature", {"known": None}, "lacks known"),
        ("literature", {"known": "perhaps"}, "known is not True or False"),
    ],
)
def test_files_that_do_not_belong_are_refused(tmp_path: Path, test: str, change: dict, message: str) -> None:
    made(tmp_path, a=0.0)
    path = further_path(tmp_path, "a", test)
    table = pd.read_csv(path)
    named = {key: value for key, value in change.items() if value is not None}
    write_csv(path, table.assign(**named).drop(columns=[key for key in change if key not in named]))
    with pytest.raises(UserError, match=message):
        gather(tmp_path, tmp_path / "splits")
