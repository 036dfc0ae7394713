"""Pre-training end to end on a few crystals: what it learns from, exact resume, collapse, and what its weights fit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dinov3_pipeline import backbones, pretrain
from dinov3_pipeline.backbones import CRYSTALS, Shape, create_backbone
from dinov3_pipeline.crops import Crops
from dinov3_pipeline.lora import Lora, adapters
from dinov3_pipeline.model import create_dino_model, load_model
from dinov3_pipeline.pretrain import STEM, PretrainConfig, main, teacher_momentum, teacher_temperature
from dinov3_pipeline.probe import describe
from dinov3_pipeline.self_distillation import Distillation
from dinov3_pipeline.train import VisionConfig
from dinov3_pipeline.train import build_model as build_vision
from dinov3_pipeline.train import main as train
from tc_common.checkpoints import load_checkpoint
from tc_common.cli import parse
from tc_common.errors import UserError
from tc_common.files import sha256, write_json
from tc_common.splits import read_splits, write_splits
from tc_common.training import TrainingError
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.networks import DINO, SIZE, SMALL_DINO, noise
from tests.tc_common.runs import differences, stop_after_steps

STEPS, EPOCHS = 4, 3  # 16 materials in groups of 4
RESUMED = {"train_seconds", "config"}


def config(rendered: Rendered, folder: Path, **changes: Any) -> PretrainConfig:
    settings: dict[str, Any] = {
        "data_dir": rendered.data_dir,
        "images_dir": rendered.images_dir,
        "models_dir": folder / "m",
        "results_dir": folder / "r",
        "cache_dir": folder / "c",
        "output": folder / "small.safetensors",
        "shape": SMALL_DINO,
        "supercells": ("1x1x1",),
        "random_views": 1,
        "crops": Crops(crops=2),
        "distillation": Distillation(prototypes=8, head_width=8, bottleneck=4),
        "batch_size": 4,
        "epochs": EPOCHS,
        "precision": "fp32",
        "device": "cpu",
    }
    return PretrainConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("pretrained")
    main(config(rendered, folder))
    return folder


@pytest.fixture
def weights(finished: Path, tmp_path: Path) -> Path:
    """A copy of its weights and their card."""
    for name in ("small.safetensors", "small.json"):
        shutil.copy(finished / name, tmp_path / name)
    return tmp_path / "small.safetensors"


def edit_card(weights: Path, **changes: Any) -> None:
    path = weights.with_suffix(".json")
    write_json(path, {**json.loads(path.read_text()), **changes})


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's lines come to `caplog`, also after a run has set up its own handlers."""
    monkeypatch.setattr("tc_common.cli.log.propagate", True)


def vision(rendered: Rendered, folder: Path, init: Path | str, **changes: Any) -> VisionConfig:
    folders = {"models_dir": folder / "tm", "results_dir": folder / "tr", "cache_dir": folder / "tc"}
    data: dict[str, Any] = {"data_dir": rendered.data_dir, "images_dir": rendered.images_dir, "init": str(init)}
    network = {"backbone": DINO, "image_size": SIZE, "epochs": 1, "precision": "fp32", "device": "cpu"}
    return VisionConfig(**{**data, **folders, **network, "views_per_epoch": 1, "lora": Lora(rank=2), **changes})


def test_card_and_history_say_what_was_learnt_from(finished: Path, rendered: Rendered) -> None:
    card = json.loads((finished / "small.json").read_text())
    assert (card["structures"], card["epochs_run"]) == (16, EPOCHS)
    assert (card["excluded"]["compositions"], card["excluded"]["structures"]) == (8, 8)
    assert card["sha256"] == sha256(finished / "small.safetensors")
    assert card["feature_spread"] > 0.05 and card["images_per_second"] > 0
    assert str(finished) not in json.dumps(card) and str(rendered.data_dir) not in json.dumps(card)
    history = pd.read_csv(finished / "r" / f"{STEM}_history.csv")
    assert history["epoch"].tolist() == [1, 2, 3] and history["feature_spread"].gt(0.05).all()
    assert history["val_mae_K"].iloc[-1] == pytest.approx(card["val_mae_of_nearest_K"], abs=0.5)


def test_the_teacher_has_followed_the_student(finished: Path, rendered: Rendered) -> None:
    state = load_checkpoint(finished / "m" / f"{STEM}_last.pth")["model_state_dict"]
    start = pretrain.build_model(config(rendered, finished)).state_dict()
    name = "backbone.blocks.0.attn.qkv.weight"
    moved = [(state[f"{side}.{name}"] - start[f"{side}.{name}"]).norm() for side in ("teacher", "student")]
    assert 0.001 < moved[0] / moved[1] < 0.9


