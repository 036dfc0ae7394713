"""The palette is a count of pixels, the branch reads it as a set, and a training, a file and a CIF agree on it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dinov3_pipeline.model import load_model
from dinov3_pipeline.palette import COLORS, PaletteBranch, palette, palette_of
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import BOND_GREY, views
from dinov3_pipeline.train import VisionConfig, main, prepare
from tc_common.augmentation import StructureAugmentation
from tc_common.chemistry import composition_features
from tc_common.errors import UserError
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.crystals import cuprate
from tests.dinov3_pipeline.networks import SIZE, TINY, noise, tiny_model
from tests.tc_common.runs import same_end, stop_after_steps

IMAGES = views(cuprate(0.3), options=RenderOptions(image_size=64, bonds="covalent"))


def counted(images: np.ndarray) -> Counter[tuple[int, ...]]:
    """Pixels of each colour, one by one, without black and the bonds' grey."""
    every: Counter[tuple[int, ...]] = Counter(tuple(pixel) for pixel in images.reshape(-1, 3).tolist())
    assert every.pop((0, 0, 0)) > 0 and every.pop((BOND_GREY,) * 3) > 0
    return every


def test_the_palette_is_a_count_of_the_pixels() -> None:
    pixels = counted(IMAGES)
    rows = palette(IMAGES)
    assert rows.shape == (COLORS, 4) and len(pixels) == 3, "a mixed site, copper and oxygen"
    for row, (color, count) in zip(rows, pixels.most_common(), strict=False):
        assert np.rint(255 * row[:3]).astype(int).tolist() == list(color)
        assert row[3] == pytest.approx(count / sum(pixels.values()), rel=1e-6)
    assert not rows[3:].any()


def test_the_commonest_of_many_colours_stay() -> None:
    image = np.zeros((1, 20, 20, 3), np.uint8)
    for number in range(12):
        image[0, number, : number + 1] = (number + 1, 200, 7)
    rows = palette(image)
    assert np.rint(255 * rows[:, 0]).astype(int).tolist() == list(range(12, 12 - COLORS, -1))
    assert rows[:, 3].tolist() == pytest.approx([count / 78 for count in range(12, 12 - COLORS, -1)])


def test_neither_the_order_of_views_nor_a_turned_image_changes_it_but_a_pixel_does() -> None:
    turned = np.stack([np.rot90(image, number % 4) for number, image in enumerate(IMAGES[::-1])])
    assert np.array_equal(palette(turned), palette(IMAGES))
    changed = IMAGES.copy()
    changed[0, 0, 0] = (1, 2, 3)
    assert not np.array_equal(palette(changed), palette(IMAGES))


def test_a_black_image_has_an_empty_palette_that_is_read() -> None:
    rows = torch.from_numpy(palette(np.zeros((2, 8, 8, 3), np.uint8)))
    assert not rows.any() and PaletteBranch().eval()(rows[None]).isfinite().all()


def test_the_branch_reads_a_set_of_colours() -> None:
    torch.manual_seed(0)
    branch, rows = PaletteBranch().eval(), torch.from_numpy(palette(IMAGES))
    shuffled = rows[torch.tensor([7, 2, 0, 5, 1, 3, 4, 6])]
    unlit = rows.clone()
    unlit[5, :3] = 0.4
    swapped = rows.clone()
    swapped[[0, 1], 3] = rows[[1, 0], 3]
    expected, *others = branch(torch.stack([rows, shuffled, unlit, swapped]))
    torch.testing.assert_close(others[0], expected)
    torch.testing.assert_close(others[1], expected)
    assert not torch.allclose(others[2], expected, atol=1e-3), "which colour has which area matters"


def test_without_it_the_network_is_the_one_of_before() -> None:
    model = tiny_model(seed=3).eval()
    assert not [name for name in model.state_dict() if "branch" in name or "retrieval" in name]
    assert model.head[0].in_features == model.backbone.num_features  # type: ignore[index]
    model.standardise(torch.randn(8, len(model.feature_mean)))
    with torch.inference_mode():
        features = model.backbone((noise().float() - model.mean) / model.std)
        standardised = (features - model.feature_mean) / model.feature_std
        assert torch.equal(model({"images": noise()}), model.target.decode(model.head(standardised).squeeze(1)))


