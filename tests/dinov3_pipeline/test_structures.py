"""Structures drawn and crystals changed while training: what the vision pipeline shows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.io.cif import CifWriter

from data.dope import DopeConfig
from data.dope import main as dope
from dinov3_pipeline.add_retrieval import RetrievalConfig
from dinov3_pipeline.add_retrieval import main as add_retrieval
from dinov3_pipeline.dataset import FeatureDataset, ViewDataset, collate
from dinov3_pipeline.images import RenderedImages
from dinov3_pipeline.model import load_model
from dinov3_pipeline.render.options import RenderOptions, read_image_index
from dinov3_pipeline.train import VisionConfig, prepare
from dinov3_pipeline.train import main as train
from render_images import RenderConfig
from render_images import main as render
from tc_common.augmentation import StructureAugmentation
from tc_common.cli import parse
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.splits import OTHER_STRUCTURES, read_splits, write_splits
from tc_common.structures import TrainingStructures, training_structures
from tests.dinov3_pipeline.conftest import sample_splits
from tests.dinov3_pipeline.networks import SIZE, TINY
from tests.tc_common.made_extra import write_extra_structures, write_labels
from tests.tc_common.made_further import write_further_splits

OPTIONS = RenderOptions(image_size=64, bonds="none")
CHANGES = StructureAugmentation(strain=0.02, displacement_A=0.03)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split files of 3 + 1 + 1 materials with a larger cell of each as its other structure."""
    folder = tmp_path_factory.mktemp("structures")
    splits = {name: table.head(3 if name == "train" else 1) for name, table in sample_splits().items()}
    others = [larger(folder, row).assign(split=name) for name, table in splits.items() for row in records(table)]
    write_splits(folder / "p", splits, pd.concat(others))
    return folder


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def larger(folder: Path, row: dict[str, Any]) -> pd.DataFrame:
    name = f"{row['material_id']}-larger"
    structure = read_crystal(Path(row["cif"]))
    structure.scale_lattice(structure.volume * 1.3)
    (folder / f"{name}.cif").write_text(str(CifWriter(structure)), encoding="utf-8")
    return pd.DataFrame([row | {"material_id": name, "cif": str(folder / f"{name}.cif")}])


@pytest.fixture(scope="module")
def structures(data: Path) -> TrainingStructures:
    return training_structures(data / "p", read_splits(data / "p"), "draw", 1)


@pytest.fixture(scope="module")
def images(structures: TrainingStructures) -> RenderedImages:
    return RenderedImages(structures.table, SIZE, OPTIONS)


def shown(dataset: ViewDataset | FeatureDataset, epoch: int) -> list[str]:
    dataset.set_epoch(epoch)
    return [dataset[index]["material_id"] for index in range(0, len(dataset), dataset.k)]


def test_each_epoch_shows_one_structure_of_each_composition(
    structures: TrainingStructures, images: RenderedImages
) -> None:
    dataset = ViewDataset(structures, images, per_epoch=2, seed=1)
    chosen = structures.table["material_id"][:3].tolist()
    assert len(dataset) == 6
    assert [dataset[index]["material_id"] for index in (0, 2, 4)] == chosen
    epochs = [shown(dataset, epoch) for epoch in range(2)]
    assert [sorted(pair) for pair in zip(*epochs, strict=True)] == [[name, f"{name}-larger"] for name in chosen]
    assert shown(dataset, 0) == epochs[0]


def test_the_image_is_that_of_the_structure_drawn(structures: TrainingStructures, images: RenderedImages) -> None:
    dataset = ViewDataset(structures, images, per_epoch=1, seed=1)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for material in range(3):
            sample, view = dataset[material], dataset.view(material, 0)
            row = structures.table["material_id"].tolist().index(sample["material_id"])
            assert np.array_equal(sample["image"], images.image(row, view))
            assert sample["tc"] == np.float32(structures.table["tc"][row])


def test_features_are_drawn_as_images_are(structures: TrainingStructures, images: RenderedImages) -> None:
    views = ViewDataset(structures.table, images)
    features = np.arange(len(views), dtype=np.float32)[:, None]
    dataset, drawn = FeatureDataset(views, features, structures), ViewDataset(structures, images, per_epoch=1, seed=1)
    assert len(dataset) == 3 * 18
    for epoch in range(2):
        assert shown(dataset, epoch) == shown(drawn, epoch)
        row = structures.table["material_id"].tolist().index(dataset[20]["material_id"])
        assert dataset[20]["features"].tolist() == [row * 18 + 2]


def test_changed_crystals_give_other_images_in_every_epoch_and_one_crystal_in_each(
    structures: TrainingStructures, images: RenderedImages
) -> None:
    one = TrainingStructures(structures.table.head(3))
    plain = ViewDataset(one, images, per_epoch=18)
    changed = ViewDataset(one, images, per_epoch=18, crystal_augmentation=CHANGES)
    first_view: list[bytes] = []
    for epoch in (0, 1, 0):
        plain.set_epoch(epoch)
        changed.set_epoch(epoch)
        assert changed[0]["tc"] == plain[0]["tc"] and changed[0]["material_id"] == plain[0]["material_id"]
        assert not np.array_equal(changed[0]["image"], plain[0]["image"])
        slots = [changed.view(0, slot) for slot in range(18)]
        first_view.append(changed[slots.index(0)]["image"].tobytes())
    assert first_view[0] == first_view[2] != first_view[1]
    assert changed._change(0)(images.crystals[0]) == changed._change(0)(images.crystals[0])  # type: ignore[misc]


