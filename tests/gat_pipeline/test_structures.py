"""Structures drawn and changed while training: what the graph pipeline shows, also after it was stopped."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Structure
from torch.utils.data import DataLoader

from gat_pipeline.dataset import AUGMENTATION_STREAM, GraphDataset, Item, collator, join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.model import create_alignn_model
from gat_pipeline.network import NetworkShape
from gat_pipeline.train import GraphTrainConfig, main, prepare
from tc_common.augmentation import MovableCrystal, StructureAugmentation, symmetrised
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.splits import OTHER_STRUCTURES, read_splits
from tc_common.structures import training_structures
from tc_common.task import Task
from tests.gat_pipeline.crystals import cuprate, sample_graphs, sample_structures, settle
from tests.gat_pipeline.tables import write_with_other_structures
from tests.tc_common.runs import same_end, stop_after_steps

CHANGES = StructureAugmentation(strain=0.02, shear=0.01, displacement_A=0.03, symmetrise=0.5, occupancy=0.005)

CHANGES_OF_CELL = StructureAugmentation(strain=0.02, shear=0.006, displacement_A=0.02)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structures")
    write_with_other_structures(folder / "p", train=6, val=2, test=2)
    return folder


def config(data: Path, folder: Path, **changes: Any) -> GraphTrainConfig:
    settings: dict[str, Any] = {
        "hidden": 8, "alignn_layers": 1, "gcn_layers": 1, "batch_size": 3, "init": "random", "epochs": 3,
        "lr_head": 1e-3, "device": "cpu", "data_dir": data / "p", "cache_dir": data / "c",
        "models_dir": folder / "m", "results_dir": folder / "r",
    }  # fmt: skip
    return GraphTrainConfig(**{**settings, **changes})


def dataset(data: Path, augmentation: StructureAugmentation | None = None) -> GraphDataset:
    structures = training_structures(data / "p", read_splits(data / "p"), "draw", 1)
    return GraphDataset(structures, GraphOptions(), data / "c", augmentation, seed=1)


def bonds(sample: Item) -> bytes:
    return bytes(sample[2].bond_A.tobytes())


def test_each_epoch_shows_one_structure_of_each_composition(data: Path) -> None:
    train = read_splits(data / "p")["train"]
    drawn = dataset(data)
    assert drawn.material_ids[: len(train)] == train["material_id"].tolist()
    assert [drawn[index][0] for index in range(len(drawn))] == train["material_id"].tolist(), "before the first epoch"
    shown = []
    for epoch in range(3):
        drawn.set_epoch(epoch)
        samples = [drawn[index] for index in range(len(drawn))]
        assert [name.split("-larger")[0] for name, *_ in samples] == train["material_id"].tolist()
        assert [tc_K for _, tc_K, *_ in samples] == train["tc"].tolist()
        assert [graph.angles for _, _, graph, *_ in samples] == drawn.angles.tolist()
        shown.append([name for name, *_ in samples])
    assert [len(set(names)) for names in zip(*shown, strict=True)] == [3] * len(train)


def test_validation_and_test_stay_on_the_chosen_structures(data: Path, tmp_path: Path) -> None:
    task = prepare(config(data, tmp_path, augment_structure=CHANGES))
    for name in ("val", "test"):
        held_out = task.datasets[name]
        before = [bonds(held_out[index]) for index in range(len(held_out))]
        held_out.set_epoch(5)
        assert [bonds(held_out[index]) for index in range(len(held_out))] == before
        assert [held_out[index][0] for index in range(len(held_out))] == task.splits[name]["material_id"].tolist()


def test_all_structures_are_samples_of_their_own(data: Path, tmp_path: Path) -> None:
    sizes = [len(prepare(config(data, tmp_path, structures=kind)).datasets["train"]) for kind in ("one", "all")]
    assert sizes == [6, 18]


@pytest.mark.parametrize("augmentation", [None, CHANGES])
def test_batches_are_the_same_under_any_number_of_processes(
    data: Path, augmentation: StructureAugmentation | None
) -> None:
    drawn = dataset(data, augmentation)
    drawn.set_epoch(4)
    batches = []
    for workers in (0, 2):
        loader: DataLoader[Any] = DataLoader(
            drawn,  # type: ignore[arg-type]
            batch_sampler=[[0, 3], [1, 5], [4, 2]],
            collate_fn=collator(GraphOptions()),
            num_workers=workers,
        )
        batches.append([(batch["material_id"], batch["bond_A"]) for batch in loader])
    for (names, vectors), (same_names, same_vectors) in zip(*batches, strict=True):
        assert names == same_names and torch.equal(vectors, same_vectors)


def test_changed_crystals_differ_by_epoch_and_keep_labels(data: Path) -> None:
    plain, changed = dataset(data), dataset(data, CHANGES)
    seen: list[list[bytes]] = []
    for epoch in range(3):
        plain.set_epoch(epoch)
        changed.set_epoch(epoch)
        for index in range(len(plain)):
            assert changed[index][:2] == plain[index][:2]
            assert np.abs(changed[index][2].composition - plain[index][2].composition).max() <= 0.005
        seen.append([bonds(changed[index]) for index in range(len(plain))])
        assert seen[-1] != [bonds(plain[index]) for index in range(len(plain))]
    assert len(set(sum(seen, []))) == 3 * len(plain)
    changed.set_epoch(0)
    assert [bonds(changed[index]) for index in range(len(plain))] == seen[0]


def test_one_crystal_changes_from_epoch_to_epoch(data: Path) -> None:
    val = GraphDataset(read_splits(data / "p")["val"], GraphOptions(), data / "c", CHANGES, seed=1)
    seen = []
    for epoch in (0, 1, 2, 0):
        val.set_epoch(epoch)
        seen.append(bonds(val[0]))
    assert len(set(seen)) == 3 and seen[0] == seen[3]


def materials_of_steps(task: Task, epoch: int) -> list[list[str]]:
    train = task.datasets["train"]
    train.set_epoch(epoch)
    return [[train[index][0] for index in batch] for batch in task.batches(epoch)]


def test_batches_are_cut_by_the_sizes_of_the_structures_drawn(data: Path, tmp_path: Path) -> None:
    task, again = (prepare(config(data, tmp_path)) for _ in range(2))
    epochs = [materials_of_steps(task, epoch) for epoch in range(3)]
    assert [materials_of_steps(again, epoch) for epoch in (2, 1, 0)] == epochs[::-1]
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_resumed_run_draws_and_changes_as_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    settings = {"augment_structure": CHANGES}
    main(config(data, tmp_path / "a", **settings))
    broken = config(data, tmp_path / "b", **settings, num_workers=1)
    stop_after_steps(3, lambda: main(broken))
    main(broken)
    assert same_end(tmp_path / "a", tmp_path / "b", "alignn", "alignn") == []
    main(config(data, tmp_path / "c", structures="one"))
    assert same_end(tmp_path / "a", tmp_path / "c", "alignn", "alignn") != [], "nothing was drawn or changed"


def test_graphs_of_moved_atoms_are_those_of_the_changed_crystals(data: Path) -> None:
    moved = dataset(data, CHANGES_OF_CELL)
    moved.set_epoch(1)
    for index, row in enumerate(moved.rows):
        random = np.random.default_rng((1, 1, index, AUGMENTATION_STREAM))
        cif = Path(moved.structures.table["cif"][row])
        graph = build_graph(CHANGES_OF_CELL.apply(read_crystal(cif), random), GraphOptions())
        assert np.array_equal(moved[index][2].source, graph.source), "other bonds"
        assert np.allclose(moved[index][2].bond_A, graph.bond_A, atol=1e-5)
        assert np.allclose(moved[index][2].lattice, graph.lattice, atol=1e-4)
        assert not np.allclose(graph.lattice, moved.graphs[row].lattice, atol=1e-3), "nothing moved"


def test_a_run_is_not_continued_on_other_structures(data: Path, tmp_path: Path) -> None:
    main(config(data, tmp_path, epochs=1))
    with pytest.raises(UserError, match="other settings .*structures draw -> one"):
        main(config(data, tmp_path, epochs=2, structures="one"))
    with pytest.raises(UserError, match="other settings .*augment_structure"):
        main(config(data, tmp_path, epochs=2, augment_structure=CHANGES))


def test_drawing_without_other_structures_is_one_line(data: Path, tmp_path: Path) -> None:
    write_with_other_structures(tmp_path / "p", train=6, val=2, test=2)
    (tmp_path / "p" / OTHER_STRUCTURES).unlink()
    with pytest.raises(UserError, match="is missing.*make it with: python -m data.prepare.*--structures one"):
        prepare(config(tmp_path, tmp_path))
    assert len(prepare(config(tmp_path, tmp_path, structures="one")).datasets["train"]) == 6


def test_a_changed_crystal_without_a_graph_is_shown_as_it_is(data: Path) -> None:
    """An atom 7.93 Å from a cluster, the only atoms within the cutoff of 8 Å, which a strain may move beyond it."""
    changed = dataset(data, StructureAugmentation(strain=0.05))
    cluster = 0.5 + 0.0836 * np.array([*product((-1, 0, 1), repeat=3)])
    lonely = Structure(11 * np.eye(3), ["Xe"] + ["Au"] * 27, np.vstack([np.zeros(3), cluster]))
    changed.crystals[:] = [MovableCrystal(lonely)] * len(changed.crystals)
    changed.graphs[:] = [build_graph(lonely, GraphOptions())] * len(changed.graphs)
    changed.set_epoch(1)
    graphs = [changed[index][2] for index in range(len(changed))]
    kept = [graph in changed.graphs for graph in graphs]
    assert any(kept) and not all(kept)
    samples = [changed[index] for index in range(len(changed))]
    assert collator(GraphOptions())(samples)["unaugmented"] == sum(kept) == sum(sample[4] for sample in samples)


def test_an_epochs_history_counts_crystals_that_could_not_be_changed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "supervision")
    monkeypatch.setattr("gat_pipeline.train.set_up_log", lambda *_: None)
    main(config(data, tmp_path / "plain", epochs=1, further=False))
    assert "unaugmented" not in pd.read_csv(tmp_path / "plain/r/alignn_history.csv")
    main(config(data, tmp_path / "changed", epochs=1, augment_structure=CHANGES, further=False))
    assert pd.read_csv(tmp_path / "changed/r/alignn_history.csv")["unaugmented"].tolist() == [0]
    assert "not augmented" not in caplog.text
    monkeypatch.setattr(StructureAugmentation, "changed", lambda *_: None)
    main(config(data, tmp_path / "none", epochs=2, augment_structure=CHANGES, further=False))
    assert pd.read_csv(tmp_path / "none/r/alignn_history.csv")["unaugmented"].tolist() == [6, 6]
    assert "6 samples not augmented" in caplog.text


def test_further_tests_are_left_out_on_request_and_those_of_before_removed(data: Path, tmp_path: Path) -> None:
    further = tmp_path / "r/alignn_val_other_structures_predictions.csv"
    main(config(data, tmp_path, epochs=1))
    assert further.is_file()
    main(config(data, tmp_path, epochs=1, further=False))
    assert not further.exists() and (tmp_path / "r/alignn_predictions.csv").is_file()


@pytest.mark.parametrize("number", range(1, 24, 4))
def test_primitive_conventional_and_super_cells_have_one_prediction(number: int) -> None:
    model = create_alignn_model(shape=NetworkShape(hidden=32, embedding=16, alignn_layers=2, gcn_layers=2), seed=1)
    settle(model, join(sample_graphs()))
    primitive = symmetrised(sample_structures()[number])
    cells = [primitive, *(primitive.make_supercell(by, in_place=False) for by in ([2, 1, 1], SHEARED))]
    with torch.inference_mode():
        predicted_K = model(join([build_graph(cell, model.options) for cell in cells])).tolist()
        other_K = model(join([build_graph(cuprate(), model.options)])).item()
    assert predicted_K[1:] == pytest.approx([predicted_K[0]] * 2, abs=1e-5)
    assert abs(other_K - predicted_K[0]) > 1e-4


SHEARED = [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
