"""Labels from SuperCon: nothing near what is held out, nothing lost without being listed."""

import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import prepare, supercon
from data.prepare import PrepareConfig
from data.supercon import SuperconConfig, check_labels, labels_of, nearest_distance, one_row_a_composition, source_path
from tc_common.composition import chemical_system, composition_key, formula_distance, fractions, parse_formula
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.labels import read_extra_labels
from tc_common.splits import SPLITS, read_splits, splits_sha256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, split in two ways, and a table like SuperCon's with relatives of its compositions."""
    folder = tmp_path_factory.mktemp("supercon")
    for split in ("stratified", "chemical-system"):
        prepare.main(PrepareConfig(out=folder / split, split=split, workers=1, limit=120))
    splits = read_splits(folder / "stratified")
    formulas = pd.concat([splits[name]["formula"] for name in SPLITS]).tolist()
    names = [relative(formula, *change) for formula, change in product(formulas[::2], CHANGES)]
    random = np.random.default_rng(0)
    table = pd.DataFrame({"name": names, "Tc": random.uniform(0, 40, len(names)).round(2)})
    table.to_csv(folder / "supercon.csv", index=False)
    return folder


CHANGES = [(element, share) for element in ("O", "Nb", "Ni") for share in (0.0, 0.004, 0.02, 0.06, 0.2)]


def relative(formula: str, element: str, share: float) -> str:
    """The formula with a share of its atoms replaced by an element."""
    amounts = {symbol: amount * (1 - share) for symbol, amount in fractions(parse_formula(formula)).items()}
    amounts[element] = amounts.get(element, 0.0) + share
    return "".join(f"{symbol}{amount:.5f}" for symbol, amount in amounts.items() if amount)


def made(folder: Path, split: str, exclude: float, out: Path) -> pd.DataFrame:
    """The labels for these splits."""
    supercon.main(SuperconConfig(source=str(folder / "supercon.csv"), splits=folder / split, out=out, exclude=exclude))
    return read_extra_labels(out / "extra_labels.csv", folder / split).table


@pytest.mark.parametrize(("split", "exclude"), [*product(("stratified", "chemical-system"), (0.0, 0.01, 0.05))])
def test_no_label_is_near_a_held_out_composition_nor_of_a_held_out_system(
    folder: Path, tmp_path: Path, split: str, exclude: float
) -> None:
    labels = made(folder, split, exclude, tmp_path)
    splits = read_splits(folder / split)
    held_out = [fractions(parse_formula(f)) for name in ("val", "test") for f in splits[name]["formula"]]
    everything = {composition_key(fractions(parse_formula(f))) for name in SPLITS for f in splits[name]["formula"]}
    systems = {chemical_system(share) for share in held_out}
    for formula in labels["formula"]:
        share = fractions(parse_formula(formula))
        assert min(formula_distance(share, other) for other in held_out) > exclude
        assert composition_key(share) not in everything
        assert split != "chemical-system" or chemical_system(share) not in systems


def test_what_is_far_enough_is_kept_and_every_row_is_in_the_ledger(folder: Path, tmp_path: Path) -> None:
    labels = made(folder, "stratified", 0.01, tmp_path)
    ledger = pd.read_csv(tmp_path / "extra_labels_ledger.csv", keep_default_na=False)
    rows = pd.read_csv(folder / "supercon.csv")
    assert ledger["name"].tolist() == rows["name"].tolist()
    assert (ledger["fate"] == "used").sum() == len(labels) > 300
    report = json.loads((tmp_path / "extra_labels.json").read_text(encoding="utf-8"))
    assert set(report["rows"]) >= {"used", "near held-out", "in splits", "repeated"}
    assert sum(report["rows"].values()) == len(rows) and report["labels"] == len(labels)
    splits = read_splits(folder / "stratified")
    held_out = [fractions(parse_formula(f)) for name in ("val", "test") for f in splits[name]["formula"]]
    for name in ledger[ledger["fate"] == "near held-out"]["name"]:
        share = fractions(parse_formula(name))
        assert min(formula_distance(share, other) for other in held_out) <= 0.01 + 1e-9


def test_the_report_says_from_what_and_how_near_the_test_compositions_are(folder: Path, tmp_path: Path) -> None:
    labels = made(folder, "stratified", 0.01, tmp_path)
    report = json.loads((tmp_path / "extra_labels.json").read_text(encoding="utf-8"))
    assert report["exclude"] == 0.01 and report["split"] == "stratified"
    assert report["splits_sha256"] == splits_sha256(read_splits(folder / "stratified"))
    assert report["labels_sha256"] == sha256(tmp_path / "extra_labels.csv")
    assert report["source"]["licence"] == "CC BY 4.0" and report["source"]["doi"] == "10.1038/s41524-018-0085-8"
    assert report["source"]["table_sha256"] == sha256(folder / "supercon.csv")
    splits = read_splits(folder / "stratified")
    test, train = splits["test"]["formula"].tolist(), splits["train"]["formula"].tolist()
    shares = {formula: fractions(parse_formula(formula)) for formula in [*test, *train, *labels["formula"]]}
    for name, known in (("without", train), ("with", [*train, *labels["formula"]])):
        nearest = np.array([min(formula_distance(shares[a], shares[b]) for b in known) for a in test])
        found = report["distance_of_test"][name]
        assert found["median"] == pytest.approx(np.median(nearest), abs=1e-4)
        assert found["within_5%"] == pytest.approx((nearest <= 0.05).mean(), abs=1e-3)
    assert report["distance_of_test"]["with"]["within_5%"] > report["distance_of_test"]["without"]["within_5%"]