def test_the_weights_are_the_teacher_s(finished: Path) -> None:
    state = load_checkpoint(finished / "m" / f"{STEM}_last.pth")["model_state_dict"]
    backbone, origin = create_backbone(DINO, SIZE, str(finished / "small.safetensors"))
    assert origin == f"file:small.safetensors@{sha256(finished / 'small.safetensors')[:12]}"
    ours = backbone.state_dict()
    student = [torch.equal(state[f"student.backbone.{name}"], value) for name, value in ours.items()]
    assert all(torch.allclose(state[f"teacher.backbone.{name}"], ours[name], atol=2e-3) for name in ours)
    assert set(ours) == {
        name.removeprefix("teacher.backbone.") for name in state if name.startswith("teacher.backbone.")
    } - {"patch_embed.mask_token"}
    assert not all(student)


def test_compositions_of_the_excluded_split_are_left_out_whatever_their_file(
    rendered: Rendered, tmp_path: Path
) -> None:
    """Another folder's validation and test: here training materials of the data, one of them as another structure."""
    splits = read_splits(rendered.data_dir)
    train_rows = splits["train"]
    other = train_rows.iloc[[0]].assign(material_id="a-further-file", split="train")
    write_splits(tmp_path / "data", splits, other)
    held = {"train": splits["test"], "val": train_rows.iloc[:2], "test": train_rows.iloc[2:4]}
    write_splits(tmp_path / "held", held)
    settings = config(rendered, tmp_path, data_dir=tmp_path / "data", exclude_split=tmp_path / "held")
    options = pretrain.RenderOptions(image_size=32, bonds="none", supercells=("1x1x1",), random_views=1)
    materials, excluded, probe = pretrain.read_materials(settings, options)
    everything = {*pd.concat(splits.values())["material_id"], "a-further-file"}
    left_out = {*train_rows["material_id"].iloc[:4], "a-further-file"}
    assert set(materials.table["material_id"]) == everything - left_out
    assert (excluded["structures"], excluded["compositions"]) == (5, 4)
    assert set(probe.asked["material_id"]) == set(train_rows["material_id"].iloc[:2])
    assert not set(probe.known["material_id"]) & left_out
    for number, material_id in enumerate(probe.known["material_id"]):
        row = materials.table.index[materials.table["material_id"] == material_id][0]
        assert np.array_equal(probe.known_images[number], materials.images[row])


@pytest.mark.parametrize("steps", [1, 6, 8, 11])
def test_resume_is_exact(steps: int, rendered: Rendered, finished: Path, tmp_path: Path) -> None:
    settings = config(rendered, tmp_path)
    stop_after_steps(steps, lambda: main(settings))
    main(settings)
    ours, theirs = (load_checkpoint(folder / "m" / f"{STEM}_last.pth") for folder in (tmp_path, finished))
    kept = [{name: value for name, value in end.items() if name not in RESUMED} for end in (ours, theirs)]
    for end in kept:
        del end["identity"]["output"]
    assert differences(kept[0], kept[1]) == []
    assert (tmp_path / "small.safetensors").read_bytes() == (finished / "small.safetensors").read_bytes()


