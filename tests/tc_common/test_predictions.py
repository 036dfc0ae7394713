"""Prediction files: what is refused, and that only ids decide which row is which."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tc_common.errors import UserError
from tc_common.predictions import align, read_predictions, write_predictions


def table(**columns: list[object]) -> pd.DataFrame:
    basic = {"material_id": ["b", "a"], "formula": ["Nb3Sn", "NaN"], "tc": [18.0, 0.0], "tc_pred": [17.0, 0.5]}
    return pd.DataFrame({**basic, **columns})


def test_what_is_written_is_read_sorted_by_id(tmp_path: Path) -> None:
    write_predictions(tmp_path / "m_predictions.csv", table(tc_std=[1.0, 0.1], other=[1, 2]))
    read = read_predictions(tmp_path / "m_predictions.csv")
    assert list(read.columns) == ["material_id", "formula", "tc", "tc_pred", "tc_std"]
    assert read["material_id"].to_list() == ["a", "b"]
    assert read["tc_pred"].to_list() == [0.5, 17.0]


def test_two_writings_are_the_same_bytes(tmp_path: Path) -> None:
    for name, rows in (("x", table()), ("y", table()[::-1])):
        write_predictions(tmp_path / name, rows)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"material_id": ["a", "a"]}, "material a is there twice"),
        ({"material_id": ["a", None]}, "row 3 has no material_id"),
        ({"tc_pred": [1.0, np.nan]}, "tc_pred of a is nan"),
        ({"tc_pred": [1.0, np.inf]}, "tc_pred of a is inf"),
        ({"tc": [1.0, -2.0]}, "tc of a is -2.0, below 0 K"),
        ({"tc": ["warm", 2.0]}, "tc of b is warm"),
        ({"tc_std": [1.0, np.nan]}, "tc_std of a is nan"),
        ({"tc_std": [1.0, -0.1]}, "tc_std of a is -0.1, below 0 K; correct it"),
        ({"tc_pred": [1.0, 1e308]}, "tc_pred of a is 1e[+]308, beyond 1e[+]06 K"),
        ({"tc_pred": [-2e6, 1.0]}, "tc_pred of b is -2000000.0, beyond"),
        ({"tc_lower": [1.0, 3.0], "tc_upper": [2.0, 2.5]}, "tc_lower of a is 3.0, above its tc_upper"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    table(**columns).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_predictions(tmp_path / "m.csv")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    table()[:0].to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UserError, match="has no rows"):
        read_predictions(tmp_path / "m.csv")


def test_alignment_follows_ids_alone() -> None:
    truth = pd.DataFrame({"material_id": ["b", "c", "a"], "tc": [18.0, 3.0, 0.0]})
    rows = table(material_id=["a", "c"], tc=[0.0, 3.0], tc_pred=[1.0, 2.0])
    rows = pd.concat([rows, table()[:1]])
    for shuffled in (rows, rows[::-1], rows.sample(frac=1, random_state=1)):
        aligned = align(shuffled, truth, Path("m.csv"), "test.csv")
        assert aligned["material_id"].to_list() == ["b", "c", "a"]
        assert aligned["tc_pred"].to_list() == [17.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [(["a"], "lacks b"), (["a", "b", "z"], "has also z"), (["a", "z"], "lacks b and has also z")],
)
def test_missing_and_unknown_ids_are_named(ids: list[str], message: str) -> None:
    truth = pd.DataFrame({"material_id": ["a", "b"], "tc": [1.0, 1.0]})
    rows = pd.DataFrame({"material_id": ids, "formula": "Nb", "tc": 1.0, "tc_pred": 1.0})
    with pytest.raises(UserError, match=f"different materials: it {message}"):
        align(rows, truth, Path("m.csv"), "test.csv")


def test_another_measured_tc_is_an_error() -> None:
    truth = pd.DataFrame({"material_id": ["a", "b"], "tc": [0.0, 18.3]})
    with pytest.raises(UserError, match=r"tc of b is 18.0, but 18.3 in test.csv"):
        align(table(), truth, Path("m.csv"), "test.csv")
    align(table(), truth.assign(tc=[0.0, 18.0 + 1e-5]), Path("m.csv"), "test.csv")


def test_another_formula_of_the_same_id_is_an_error_and_another_spelling_is_none() -> None:
    truth = pd.DataFrame({"material_id": ["a", "b"], "formula": ["NaN", "Nb3Sn"], "tc": [0.0, 18.0]})
    align(table(formula=["Sn1Nb3", "NaN"]), truth, Path("m.csv"), "test.csv")
    for other in ("Nb3Ge", "<script>"):
        with pytest.raises(UserError, match=f"m.csv: formula of b is {other}, but Nb3Sn in test.csv; the files are"):
            align(table(formula=[other, "NaN"]), truth, Path("m.csv"), "test.csv")
