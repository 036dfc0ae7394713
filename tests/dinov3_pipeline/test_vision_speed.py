"""The speed benchmark at a tiny size: every variant runs, in prediction and training, and skipping is recognised."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _vision_step, vision_speed
from dinov3_pipeline.network import distinct_images
from tests.dinov3_pipeline.networks import TINY, noise

VARIANTS: tuple[_vision_step.Variant, ...] = ("plain-fp32", "ours-fp32", "lit-fp32", "lit-bf16")


def test_every_variant_is_timed_on_the_same_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = np.zeros((3, 4, 64, 64, 3), np.uint8)
    pictures[:, 1:, :32, :32] = noise(9, 32).permute(0, 2, 3, 1).reshape(3, 3, 32, 32, 3).numpy()
    np.save(tmp_path / "pictures.npy", pictures)
    for variant in VARIANTS:
        config = _vision_step.StepConfig(
            pictures=tmp_path / "pictures.npy", variant=variant, backbone=TINY, crystals=2, steps=2, batch_size=4
        )  # fmt: skip
        _vision_step.main(config)
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["variant"] for result in results] == [*VARIANTS]
    for result in results:
        assert (result["prediction"]["images"], result["training"]["images"]) == (8, 8)
        assert all(result[what]["wall_s"] > 0 for what in vision_speed.WHAT)
    summary = vision_speed.summed("training", [{result["variant"]: result for result in results}])
    assert summary["plain-fp32"]["times_plain_wall"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    ratio = results[0]["training"]["wall_s"] / results[2]["training"]["wall_s"]
    assert summary["lit-fp32"]["times_plain_wall"]["median"] == pytest.approx(ratio, abs=1e-3)
    assert summary["lit-fp32"]["epoch_s"] == pytest.approx(4074 * 18 / 8 * results[2]["training"]["wall_s"], rel=0.01)


def test_pictures_are_rendered_crystals_whose_empty_patches_and_equal_views_are_counted() -> None:
    pictures = vision_speed.rendered(2, 64)
    assert pictures.shape == (2, 18, 64, 64, 3)
    content = vision_speed.content(pictures)
    distinct = [len(distinct_images(_vision_step.as_tensor(crystal))[0]) for crystal in pictures]
    rows = [row for view in pictures.reshape(36, 64, 64, 3) for row in np.split(view, 4)]
    lit = [bool(patch.any()) for row in rows for patch in np.split(row, 4, axis=1)]
    assert content["lit_patches_mean"] == pytest.approx(np.mean(lit) * 16, abs=0.05)
    assert content["equal_views"] == pytest.approx(1 - sum(distinct) / 36, abs=1e-4)
    assert 0 < content["equal_views"] < 0.5, "along c the two layers of a 2x2x2 supercell hide one another"