def test_the_guard_fires_where_all_crystals_look_alike(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(materials: pd.DataFrame, options: Any, side: int, cache_dir: Path) -> np.ndarray:
        return np.full((len(materials), 4, side, side, 3), 90, np.uint8)

    monkeypatch.setattr(pretrain, "rendered_views", constant)
    with pytest.raises(TrainingError, match=r"epoch 1: the features have collapsed \(spread 0.000, at least") as error:
        main(config(rendered, tmp_path))
    assert "\n" not in str(error.value) and not (tmp_path / "small.safetensors").exists()


def test_the_teacher_slows_down_and_warms_up() -> None:
    settings = Distillation(momentum=0.9, teacher_temperature=(0.04, 0.07))
    assert [teacher_momentum(settings, at) for at in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])
    temperatures = [teacher_temperature(settings, at) for at in (0, 1 / 6, 1 / 3, 1)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_descriptions_are_unit_means_over_the_views() -> None:
    images = noise(12).view(4, 3, 3, SIZE, SIZE).permute(0, 1, 3, 4, 2).numpy()

    def corner(batch: torch.Tensor) -> torch.Tensor:
        return batch[:, :, 0, 0].float()

    mean = torch.from_numpy(images[:, :, 0, 0].astype(np.float32)).mean(1)
    expected = mean / mean.norm(dim=1, keepdim=True)
    assert torch.allclose(describe(corner, images, at_once=3), expected)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_training_goes_on_from_them_and_its_checkpoint_loads(
    tune: str, rendered: Rendered, weights: Path, tmp_path: Path
) -> None:
    train(vision(rendered, tmp_path, weights, tune=tune))
    metrics = json.loads((tmp_path / "tr" / "dinov3_metrics.json").read_text())
    assert metrics["init"] == f"file:small.safetensors@{sha256(weights)[:12]}"
    model = load_model(tmp_path / "tm" / "dino_best.pth")
    predicted = pd.read_csv(tmp_path / "tr" / "dinov3_predictions.csv").set_index("material_id")["tc_pred"]
    for row in rendered.splits["test"].head(2).itertuples():
        assert model.predict(row.cif) == pytest.approx(predicted[row.material_id], abs=1e-3)


def test_lora_from_them_changes_with_its_adapters_and_black_stays_nothing(weights: Path) -> None:
    model = create_dino_model(backbone=DINO, image_size=SIZE, init=str(weights), tune="lora").eval()
    assert model.mean.abs().max() == 0, "normalised as in the pre-training"
    with torch.inference_mode():
        before = model.features(noise())
        for _, layer in adapters(model.backbone):
            nn.init.constant_(layer.lora_B["default"].weight, 0.1)
        assert (model.features(noise()) - before).abs().max() > 1e-3


def test_pooling_may_be_chosen_and_nothing_else(weights: Path) -> None:
    token, _ = create_backbone(DINO, SIZE, str(weights), Shape(pool="token"))
    assert token.global_pool == "token"
    with pytest.raises(UserError, match="has --patch-size 8, not 16; leave --patch-size out"):
        create_backbone(DINO, SIZE, str(weights), Shape(patch_size=16))


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        (
            "vit_base_patch16_dinov3",
            SIZE,
            f"holds {DINO} for images of 32 pixels, not vit_base",
        ),
        (DINO, 64, f"not {DINO} for 64; give --backbone {DINO} --image-size 32"),
    ],
)
def test_weights_of_another_architecture_are_one_line(backbone: str, size: int, message: str, weights: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        create_backbone(backbone, size, str(weights))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_spread": 0.01}, "is of a collapsed run, which describes all crystals alike"),
        ({"feature_spread": None}, "no card of pre-trained weights: it.feature_spread is None"),
        ({"sha256": "0" * 64}, "is not the file that its card describes"),
        ({"network": {"backbone": DINO}}, "no card of pre-trained weights: it.network lacks image_size"),
        ({"network": {"backbone": DINO, "image_size": SIZE, "patch_size": 16, "width": 16, "heads": 2, "depth": 1,
                      "fourier_features": 4}}, "and its card do not fit"),
    ],
)  # fmt: skip
def test_a_card_that_cannot_be_true_is_one_line(changes: dict[str, Any], message: str, weights: Path) -> None:
    edit_card(weights, **changes)
    with pytest.raises(UserError, match=message) as refused:
        create_backbone(DINO, SIZE, str(weights))
    assert "\n" not in str(refused.value)


def test_images_that_are_drawn_otherwise_are_noticed(
    rendered: Rendered, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = vision(rendered, tmp_path, weights)
    tc_K = rendered.splits["train"]["tc"]
    same = pretrain.RenderOptions(bonds="none")
    with caplog.at_level("WARNING", "supervision"):
        build_vision(settings, tc_K, same)
        assert not caplog.messages
        build_vision(settings, tc_K, replace(same, radius_scale=0.8))
    assert caplog.messages == [
        f"the images are not drawn as those that --init {weights} learnt from: radius_scale 0.8 instead of 0.4"
    ]


def test_missing_weights_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "CRYSTALS", tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="none.safetensors is missing; make it with: python -m dinov3"):
        create_backbone(DINO, SIZE, "crystals")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude_split": Path("no-such-folder")}, "no-such-folder.*csv"),
        ({"crops": Crops(crop_size=12)}, "--crop-size 12 is no multiple of the patch, 8 pixels"),
        ({"batch_size": 32}, "16 structures are left to learn from; lower --batch-size"),
        ({"backbone": "test_vit", "shape": Shape()}, "test_vit takes images of one size, so no small crops"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_line(
    changes: dict[str, Any], message: str, rendered: Rendered, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        main(config(rendered, tmp_path, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "1"], "--batch-size must be at least 2, got 1"),
        (["--output", "weights.pth"], "--output must end in"),
        (["--lr", "0"], "--lr must be > 0"),
    ],
)
def test_flags_out_of_range_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(PretrainConfig, prog="pretrain", description="", args=flags)


def test_several_processes_are_refused(rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Callable[..., Any] = pretrain.place
    monkeypatch.setattr("tc_common.runs.place", lambda *a: replace(place(*a), world=2))
    with pytest.raises(UserError, match="start it as one process"):
        main(config(rendered, tmp_path))


def test_the_shipped_weights_are_what_their_card_says() -> None:
    backbone, origin = create_backbone(DINO, 32, "crystals")
    assert origin == f"pretrained:dino_crystals@{sha256(CRYSTALS)[:12]}"
    assert CRYSTALS.stat().st_size < 15_000_000 and backbone.num_features == 128
