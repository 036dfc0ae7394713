"""The predictor: the same numbers from every way in, nothing hides, and nothing piles up."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

from comparison.ensemble import combine as compared
from comparison.gather import Results
from gat_pipeline.model import load_model
from prediction import Failure, Prediction, Predictor, load_predictor
from prediction.inputs import limited_reading
from prediction.models import CRYSTALS_AT_ONCE, Output, combine
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
    return load_predictor(shipped.models, "alignn")


@pytest.fixture(scope="module")
def ensemble(shipped: ShippedStudy) -> Predictor:
    return load_predictor(shipped.models)


def found(predictor: Predictor, item: object) -> Prediction | Failure:
    return next(predictor.predict_many([item]))


def test_the_network_loaded_by_itself_predicts_the_same(predictor: Predictor, shipped: ShippedStudy) -> None:
    model = load_model(shipped.models / "alignn.safetensors")
    cifs = [Path(cif) for cif in shipped.splits["test"]["cif"]]
    for each, cif in zip(predictor.predict_many(cifs), cifs, strict=True):
        assert isinstance(each, Prediction) and each.name == str(cif)
        assert each.tc_K == pytest.approx(model.predict(cif), abs=1e-4)


def test_a_prediction_does_not_depend_on_its_batch(ensemble: Predictor, shipped: ShippedStudy) -> None:
    cifs = [Path(cif) for split in ("test", "val") for cif in shipped.splits[split]["cif"]]
    together, backwards = list(ensemble.predict_many(cifs)), list(ensemble.predict_many(cifs[::-1]))[::-1]
    assert len(cifs) > CRYSTALS_AT_ONCE
    for cif, one, other in zip(cifs, together, backwards, strict=True):
        alone = ensemble.predict(cif)
        for each in (one, other):
            assert isinstance(each, Prediction) and each.tc_K == pytest.approx(alone.tc_K, abs=1e-4)
            ours, theirs = ([member.tc_K for member in which.members] for which in (each, alone))
            assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("name", ["MgB2-AlB2", "Nb3Sn-Cr3Si", "YBa2Cu4O8-YBa2Cu4O8"])
def test_path_text_structure_atoms_and_poscar_give_the_same(ensemble: Predictor, tmp_path: Path, name: str) -> None:
    path = ROOT / f"data/sample/cifs/{name}.cif"
    structure = read_crystal(path)
    structure.to(str(tmp_path / "POSCAR"), fmt="poscar")
    structure.to(str(tmp_path / "it.json"))
    atoms = ase.io.read(tmp_path / "POSCAR")
    expected = ensemble.predict(path)
    for x in (str(path), path.read_text(), structure, tmp_path / "POSCAR", tmp_path / "it.json", atoms):
        each = ensemble.predict(x)
        assert each.tc_K == pytest.approx(expected.tc_K, abs=1e-3) and each.formula == expected.formula
        assert [known.formula for known in each.nearest] == [known.formula for known in expected.nearest]


def test_atoms_with_the_occupancies_that_ase_keeps_are_mixed_sites(ensemble: Predictor) -> None:
    path = ROOT / "data/sample/cifs/La1.85Sr0.15CuO4-K2NiF4.cif"
    atoms = ase.io.read(path)
    assert isinstance(atoms, ase.Atoms) and atoms.info["occupancy"]
    assert ensemble.predict(atoms).tc_K == pytest.approx(ensemble.predict(path).tc_K, abs=1e-3)
    del atoms.arrays["spacegroup_kinds"]
    with pytest.raises(UserError, match="without spacegroup_kinds"):
        ensemble.predict(atoms)


def test_the_order_of_sites_and_the_origin_of_a_structure_do_not_matter(ensemble: Predictor) -> None:
    structure = read_crystal(ROOT / "data/sample/cifs/MgB2-AlB2.cif")
    shuffled = Structure.from_sites([structure[2], structure[0], structure[1]])
    assert ensemble.predict(shuffled).tc_K == pytest.approx(ensemble.predict(structure).tc_K, abs=1e-4)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (ase.Atoms("Nb", [(0, 0, 0)]), "without a unit cell"),
        (ase.Atoms("Nb", [(0, 0, 0)], cell=[3, 3, 3]), "set pbc=True"),
        (3.5, "float is no crystal; give a path"),
        ("nowhere.cif", "cannot be read"),
        ("only prose\n", "no data_ block"),
    ],
)
def test_what_is_no_crystal_is_one_line(predictor: Predictor, x: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        predictor.predict(x)
    assert len(str(refused.value).splitlines()) == 1


def test_limited_reading_gives_the_same_and_names_no_temporary_file(predictor: Predictor, tmp_path: Path) -> None:
    path = ROOT / "data/sample/cifs/MgB2-AlB2.cif"
    with limited_reading() as read:
        one, other, bad = predictor.predict_many([path, path.read_text(), "data_x\nnothing\n"], read=read)
    assert isinstance(one, Prediction) and isinstance(other, Prediction)
    assert one.tc_K == pytest.approx(other.tc_K, rel=0, abs=1e-4)  # what docs/prediction.md states of batches
    assert isinstance(bad, Failure) and "/" not in bad.error


def test_intervals_are_those_of_the_card_and_hold_the_point(predictor: Predictor, shipped: ShippedStudy) -> None:
    each = predictor.predict(shipped.cif("test"))
    assert predictor.intervals is not None and each.lower_K is not None and each.upper_K is not None
    lower, upper = predictor.intervals.bounds(np.array([each.tc_K]))
    assert (each.lower_K, each.upper_K) == pytest.approx((lower[0], upper[0]))
    assert 0 <= each.lower_K <= each.tc_K <= each.upper_K


def test_a_training_material_is_known_and_an_unusual_one_is_far(
    predictor: Predictor, shipped: ShippedStudy, tmp_path: Path
) -> None:
    (tmp_path / "far.cif").write_text(FAR)
    near, far = (predictor.predict(path) for path in (shipped.cif("train", 3), tmp_path / "far.cif"))
    assert near.known is not None and near.known.tc_K == shipped.splits["train"]["tc"].iloc[3]
    assert near.nearest[0].distance == pytest.approx(0, abs=1e-4) and len(near.nearest) == 3
    assert far.known is None and far.nearest[0].distance > 0.5
    assert {"composition", "structure"} & {caution.kind for caution in far.cautions}
    assert not {"composition", "structure"} & {caution.kind for caution in near.cautions}


def test_a_prediction_says_everything_as_json_text_and_html(ensemble: Predictor, shipped: ShippedStudy) -> None:
    each = ensemble.predict(shipped.cif("train"), "it & more")
    plain = each.to_dict()
    assert list(plain) == [
        "name", "formula", "error", "model", "tc_K", "lower_K", "upper_K", "coverage", "members", "known", "nearest",
        "warnings", "remarks",
    ]  # fmt: skip
    assert plain["coverage"] == 0.9 and plain["name"] == "it & more" and plain["known"]["tc_K"] == each.known.tc_K  # type: ignore[union-attr]
    assert [member["name"] for member in plain["members"]] == list(ensemble.members)
    weighted = sum(member.weight * member.tc_K for member in each.members)
    assert each.tc_K == pytest.approx(weighted, abs=0.2), "members are cut at 0 K, the mean afterwards"
    assert repr(each).startswith(f"Prediction({each.formula}: {each.tc_K:.1f} K [")
    assert f"<b>{each.tc_K:.1f} K</b>" in each._repr_html_() and "<script" not in each._repr_html_()


def test_remarks_of_the_reader_are_passed_on(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "p1.cif").write_text(FAR)
    assert any("no symmetry is stated" in remark for remark in predictor.predict(tmp_path / "p1.cif").remarks)


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
    first, bad, last = predictor.predict_many([good, tmp_path / name, good])
    assert isinstance(bad, Failure) and reason in bad.error
    assert isinstance(first, Prediction) and isinstance(last, Prediction)
    assert first.tc_K == pytest.approx(last.tc_K, rel=1e-6), "one graph twice in a batch rounds by its place"
    assert (bad.name + bad.error).isprintable() and str(tmp_path) not in bad.error
    assert bad.to_dict() == {"name": bad.name, "formula": "", "error": bad.error, "model": "alignn"}


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
    each = found(predictor, path)
    assert isinstance(each, Failure)
    assert ("not a plain file" if kind == "folder" else "cannot be read") in each.error


def test_a_crystal_without_a_finite_prediction_is_an_error(predictor: Predictor, shipped: ShippedStudy) -> None:
    class Broken:
        name = "broken"

        def prepare(self, structure: object) -> None:
            """Nothing."""

        def predict(self, prepared: object) -> Output:
            return Output(np.array([np.nan]))

    broken = replace(predictor, base_models=[Broken()], member_intervals={})
    each = found(broken, shipped.cif("test"))
    assert isinstance(each, Failure) and "not a finite number" in each.error and each.formula


def test_no_more_than_a_batch_of_files_is_taken_before_rows_come(predictor: Predictor, shipped: ShippedStudy) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield shipped.cif("test", taken % 3)

    rows = predictor.predict_many(endless())
    files = [next(rows).name for _ in range(2 * CRYSTALS_AT_ONCE)]
    assert taken == 2 * CRYSTALS_AT_ONCE
    assert files == [str(shipped.cif("test", n % 3)) for n in range(1, taken + 1)]


def test_the_ensemble_is_the_comparisons(shipped: ShippedStudy) -> None:
    random = np.random.default_rng(0)
    truth = shipped.splits["test"][["material_id", "formula", "tc", "chemical_system"]]
    tables = {name: truth.assign(tc_pred=random.normal(10, 3, len(truth))) for name in ("a", "b", "c")}
    results = Results(truth={"val": truth, "test": truth}, test=tables, val=tables)
    theirs, facts = compared(results, "ensemble", 42)
    estimates = [Output(table["tc_pred"].to_numpy()) for table in tables.values()]
    ours = combine(estimates, np.array([*facts["weights"].values()]))
    assert ours["tc_pred"].tolist() == pytest.approx(theirs["test"]["tc_pred"].tolist())
    assert ours["tc_std"].tolist() == pytest.approx(theirs["test"]["tc_std"].tolist())


def test_the_shipped_ensemble_predicts_as_the_study_did(ensemble: Predictor, shipped: ShippedStudy) -> None:
    study = pd.read_csv(shipped.folder / "r/ensemble_predictions.csv")
    each = list(ensemble.predict_many([Path(cif) for cif in shipped.splits["test"]["cif"]]))
    kelvin = [one.tc_K for one in each if isinstance(one, Prediction)]
    assert kelvin == pytest.approx(study["tc_pred"].clip(lower=0).tolist(), abs=0.1)
