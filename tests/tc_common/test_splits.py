"""Split files: what is written is read back; what is damaged is named."""

from pathlib import Path

import pandas as pd
import pytest

from tc_common.errors import UserError
from tc_common.splits import SPLIT_COLUMNS, limited, read_splits, splits_sha256, tc_range, tc_strata, write_splits


def made(tc_K: float = 9.2) -> dict[str, pd.DataFrame]:
    """Three splits of two materials; formulas and ids that a careless reader takes for numbers."""
    rows = [("007", "NaN"), ("1e5", "N1"), ("b", "In1"), ("a", "Nb1"), ("d", "Pb1"), ("c", "None1")]
    table = pd.DataFrame(rows, columns=["material_id", "formula"]).assign(
        tc=tc_K, cif="x.cif", mp_id="", chemical_system="Nb", family="element", weight=1.0
    )
    return {name: table.iloc[2 * n : 2 * n + 2] for n, name in enumerate(("train", "val", "test"))}


def test_ranges_keep_zero_apart_and_hold_their_upper_edge() -> None:
    tc_K = [0, 0.01, 5, 5.01, 15, 40, 40.01, 250]
    assert list(tc_strata(tc_K)) == [0, 1, 1, 2, 2, 3, 4, 4]
    assert tc_range([0, 5, 40.01]) == ["0 K", "(0, 5] K", "> 40 K"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_splits(tmp_path, made())
    splits = read_splits(tmp_path)
    assert list(splits["train"]["material_id"]) == ["007", "1e5"]
    assert list(splits["train"]["formula"]) == ["NaN", "N1"]
    assert list(splits["val"]["material_id"]) == ["a", "b"]
    assert tuple(splits["test"].columns) == SPLIT_COLUMNS
    assert splits_sha256(splits) == splits_sha256(made())
    assert len(read_splits(tmp_path, limit=1)["train"]) == 1


def test_a_limit_draws_the_same_materials_every_time_from_all_over_the_list() -> None:
    table = pd.DataFrame({"material_id": [f"{number:04d}" for number in range(1000)]})
    few, more = limited(table, 100), limited(table, 200)
    pd.testing.assert_frame_equal(few, limited(table, 100))
    assert len(few) == 100 and list(few.index) == list(range(100))
    assert set(few["material_id"]) < set(more["material_id"])
    assert few["material_id"].is_monotonic_increasing
    assert 400 < few["material_id"].astype(int).mean() < 600  # the first hundred would have 49.5
    assert len(limited(table, None)) == len(limited(table, 5000)) == 1000


def test_the_fingerprint_follows_sides_and_tc_but_not_order() -> None:
    splits = made()
    assert splits_sha256({name: table[::-1] for name, table in splits.items()}) == splits_sha256(splits)
    assert splits_sha256(made(9.3)) != splits_sha256(splits)
    swapped = splits | {"val": splits["test"], "test": splits["val"]}
    assert splits_sha256(swapped) != splits_sha256(splits)


def test_a_material_on_two_sides_is_never_written(tmp_path: Path) -> None:
    splits = made()
    with pytest.raises(AssertionError, match="two splits"):
        write_splits(tmp_path, splits | {"val": splits["train"]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("9.2", "cold", "not a temperature"),
        ("9.2", "-4", "not a temperature"),
        ("9.2", "nan", "not a temperature"),
        ("9.2", "inf", "not a temperature"),
        ("007", "a", "is listed twice"),
        ("formula", "name", "no column formula"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, old: str, new: str, reason: str) -> None:
    write_splits(tmp_path, made())
    path = tmp_path / "train.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=reason):
        read_splits(tmp_path)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="python -m data.prepare"):
        read_splits(tmp_path)
    write_splits(tmp_path, made())
    path = tmp_path / "val.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="val.csv has no rows"):
        read_splits(tmp_path)
    path.write_text("")
    with pytest.raises(UserError, match="val.csv cannot be read"):
        read_splits(tmp_path)
