"""Extra labels are read only with the splits that they were made for."""

import json
from pathlib import Path

import pytest

from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.labels import read_extra_labels
from tc_common.splits import splits_sha256
from tests.baselines.made import make_splits

TEXT = "name,formula,tc,chemical_system\nNb3Sn1,Nb3Sn,18.0,Nb-Sn\nPb1,Pb,7.2,Pb\n"


def write_labels(folder: Path, text: str = TEXT, **other: object) -> Path:
    """Labels and their report for splits made in `folder`."""
    splits = make_splits(folder, counts=(20, 10, 10))
    path = folder / "extra_labels.csv"
    path.write_text(text, encoding="utf-8")
    facts = {"labels_sha256": sha256(path), "splits_sha256": splits_sha256(splits), "exclude": 0.05}
    path.with_suffix(".json").write_text(json.dumps({**facts, "split": "stratified", **other}), encoding="utf-8")
    return path


def test_labels_and_what_they_keep_away_from(tmp_path: Path) -> None:
    labels = read_extra_labels(write_labels(tmp_path), tmp_path)
    assert labels.table["tc"].tolist() == [18.0, 7.2] and labels.table["formula"].tolist() == ["Nb3Sn", "Pb"]
    assert (labels.exclude, labels.split) == (0.05, "stratified")
    assert labels.metadata() == {"extra_labels": 2, "extra_labels_exclude": 0.05}


def test_labels_of_other_splits_are_refused(tmp_path: Path) -> None:
    path = write_labels(tmp_path)
    make_splits(tmp_path / "others", counts=(20, 10, 10), seed=1)
    with pytest.raises(UserError, match="other splits than .*others; make it with: python -m data.supercon"):
        read_extra_labels(path, tmp_path / "others")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formula,tc\nNb,9\n", "has no column name, chemical_system"),
        (TEXT.replace("7.2", "-7.2"), "Tc of Pb1 is no temperature"),
        (TEXT.replace("7.2", "x"), "Tc of Pb1 is no temperature"),
        (TEXT.replace("7.2", "inf"), "Tc of Pb1 is no temperature"),
        ("", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write_labels(tmp_path, text)
    with pytest.raises(UserError, match=message):
        read_extra_labels(path, tmp_path)


def test_labels_that_were_changed_or_have_no_report_are_refused(tmp_path: Path) -> None:
    path = write_labels(tmp_path)
    path.write_text(TEXT + "Nb1,Nb,9.2,Nb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"is not the file that .*extra_labels\.json describes"):
        read_extra_labels(path, tmp_path)
    for report in ("[]", "{}", "{"):
        path.with_suffix(".json").write_text(report, encoding="utf-8")
        with pytest.raises(UserError, match="cannot be read; make both with"):
            read_extra_labels(path, tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="cannot be read; make both with"):
        read_extra_labels(path, tmp_path)
