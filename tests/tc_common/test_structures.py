"""One of a composition's structures an epoch: which, in what order, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tc_common.errors import UserError
from tc_common.labels import ExtraLabels
from tc_common.splits import OTHER_STRUCTURES, read_other_structures, read_splits, write_splits
from tc_common.structures import Structures, TrainingStructures, training_structures

FORMULAS = {"train": ("Nb3Sn", "MgB2", "Pb1"), "val": ("V3Si",), "test": ("NbN",)}
# further structures of each composition, one of them with its formula written in another way
OTHERS = {"train": ("Nb0.75Sn0.25", "Nb3Sn", "Mg2B4"), "val": ("V3Si", "V3Si"), "test": ()}


def rows(formulas: tuple[str, ...], mark: str = "") -> pd.DataFrame:
    table = pd.DataFrame({"formula": formulas, "tc": 5.0, "cif": "x.cif", "mp_id": "", "chemical_system": ""})
    names = [f"{formula}{mark}{number}" for number, formula in enumerate(formulas)]
    return table.assign(material_id=names, family="", weight=1.0)


def written(folder: Path, extra: pd.DataFrame | None = None) -> Path:
    splits = {name: rows(formulas) for name, formulas in FORMULAS.items()}
    others = [rows(formulas, "-other-").assign(split=name) for name, formulas in OTHERS.items()]
    write_splits(folder, splits, pd.concat([*others, extra] if extra is not None else others))
    return folder


def read(folder: Path, kind: Structures, limit: int | None = None, seed: int = 1) -> TrainingStructures:
    return training_structures(folder, read_splits(folder, limit), kind, seed)


def shown(structures: TrainingStructures, epoch: int) -> list[str]:
    return structures.table["material_id"].to_numpy()[structures.drawn(epoch)].tolist()


def test_one_all_and_draw_differ_in_what_a_sample_is(tmp_path: Path) -> None:
    folder = written(tmp_path)
    one, everything, drawn = (read(folder, kind) for kind in ("one", "all", "draw"))
    assert [len(one), len(everything), len(drawn)] == [3, 6, 3]
    assert shown(one, 0) == shown(one, 7) == ["MgB21", "Nb3Sn0", "Pb12"]
    assert sorted(shown(everything, 3)) == sorted(everything.table["material_id"])
    assert set(everything.table["material_id"]) == set(drawn.table["material_id"])
    assert not any("V3Si" in name for name in drawn.table["material_id"]), "validation is not trained on"
    assert drawn.table["material_id"].to_numpy()[drawn.chosen()].tolist() == shown(one, 0)


def test_every_structure_is_shown_once_before_any_is_shown_again(tmp_path: Path) -> None:
    drawn = read(written(tmp_path), "draw")
    magnesium, niobium, lead = zip(*(shown(drawn, epoch) for epoch in range(30)), strict=True)
    assert set(lead) == {"Pb12"}
    for cycle in range(0, 30, 3):
        assert len(set(niobium[cycle : cycle + 3])) == 3
    for cycle in range(0, 30, 2):
        assert len(set(magnesium[cycle : cycle + 2])) == 2
    assert len({niobium[cycle : cycle + 3] for cycle in range(0, 30, 3)}) > 2, "always in the same order"


def test_draws_depend_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    folder = written(tmp_path)
    straight = [shown(read(folder, "draw"), epoch) for epoch in range(20)]
    resumed = read(folder, "draw")
    assert [shown(resumed, epoch) for epoch in reversed(range(20))] == straight[::-1]
    assert [shown(read(folder, "draw", seed=2), epoch) for epoch in range(20)] != straight


def test_structures_are_drawn_alike_often() -> None:
    sample = np.repeat([0, 1, 2, 3], [1, 1, 1, 1]).tolist() + [0] * 4 + [1] * 2
    structures = TrainingStructures(rows(("Nb1",) * len(sample)), np.array(sample), seed=3)
    counts = np.bincount(np.concatenate([structures.drawn(epoch) for epoch in range(60)]))
    assert counts[[0, 4, 5, 6, 7]].tolist() == [12] * 5
    assert counts[[1, 8, 9]].tolist() == [20] * 3
    assert counts[[2, 3]].tolist() == [60, 60]


def test_a_limit_keeps_the_structures_of_the_materials_it_keeps(tmp_path: Path) -> None:
    splits = read_splits(written(tmp_path), limit=2)
    structures = read(tmp_path, "draw", limit=2)
    kept = set(splits["train"]["formula"])
    assert len(structures) == 2
    numbers = {"Nb3Sn": 3, "MgB2": 2, "Pb1": 1}
    assert len(structures.table) == sum(numbers[formula] for formula in kept)


def test_the_fingerprint_follows_other_structures(tmp_path: Path) -> None:
    structures = read(written(tmp_path / "a"), "draw")
    assert read(written(tmp_path / "b"), "draw").fingerprint() == structures.fingerprint()
    assert read(written(tmp_path / "b"), "all").fingerprint() != structures.fingerprint()
    more = rows(("Pb1",), "-new-").assign(split="train")
    assert read(written(tmp_path / "c", more), "draw").fingerprint() != structures.fingerprint()


def test_without_other_structures_the_message_says_how_to_make_them(tmp_path: Path) -> None:
    (written(tmp_path) / OTHER_STRUCTURES).unlink()
    assert len(read(tmp_path, "one")) == 3
    for kind in ("all", "draw"):
        with pytest.raises(UserError, match=r"other_structures.csv is missing.*data.prepare.*--structures one"):
            read(tmp_path, kind)


@pytest.mark.parametrize(
    ("formula", "split", "name"),
    [("Nb3Sn", "test", "x"), ("V3Si", "train", "x"), ("Pb1", "train", "Nb3Sn0"), ("Pb1", "train", "Mg2B4-other-2")],
)
def test_other_structures_that_contradict_the_split_files_are_refused(
    tmp_path: Path, formula: str, split: str, name: str
) -> None:
    """A composition in two splits, and an id twice."""
    folder = written(tmp_path)
    table = pd.read_csv(folder / OTHER_STRUCTURES)
    wrong = rows((formula,)).assign(split=split, material_id=name)
    pd.concat([table, wrong]).to_csv(folder / OTHER_STRUCTURES, index=False)
    with pytest.raises(UserError, match=f"{name} contradicts the split files; run python -m data.prepare"):
        read_other_structures(folder, read_splits(folder))


def test_extra_structures_are_samples_after_the_materials(tmp_path: Path) -> None:
    folder = written(tmp_path)
    splits = read_splits(folder)
    table = pd.DataFrame(
        {"formula": ["Nb3Ge", "Al"], "tc": [20.0, 1.2], "cif": "y.cif", "material_id": ["e-0", "e-1"]}
    )
    extra = ExtraLabels(table, 0.01, "stratified")
    for kind, samples in (("one", 5), ("all", 8), ("draw", 5)):
        plain, more = read(folder, kind), training_structures(folder, splits, kind, 1, extra)  # type: ignore[arg-type]
        assert len(more) == samples == len(plain) + 2
        ids = shown(more, 0)
        assert {*ids} - {*shown(plain, 0)} >= {"e-0", "e-1"}
        assert more.fingerprint() != plain.fingerprint()
    chosen = more.table["material_id"].to_numpy()[more.chosen()].tolist()
    assert chosen == [*splits["train"]["material_id"], "e-0", "e-1"]
    epochs = [shown(more, epoch) for epoch in range(6)]
    assert {ids[3] for ids in epochs} == {"e-0"}, "a label has one structure"
    assert [shown(read(folder, "draw"), epoch) for epoch in range(6)] == [ids[:3] for ids in epochs]