def test_crystals_that_could_not_be_changed_are_counted(
    structures: TrainingStructures, images: RenderedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = TrainingStructures(structures.table.head(3))
    plain, changed = ViewDataset(one, images), ViewDataset(one, images, crystal_augmentation=CHANGES)
    assert "unaugmented" not in collate([plain[0]]) and collate([changed[0], changed[1]])["unaugmented"] == 0
    monkeypatch.setattr(StructureAugmentation, "changed", lambda *_: None)
    assert collate([changed[0], changed[1]])["unaugmented"] == 2
    assert np.array_equal(changed[0]["image"], plain[0]["image"])


def test_stored_images_cannot_be_changed() -> None:
    with pytest.raises(UserError, match="--augment-structure needs --online-views"):
        parse(VisionConfig, prog="train", description="", args=["--augment-structure.strain", "0.02"])


def test_other_structures_are_rendered_indexed_and_trained_on(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    render(RenderConfig(data_dir=data / "p", out=out, workers=1, image_size=64, bonds="none"))
    index = read_image_index(out)
    by_split = index.groupby("split")["material_id"].nunique().to_dict()
    assert by_split == {"train": 6, "val": 1, "test": 1}
    settings: dict[str, Any] = {
        "data_dir": data / "p", "images_dir": out, "cache_dir": tmp_path / "c", "models_dir": tmp_path / "m",
        "results_dir": tmp_path / "r", "backbone": TINY, "image_size": SIZE, "init": "random", "device": "cpu",
    }  # fmt: skip
    task = prepare(VisionConfig(**settings, views_per_epoch=1))
    train, val = task.datasets["train"], task.datasets["val"]
    assert isinstance(train, ViewDataset) and isinstance(val, ViewDataset)
    assert len(train) == 3
    assert len({*shown(train, 0), *shown(train, 1)}) == 6
    assert shown(val, 0) == shown(val, 1) == task.splits["val"]["material_id"].tolist()
    everything = prepare(VisionConfig(**settings, views_per_epoch=1, structures="all"))
    assert len(everything.datasets["train"]) == 6
    assert everything.structures_sha256 != task.structures_sha256


def test_rendering_without_other_structures_is_one_line(data: Path, tmp_path: Path) -> None:
    write_splits(tmp_path / "p", read_splits(data / "p"))
    (tmp_path / "p" / OTHER_STRUCTURES).unlink()
    config = RenderConfig(data_dir=tmp_path / "p", out=tmp_path / "i", workers=1, image_size=64, bonds="none")
    with pytest.raises(UserError, match="other_structures.csv is missing.*--structures one"):
        render(config)


def test_extra_structures_are_rendered_trained_on_retrieved_from_and_named(tmp_path: Path) -> None:
    write_further_splits(tmp_path / "p")
    write_extra_structures(tmp_path / "p")
    out = tmp_path / "images"
    plain = RenderConfig(data_dir=tmp_path / "p", out=out, workers=1, image_size=SIZE, bonds="none", views="axes")
    render(replace(plain, extra_structures=True))
    made = set(pd.read_csv(tmp_path / "p/extra_structures.csv")["material_id"])
    assert len(made) == 3 and made <= set(read_image_index(out)["material_id"])
    places: dict[str, Any] = {
        "data_dir": tmp_path / "p", "images_dir": out, "cache_dir": tmp_path / "c", "models_dir": tmp_path / "m",
        "results_dir": tmp_path / "r", "device": "cpu",
    }  # fmt: skip
    settings: dict[str, Any] = {
        "backbone": TINY, "image_size": SIZE, "init": "random", "tune": "head", "epochs": 1, "palette": True,
    }  # fmt: skip
    without = prepare(VisionConfig(**places, **settings))
    train(VisionConfig(**places, **settings, extra_structures=True))
    task = prepare(VisionConfig(**places, **settings, extra_structures=True))
    views = len(task.datasets["val"]) // 2
    assert [len(each.datasets["train"]) // views for each in (without, task)] == [4, 7]
    metrics = json.loads((tmp_path / "r/dinov3_metrics.json").read_text())
    assert metrics["extra_structures"] == task.facts["extra_structures"] == 3 and without.facts == {}
    add_retrieval(RetrievalConfig(checkpoint=tmp_path / "m/dino_best.pth", **places))
    model = load_model(tmp_path / "m/dinov3_neighbours_best.pth")
    assert model.retrieval is not None and len(model.retrieval.tc_K) == 7
    for name in ("dinov3", "dinov3_neighbours"):
        known = pd.read_csv(tmp_path / f"r/{name}_literature_predictions.csv").set_index("formula")["known"]
        assert known["Al1"] and known["Mg1B2"] and not known["Nb1N1"]
    labels = {"Mg0.9Al0.1B2": 35.0, "Nb3Sn0.7Ge0.3": 19.0, "Al": 1.2}  # as many, one of another composition
    write_labels(tmp_path / "p", labels)
    dope(DopeConfig(data_dir=tmp_path / "p"))
    with pytest.raises(UserError, match="has no view .* of extra-"):
        prepare(VisionConfig(**places, **settings, extra_structures=True))
    with pytest.raises(UserError, match="holds other structures than the network was trained on"):
        add_retrieval(RetrievalConfig(checkpoint=tmp_path / "m/dino_best.pth", **places))
