"""Structures for extra labels: nearest training structure, the label's composition; what is left out is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import dope
from data.dope import DopeConfig, main
from tc_common.composition import element_fractions, nearest
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.extra_structures import read_extra_structures, with_structures
from tc_common.files import sha256
from tc_common.splits import read_splits, write_splits
from tests.tc_common.made_extra import LABELS, write_extra_structures, write_labels
from tests.tc_common.made_further import write_further_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split files with extra structures."""
    folder = tmp_path_factory.mktemp("dope") / "p"
    write_further_splits(folder, ())
    write_extra_structures(folder)
    return folder


def test_each_label_gets_the_nearest_training_structure_with_its_composition(folder: Path) -> None:
    extra = read_extra_structures(folder, True)
    assert extra is not None and read_extra_structures(folder, False) is None
    table = extra.table.set_index("name")
    assert table.loc["Mg0.9Al0.1B2", "template"] == "m-MgB2" and table.loc["Nb3Sn0.8Ge0.2", "template"] == "m-Nb3Sn"
    assert (
        table.loc["Mg0.9Al0.1B2", "distance"] == pytest.approx(0.1 / 3, abs=1e-5) and table.loc["Al", "distance"] == 1
    )
    assert table["tc"].to_dict() == LABELS and (extra.exclude, extra.split) == (0.01, "stratified")
    splits = read_splits(folder)
    for name, cif in table["cif"].items():
        found = element_fractions([read_crystal(Path(cif)).composition.formula.replace(" ", "")])
        np.testing.assert_allclose(found, element_fractions([str(name)]), atol=1e-6)
    template = read_crystal(Path(splits["train"].set_index("material_id").loc["m-MgB2", "cif"]))
    assert read_crystal(Path(table.loc["Mg0.9Al0.1B2", "cif"])).lattice.abc == pytest.approx(template.lattice.abc)


def test_they_follow_the_materials_in_their_columns(folder: Path) -> None:
    train = read_splits(folder)["train"]
    joined = with_structures(train, read_extra_structures(folder, True, limit=2))
    assert len(joined) == len(train) + 2 and joined.columns.tolist() == train.columns.tolist()
    assert joined["material_id"].tolist()[: len(train)] == train["material_id"].tolist()
    assert joined["weight"].tolist() == [1.0] * len(joined)


def test_what_is_left_out_is_counted(folder: Path, tmp_path: Path) -> None:
    write_further_splits(tmp_path / "p", ())
    write_labels(tmp_path / "p")
    main(DopeConfig(data_dir=tmp_path / "p", farthest=0.2))
    report = json.loads((tmp_path / "p/extra_structures.json").read_text())
    assert (report["labels"], report["structures"]) == (3, 2)
    assert report["left_out"] == {"farther than --farthest": 1}
    cifs = {path.stem for path in (tmp_path / "p/extra_structures").iterdir()}
    pairs = (("Mg0.9Al0.1B2", "m-MgB2"), ("Nb3Sn0.8Ge0.2", "m-Nb3Sn"))
    assert cifs == {dope.id_of(*pair) for pair in pairs}
    write_labels(tmp_path / "p", {"Lr": 1.0})
    with pytest.raises(UserError, match="none of 1 labels got a structure; most often: .*'Lr' is no element"):
        main(DopeConfig(data_dir=tmp_path / "p"))
    with pytest.raises(UserError, match="most often: farther than --farthest"):
        main(DopeConfig(data_dir=tmp_path / "p", farthest=0.01))


def test_a_file_of_other_splits_or_an_edited_one_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"extra_structures\.csv is missing; make it with: python -m data\.dope"):
        read_extra_structures(tmp_path, True)
    for name in ("csv", "json"):
        (tmp_path / f"extra_structures.{name}").write_bytes((folder / f"extra_structures.{name}").read_bytes())
    splits = read_splits(folder)
    write_splits(tmp_path, {**splits, "train": splits["train"].assign(tc=1.0)})
    with pytest.raises(UserError, match=r"other splits than .*make it with: python -m data\.dope --data-dir"):
        read_extra_structures(tmp_path, True)
    with (tmp_path / "extra_structures.csv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(UserError, match=r"not the file that .*python -m data\.dope"):
        read_extra_structures(tmp_path, True)


def test_the_same_labels_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    before = [sha256(path) for path in sorted(folder.glob("extra_structures*/*.cif"))]
    table = sha256(folder / "extra_structures.csv")
    main(DopeConfig(data_dir=folder))
    assert sha256(folder / "extra_structures.csv") == table
    assert [sha256(path) for path in sorted(folder.glob("extra_structures*/*.cif"))] == before


def test_the_nearest_is_the_one_with_fewest_atoms_to_exchange() -> None:
    place, distance = nearest(["Nb3Ge", "Mg"], ["MgB2", "Nb3Sn", "Pb"])
    assert place.tolist() == [1, 0] and distance.tolist() == pytest.approx([0.25, 2 / 3])
    assert nearest([], ["Pb"])[0].tolist() == []


def test_a_run_that_dies_leaves_no_table_of_other_structures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "p")
    stale = tmp_path / "p/extra_structures/extra-99999.cif"
    stale.write_text("")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dope, "write_doped", dies)
    with pytest.raises(KeyboardInterrupt):
        main(DopeConfig(data_dir=tmp_path / "p"))
    assert not [*(tmp_path / "p").glob("extra_structures.*")] and not stale.exists()
    with pytest.raises(UserError, match=r"make it with: python -m data\.dope"):
        read_extra_structures(tmp_path / "p", True)


@pytest.mark.parametrize("farthest", [0.0, 1.1, float("nan")])
def test_a_farthest_that_is_no_fraction_is_refused(farthest: float) -> None:
    with pytest.raises(ValueError, match="--farthest must be"):
        DopeConfig(farthest=farthest)


def test_no_row_is_lost(folder: Path) -> None:
    assert pd.read_csv(folder / "extra_structures.csv")["material_id"].is_unique