def checked(rows: list[tuple[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["name", "tc"]).assign(row=range(2, len(rows) + 2))
    return one_row_a_composition(check_labels(table))


def test_rows_that_are_none_are_listed_with_their_reason() -> None:
    rows = checked([("Sm1Ba-1Cu3O6.94", 1), ("Nb3Sn", -1), ("NbN", "x"), ("MgB2", 400), ("Xx2", 1), ("Pb", 7.2)])
    assert rows["fate"].tolist() == ["rejected"] * 5 + [""]
    reasons = ["no chemical formula", "below 0 K", "no number", "above 300 K", "no chemical formula"]
    assert all(reason in said for reason, said in zip(reasons, rows["reason"], strict=False))


def test_one_composition_has_the_median_of_its_positive_tc() -> None:
    rows = checked([("Nb3Sn", 0), ("Sn1Nb3", 18), ("Nb0.75Sn0.25", 16), ("Nb6Sn2", 18.3), ("MgB2", 0), ("Mg2B4", 0)])
    kept = rows[rows["fate"] == ""].set_index("name")["tc"]
    assert kept.to_dict() == {"Nb3Sn": 18.0, "MgB2": 0.0}
    assert (rows["fate"] == "repeated").sum() == 4


def test_formulas_leave_out_the_ones_that_chemists_leave_out() -> None:
    names = ["La1.85Sr0.15Cu1O4", "Mg1B2", "Y1Ba2Cu3O6.93", "Nb10Sn1.0", "Pb1", "Ba1.1K1"]
    written = labels_of(checked([(name, 1.0) for name in names]))
    expected = {"La1.85Sr0.15CuO4", "MgB2", "YBa2Cu3O6.93", "Nb10Sn1.0", "Pb", "Ba1.1K"}
    assert set(written["formula"]) == expected
    for name, formula in zip(written["name"], written["formula"], strict=True):
        assert composition_key(fractions(parse_formula(name))) == composition_key(fractions(parse_formula(formula)))


def test_distances_agree_with_those_of_formulas() -> None:
    some, others = ["MgB2", "Mg0.9Al0.1B2", "NbTi"], ["MgB2", "Nb0.6Ti0.4", "La2CuO4"]
    by_hand = [min(formula_distance(*(fractions(parse_formula(f)) for f in (a, b))) for b in others) for a in some]
    assert nearest_distance(some, others) == pytest.approx(by_hand)
    assert nearest_distance(some, []).tolist() == [1, 1, 1] and len(nearest_distance([], others)) == 0


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    source = str(folder / "supercon.csv")
    for bad in (-0.1, 1.0):
        with pytest.raises(ValueError, match="--exclude"):
            SuperconConfig(exclude=bad)
    with pytest.raises(UserError, match=r"extra_labels\.csv would be overwritten"):
        supercon.main(
            SuperconConfig(source=str(tmp_path / "extra_labels.csv"), splits=folder / "stratified", out=tmp_path)
        )
    (tmp_path / "other.csv").write_text("formula,tc\nNb,9\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"other\.csv has no column name, Tc"):
        supercon.main(SuperconConfig(source=str(tmp_path / "other.csv"), splits=folder / "stratified", out=tmp_path))
    with pytest.raises(UserError, match="is missing"):
        supercon.main(SuperconConfig(source="nowhere.csv", splits=folder / "stratified", out=tmp_path))
    alone = tmp_path / "a" / "alone"
    alone.mkdir(parents=True)
    for name in SPLITS:
        (alone / f"{name}.csv").write_bytes((folder / "stratified" / f"{name}.csv").read_bytes())
    with pytest.raises(UserError, match=r"no report\.json of these splits"):
        supercon.main(SuperconConfig(source=source, splits=alone, out=tmp_path))
    (alone / "report.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as a report"):
        supercon.main(SuperconConfig(source=source, splits=alone, out=tmp_path))
    assert not list(tmp_path.glob("extra_labels*"))


def test_close_relatives_of_held_out_parents_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--exclude 0.1 or more for splits by parent"):
        supercon.refuse_close_parents("parent", 0.05)
    supercon.refuse_close_parents("parent", 0.1)


def test_a_download_that_is_not_the_release_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(remote: object, partial: Path) -> Path:
        partial.write_text("name,Tc\nNb,9.2\n", encoding="utf-8")
        return partial

    monkeypatch.setattr(supercon, "fetch", fetched)
    with pytest.raises(UserError, match="its sha256 is not"):
        source_path("download", folder=tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "right").write_text("name,Tc\nNb,9.2\n", encoding="utf-8")
    found = source_path("download", digest=sha256(tmp_path / "right"), folder=tmp_path)
    assert found.read_text(encoding="utf-8").startswith("name,Tc") and found == source_path(
        "download", folder=tmp_path
    )


def test_supercon_itself_is_read_but_for_eight_rows() -> None:
    path = Path(os.environ.get("SUPERVISION_DATA", ""), f"supercon/{supercon.TABLE}")
    if not os.environ.get("SUPERVISION_DATA") or not path.is_file():
        pytest.skip("SUPERVISION_DATA names no folder with SuperCon's table")
    assert sha256(path) == supercon.TABLE_SHA256
    table = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns={"Tc": "tc"})
    rows = one_row_a_composition(check_labels(table.assign(row=range(2, len(table) + 2))))
    assert rows["fate"].value_counts().to_dict() == {"": 15924, "repeated": 482, "rejected": 8}
