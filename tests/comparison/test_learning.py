"""Subsets of the training materials, and where a learning curve comes from."""

from pathlib import Path

import pandas as pd
import pytest

from comparison.learning import LEARNING_FILE, nested_subsets, read_learning_curve, sizes_of_runs
from tc_common.errors import UserError
from tc_common.files import write_csv


def materials() -> pd.DataFrame:
    """Twenty compositions, each written in two ways."""
    formulas = [f"La{2 - k / 100:.2f}Sr{k / 100:.2f}CuO4" for k in range(1, 21)]
    turned = [f"Cu1O4Sr{k / 100:.2f}La{2 - k / 100:.2f}" for k in range(1, 21)]
    return pd.DataFrame({"formula": formulas + turned, "tc": range(40)})


def test_subsets_are_nested_and_keep_compositions_whole() -> None:
    small, half, whole = nested_subsets(materials(), (0.1, 0.5, 1.0), seed=0)
    assert [len(small), len(half), len(whole)] == [4, 20, 40]
    assert set(small["tc"]) < set(half["tc"]) < set(whole["tc"])
    for part in (small, half):
        assert {tc % 20 for tc in part["tc"]} == {tc for tc in part["tc"] if tc < 20}, "both spellings or none"


def test_another_seed_draws_other_compositions() -> None:
    (a,), (b,), (c,) = (list(nested_subsets(materials(), (0.5,), seed)) for seed in (0, 0, 1))
    assert a.equals(b) and not a.equals(c)


def test_a_folder_without_the_table_has_no_curve_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert read_learning_curve(tmp_path) is None
    write_csv(tmp_path / LEARNING_FILE, pd.DataFrame({"model": ["pair"], "n_train": [10]}))
    with pytest.raises(UserError, match="mae_K"):
        read_learning_curve(tmp_path)


def test_runs_make_a_curve_only_if_their_training_sets_differ_in_size() -> None:
    runs = pd.DataFrame(
        {"run": ["a", "b", "c"], "model": "pair", "mae_K": [5.0, 3.0, 4.0], "n_train": [100, 200, 200.0]}
    )
    found = sizes_of_runs(runs)
    assert found is not None and found["mae_K"].tolist() == [5.0, 3.5]
    assert sizes_of_runs(runs.assign(n_train=[190, 200, 200.0])) is None
    assert sizes_of_runs(runs.assign(n_train=float("nan"))) is None