def test_images_alone_are_the_views_of_one_crystal() -> None:
    model = tiny_model(palette=True, head_features="physics").eval()
    first, second = noise(3, seed=1), noise(3, seed=2)
    formulas = ["MgB2", "La1.85Sr0.15CuO4"]
    features = model.composition_inputs(formulas)["physics"]
    np.testing.assert_allclose(features.numpy(), composition_features(formulas, "physics"), rtol=1e-5, atol=1e-5)
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    both = {
        "images": torch.cat([first, second]),
        "palette": torch.cat([palette_of(first), palette_of(second)])[owner],
        "physics": features[owner],
    }
    with torch.inference_mode():
        alone = [model({"images": i, "physics": f[None]}) for i, f in zip((first, second), features, strict=True)]
        torch.testing.assert_close(model(both), torch.cat(alone), rtol=1e-4, atol=1e-4)
        mixed = model({**both, "palette": both["palette"].flip(0)})
    assert not torch.allclose(mixed, torch.cat(alone), atol=1e-4), "the palette is read"


def config(rendered: Rendered, folder: Path, **changes: Any) -> VisionConfig:
    folders: dict[str, Any] = {
        "data_dir": rendered.data_dir,
        "images_dir": rendered.images_dir,
        "cache_dir": folder / "c",
        "models_dir": folder / "m",
        "results_dir": folder / "r",
    }
    settings: dict[str, Any] = {"init": "random", "tune": "full", "backbone": TINY, "structures": "one", "epochs": 2}
    settings |= {"views_per_epoch": 2, "batch_size": 8, "image_size": 64, "device": "cpu", "precision": "fp32"}
    return VisionConfig(**{**folders, **settings, "palette": True, **changes})


def test_samples_carry_their_crystals_palette(rendered: Rendered, tmp_path: Path) -> None:
    task = prepare(config(rendered, tmp_path))
    train = task.datasets["train"]
    for index in (0, 1, 7):
        sample = train[index]
        images = np.stack([train.images.image(index // 2, view) for view in range(18)])  # type: ignore[attr-defined]
        assert np.array_equal(sample["palette"], palette(images))
        assert sample["palette"][:, 3].sum() == pytest.approx(1)


def test_a_linear_probe_reads_palettes_too(rendered: Rendered, tmp_path: Path) -> None:
    task = prepare(config(rendered, tmp_path, tune="head", views_per_epoch=None))
    batch = task.collate([task.datasets["train"][index] for index in (0, 1, 18)])
    assert batch["palette"].shape == (3, COLORS, 4) and torch.equal(batch["palette"][0], batch["palette"][1])
    assert task.model(batch).shape == (3,)


def test_a_training_its_checkpoint_and_a_cif_agree_and_resuming_is_exact(rendered: Rendered, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"head_features": "physics"}
    main(config(rendered, tmp_path / "a", **changes))
    stop_after_steps(3, lambda: main(config(rendered, tmp_path / "b", **changes)))
    main(config(rendered, tmp_path / "b", **changes))
    assert same_end(tmp_path / "a", tmp_path / "b", "dino", "dinov3_composition") == []
    table = pd.read_csv(tmp_path / "a/r/dinov3_composition_predictions.csv")
    model = load_model(tmp_path / "a/m/dino_best.pth")
    cifs = rendered.splits["test"].set_index("material_id").loc[table["material_id"], "cif"]
    assert [model.predict(cif) for cif in cifs] == pytest.approx(table["tc_pred"].tolist(), abs=0.02)
    assert model.reads == ["palette", "physics"]


def test_what_a_palette_cannot_be_counted_in_is_refused(rendered: Rendered, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"render the images with --image-size {SIZE}") as refused:
        prepare(config(rendered, tmp_path, image_size=SIZE))
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="leave out --augment-structure"):
        config(rendered, tmp_path, online_views=True, augment_structure=StructureAugmentation(strain=0.01))
