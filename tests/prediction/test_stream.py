"""Rows: what a user reads is what the models say, nothing hides, and nothing piles up."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comparison.ensemble import combine as compared
from comparison.gather import Results
from gat_pipeline.model import load_model
from prediction.inputs import check_table, cif_files
from prediction.load import Predictor, load_predictor
from prediction.models import CRYSTALS_AT_ONCE, Prediction
from prediction.stream import combine, rows_of
from tc_common.composition import fractions_formula, shown_formula
from tc_common.conformal import conformal_intervals
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tests.prediction.conftest import ShippedStudy

ROOT = Path(__file__).parents[2]
FAR = """\
data_far
_cell_length_a 5.0
_cell_length_b 5.0
_cell_length_c 5.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs1 Cs 0 0 0
I1 I 0.5 0.5 0.5
"""


@pytest.fixture(scope="module")
def predictor(shipped: ShippedStudy) -> Predictor:
    return load_predictor(shipped.models, "alignn", "cpu")


def test_a_row_is_the_networks_prediction_whatever_shares_its_batch(
    predictor: Predictor, shipped: ShippedStudy
) -> None:
    model = load_model(shipped.models / "alignn.safetensors")
    cifs = [Path(cif) for cif in shipped.splits["test"]["cif"]]
    for row, cif in zip(rows_of(predictor, cifs), cifs, strict=True):
        assert row.tc_K == pytest.approx(max(model.predict(cif), 0), rel=1e-4, abs=1e-3)
        assert row.file == str(cif) and not row.error


def test_intervals_are_conformal_and_hold_the_point(predictor: Predictor, shipped: ShippedStudy) -> None:
    rows = list(rows_of(predictor, [Path(cif) for cif in shipped.splits["test"]["cif"]]))
    assert predictor.validation is not None
    expected = conformal_intervals(predictor.validation, pd.DataFrame({"tc_pred": [row.tc_K for row in rows]}), 0.9)
    assert expected is not None
    assert [row.tc_lower_K for row in rows] == pytest.approx(expected["tc_lower"].tolist())
    assert [row.tc_upper_K for row in rows] == pytest.approx(expected["tc_upper"].tolist())
    for row in rows:
        assert row.tc_lower_K is not None and row.tc_K is not None and row.tc_upper_K is not None
        assert 0 <= row.tc_lower_K <= row.tc_K <= row.tc_upper_K


def test_a_training_material_is_near_and_an_unusual_one_far(
    predictor: Predictor, shipped: ShippedStudy, tmp_path: Path
) -> None:
    (tmp_path / "far.cif").write_text(FAR)
    near, far = rows_of(predictor, [shipped.cif("train", 3), tmp_path / "far.cif"])
    assert near.warning == "" and near.composition_percentile == near.graph_percentile == 0
    assert near.nearest_tc_K == shipped.splits["train"]["tc"].iloc[3]
    assert near.composition_distance == pytest.approx(0, abs=1e-5) and near.graph_distance == pytest.approx(
        0, abs=0.05
    )
    assert far.composition_percentile is not None and far.composition_percentile >= 0.95
    assert far.composition_distance == pytest.approx(2)
    assert "composition" in far.warning and "of the training materials have a closer neighbour" in far.warning


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.cif", b"", "an empty file; no CIF"),
        ("prose.cif", b"Dear referee,\n", "no CIF: it has no data_ block"),
        ("binary.cif", bytes(range(256)), "holds NUL characters"),
        ("nan.cif", FAR.replace("_cell_length_a 5.0", "_cell_length_a nan").encode(), "_cell_length_a is 'nan'"),
        ("element.cif", FAR.replace("I1 I ", "Xx Xx ").encode(), "is no element"),
        ("two\nlines\x1b[2J.cif", b"", "an empty file; no CIF"),
    ],
)
def test_a_bad_file_is_a_row_and_the_next_goes_on(
    predictor: Predictor, shipped: ShippedStudy, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    good = shipped.cif("test")
    first, bad, last = rows_of(predictor, [good, tmp_path / name, good])
    assert reason in bad.error and bad.tc_K is None
    assert first.tc_K == pytest.approx(last.tc_K, rel=1e-6), "one graph twice in a batch rounds by its place"
    assert (bad.file + bad.error).isprintable() and str(tmp_path) not in bad.error


@pytest.mark.parametrize("kind", ["missing", "dangling", "unreadable", "folder"])
def test_files_that_cannot_be_opened_are_rows(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.cif"
    if kind == "dangling":
        path.symlink_to(tmp_path / "gone.cif")
    elif kind == "unreadable":
        path.write_text(FAR)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("root reads everything")
    elif kind == "folder":
        path.mkdir()
    (row,) = rows_of(predictor, [path])
    assert ("not a plain file" if kind == "folder" else "cannot be read") in row.error


def test_a_crystal_without_a_finite_prediction_is_an_error(predictor: Predictor, shipped: ShippedStudy) -> None:
    class Broken:
        name = "broken"

        def prepare(self, structure: object) -> None:
            """Nothing."""

        def predict(self, prepared: object) -> Prediction:
            return Prediction(np.array([np.nan]))

    (row,) = rows_of(Predictor("alignn", [Broken()], np.ones(1), None, predictor.training), [shipped.cif("test")])
    assert "not a finite number" in row.error and row.tc_K is None and row.formula


def test_no_more_than_a_batch_of_files_is_taken_before_rows_come(predictor: Predictor, shipped: ShippedStudy) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield shipped.cif("test", taken % 3)

    rows = rows_of(predictor, endless())
    files = [next(rows).file for _ in range(2 * CRYSTALS_AT_ONCE)]
    assert taken == 2 * CRYSTALS_AT_ONCE
    assert files == [str(shipped.cif("test", n % 3)) for n in range(1, taken + 1)]


def test_the_ensemble_is_the_comparisons(shipped: ShippedStudy) -> None:
    random = np.random.default_rng(0)
    truth = shipped.splits["test"][["material_id", "formula", "tc", "chemical_system"]]
    tables = {name: truth.assign(tc_pred=random.normal(10, 3, len(truth))) for name in ("a", "b", "c")}
    results = Results(truth={"val": truth, "test": truth}, test=tables, val=tables)
    theirs, facts = compared(results, "ensemble", 42)
    estimates = [Prediction(table["tc_pred"].to_numpy()) for table in tables.values()]
    ours = combine(estimates, np.array([*facts["weights"].values()]))
    assert ours["tc_pred"].tolist() == pytest.approx(theirs["test"]["tc_pred"].tolist())
    assert ours["tc_std"].tolist() == pytest.approx(theirs["test"]["tc_std"].tolist())


def test_the_shipped_ensemble_predicts_as_the_study_did(shipped: ShippedStudy) -> None:
    ensemble = load_predictor(shipped.models, "ensemble", "cpu")
    study = pd.read_csv(shipped.folder / "r/ensemble_predictions.csv")
    rows = list(rows_of(ensemble, [Path(cif) for cif in shipped.splits["test"]["cif"]]))
    assert [row.tc_K for row in rows] == pytest.approx(study["tc_pred"].clip(lower=0).tolist(), abs=0.1)
    widths = [(row.tc_upper_K or 0) - (row.tc_lower_K or 0) for row in rows]
    assert widths == pytest.approx((study["tc_upper"] - study["tc_lower"]).tolist(), rel=0.05, abs=0.1)


# ---- names -------------------------------------------------------------------------------------------------------


def test_folders_are_searched_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.cif", "b/10.CIF", "a.cif", "c/d/e.cif", "b/readme.txt", "z.cif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c/loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in cif_files([tmp_path, tmp_path / "z.cif"])]
    assert found == ["a.cif", "b/10.CIF", "b/2.cif", "c/d/e.cif", "z.cif", "z.cif"]


def test_a_table_never_takes_the_place_of_a_crystal(tmp_path: Path) -> None:
    folder, kept = tmp_path / "f", tmp_path / "f/kept.txt"
    folder.mkdir()
    for path in (folder / "a.cif", kept):
        path.write_text(FAR)
    (folder / "link.csv").symlink_to("a.cif")
    (folder / "hard.csv").hardlink_to(folder / "a.cif")
    for table, read in (
        ("a.cif", kept),
        ("new.CIF", kept),
        ("link.csv", kept),
        ("hard.csv", folder),
        ("kept.txt", kept),
    ):
        with pytest.raises(UserError, match=r"--csv predictions\.csv"):
            check_table(folder / table, [read])
    for allowed in (folder / "new.csv", kept, Path("/dev/null"), Path("/dev/stdout")):
        check_table(allowed, [folder])


def test_compositions_as_read_and_as_computed(tmp_path: Path) -> None:
    structure = read_crystal(ROOT / "data/sample/cifs/MgB2-AlB2.cif")
    assert shown_formula(structure) == "MgB2"
    assert fractions_formula(structure) == "Mg0.3333333B0.6666667"
    with pytest.raises(UserError):
        read_crystal(tmp_path / "none.cif")
