"""The vision trainer from end to end: it learns, resumes to the bit, writes what it should, and refuses clearly."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from dinov3_pipeline import features as features_module
from dinov3_pipeline.lora import Lora
from dinov3_pipeline.model import load_model
from dinov3_pipeline.train import VisionConfig, build_model, load_images, main, make_dataset, make_task, prepare
from tc_common.checkpoints import load_checkpoint
from tc_common.cli import parse
from tc_common.errors import UserError
from tc_common.predictions import read_predictions
from tc_common.runs import run_training
from tc_common.task import Task
from tests.dinov3_pipeline.conftest import OPTIONS, Rendered
from tests.tc_common.runs import after_step, differences, run_interrupted

REPO = Path(__file__).parents[2]


@pytest.fixture
def config(rendered: Rendered, tmp_path: Path) -> VisionConfig:
    """Two epochs of a tiny ViT on 32 images."""
    return VisionConfig(
        data_dir=rendered.data_dir,
        images_dir=rendered.images_dir,
        models_dir=tmp_path / "models",
        results_dir=tmp_path / "results",
        cache_dir=tmp_path / "cache",
        init="random",
        backbone="test_vit",
        image_size=32,
        views_per_epoch=2,
        epochs=2,
        device="cpu",
        precision="fp32",
    )


def task_of(config: VisionConfig, splits: dict[str, pd.DataFrame]) -> Task:
    images = {name: load_images(config, table) for name, table in splits.items()}
    model = build_model(config, splits["train"]["tc"], images["train"].options)
    datasets: dict[str, Any] = {name: make_dataset(config, name, splits[name], images[name]) for name in splits}
    return make_task(config, model, datasets, splits)


def test_it_overfits_16_materials_to_less_than_1_kelvin(rendered: Rendered, config: VisionConfig) -> None:
    train = rendered.splits["train"]
    eager = replace(
        config,
        views_per_epoch=None,
        augment=False,
        epochs=40,
        batch_size=32,
        lr=1e-3,
        lora=Lora(dropout=0),
        head_dropout=0,
    )
    metrics = run_training(task_of(eager, dict.fromkeys(("train", "val", "test"), train)), eager)
    assert metrics["median_mae_K"] > 8
    assert metrics["mae_K"] < 1


def test_a_run_writes_predictions_metrics_and_a_model_that_repeats_them(
    rendered: Rendered, config: VisionConfig
) -> None:
    main(config)
    predictions = read_predictions(config.results_dir / "dinov3_predictions.csv")
    assert predictions["material_id"].tolist() == rendered.splits["test"]["material_id"].tolist()
    assert (predictions["tc_std"] > 0).all()
    metrics = json.loads((config.results_dir / "dinov3_metrics.json").read_text())
    assert (metrics["init"], metrics["trainable_parameters"]) == ("random", 189_441)
    model = load_model(config.models_dir / "dino_best.pth")
    for row, cif in zip(predictions.itertuples(), rendered.splits["test"]["cif"], strict=True):
        views_K = model.predict_views(cif)
        assert views_K.mean().item() == pytest.approx(row.tc_pred, abs=1e-4)
        assert views_K.std(correction=0).item() == pytest.approx(row.tc_std, abs=1e-4)


@pytest.mark.parametrize("step", [1, 4, 6])
def test_an_interrupted_run_goes_on_to_the_same_bits(step: int, rendered: Rendered, config: VisionConfig) -> None:
    def make(settings: VisionConfig) -> Task:
        return task_of(settings, rendered.splits)

    whole = replace(config, models_dir=config.models_dir / "whole", results_dir=config.results_dir / "whole")
    run_training(make(whole), whole)
    run_interrupted(make, config, after_step(step))  # type: ignore[arg-type]
    run_training(make(config), config)
    ours, theirs = (load_checkpoint(c.models_dir / "dino_last.pth") for c in (config, whole))
    for content in (ours, theirs):
        for incidental in ("train_seconds", "config"):
            del content[incidental]
    assert not differences(ours, theirs)


def test_the_linear_probe_sees_each_image_once_ever(
    rendered: Rendered, config: VisionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = replace(config, tune="head", views_per_epoch=None, epochs=3)
    main(probe)
    first = read_predictions(config.results_dir / "dinov3_predictions.csv")
    monkeypatch.setattr(features_module, "_compute_features", lambda *_: pytest.fail("computed again"))
    main(replace(probe, models_dir=config.models_dir / "again"))
    again = read_predictions(config.results_dir / "dinov3_predictions.csv")
    pd.testing.assert_frame_equal(first, again)
    model = load_model(config.models_dir / "dino_best.pth")
    test = rendered.splits["test"]
    assert model.predict(test["cif"][0]) == pytest.approx(first["tc_pred"][0], abs=1e-4)


def test_the_linear_probe_reads_standardised_features_whatever_the_order_of_the_splits(config: VisionConfig) -> None:
    probe = replace(config, tune="head", views_per_epoch=None)
    models = [prepare(probe, parts).model for parts in (("train", "val"), ("val", "train"))]
    features = torch.from_numpy(prepare(probe, ("train",)).datasets["train"].features)  # type: ignore[attr-defined]
    for model in models:
        mean, std = model.get_buffer("feature_mean"), model.get_buffer("feature_std")
        standardised = (features - mean) / std
        assert torch.allclose(standardised.mean(0), torch.zeros(64), atol=1e-4)
        assert torch.allclose(standardised.std(0), torch.ones(64), atol=1e-4)


def test_features_of_other_weights_are_computed_anew(rendered: Rendered, config: VisionConfig) -> None:
    probe = replace(config, tune="head", views_per_epoch=None, epochs=1)
    main(probe)
    main(replace(probe, seed=7, models_dir=config.models_dir / "other"))
    assert len(list(config.cache_dir.glob("features_*.npy"))) == 6  # three splits, two backbones


def test_online_views_need_no_image_files(config: VisionConfig, tmp_path: Path) -> None:
    main(replace(config, online_views=True, images_dir=tmp_path / "none", epochs=1, limit=3))
    assert (config.results_dir / "dinov3_predictions.csv").exists()


def test_adapters_and_head_alone_change_in_a_run(config: VisionConfig) -> None:
    start = build_model(config, pd.Series([1.0, 2.0, 3.0]), OPTIONS).state_dict()
    main(config)
    for name, value in load_checkpoint(config.models_dir / "dino_last.pth")["model_state_dict"].items():
        if isinstance(value, Tensor) and not name.startswith("target."):
            changed = not torch.equal(value, start[name])
            assert changed == ("lora_B" in name or name.startswith("head.") or "lora_A" in name), name


def test_the_loss_does_not_care_how_a_batch_is_cut(rendered: Rendered, config: VisionConfig) -> None:
    weights = []
    for size, pieces in ((8, 1), (4, 2)):
        settings = replace(
            config,
            batch_size=size,
            grad_accumulation=pieces,
            lora=Lora(dropout=0.0),
            head_dropout=0.0,
            models_dir=config.models_dir / str(size),
        )
        run_training(task_of(settings, rendered.splits), settings)
        weights.append(load_checkpoint(settings.models_dir / "dino_last.pth")["model_state_dict"])
    for name, value in weights[0].items():
        if isinstance(value, Tensor):
            assert np.allclose(value, weights[1][name], atol=1e-5), name


def test_missing_images_end_in_one_line(rendered: Rendered, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(rendered.images_dir, images)
    (images / "image_metadata.csv").unlink()
    command = [sys.executable, "-m", "dinov3_pipeline.train", "--init", "random", "--backbone", "test_vit"]
    folders = ["--data-dir", rendered.data_dir, "--images-dir", images, "--models-dir", tmp_path / "m"]
    answer = subprocess.run([*command, *map(str, folders)], cwd=REPO, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith(f"error: {images}/image_metadata.csv is missing; make it with")
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lora-rank", "0"], "--lora-rank must be at least 1"),
        (["--lora-dropout", "1"], "--lora-dropout must be from 0 to below 1"),
        (["--lr", "0"], "--lr must be > 0"),
        (["--lora-alpha", "0"], "--lora-alpha must be > 0"),
        (["--tune", "head", "--online-views"], "--tune head uses features of the standard views"),
        (["--tune", "everything"], "everything"),
        (["--imagesize", "224"], "did you mean --image-size"),
    ],
)
def test_a_wrong_flag_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(VisionConfig, prog="train", description="", args=flags)
