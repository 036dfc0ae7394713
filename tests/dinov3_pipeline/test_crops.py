"""What the student sees: different views of one crystal, exact colours, windows with atoms, as many masked patches."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dinov3_pipeline.crops import CropDataset, Crops, collate_crops, rendered_views, window
from dinov3_pipeline.images import ImageArray
from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import views
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tests.dinov3_pipeline.conftest import sample_splits

SIDE, VIEWS, GRID = 32, 7, 4
OPTIONS = RenderOptions(image_size=32, bonds="none", supercells=("1x1x1", "2x2x1"), random_views=1)


def materials(count: int = 5) -> pd.DataFrame:
    return pd.DataFrame({"material_id": [f"m{n}" for n in range(count)], "tc": np.arange(count, dtype=float)})


def colored(count: int = 5) -> ImageArray:
    """View v of crystal m is a square of the colour (m + 1, v + 1, 200) on black."""
    images = np.zeros((count, VIEWS, SIDE, SIDE, 3), np.uint8)
    for crystal in range(count):
        for view in range(VIEWS):
            images[crystal, view, 8:24, 8:24] = (crystal + 1, view + 1, 200)
    return images


def dataset(crops: Crops = Crops(), **options: Any) -> CropDataset:  # noqa: B008 - frozen
    return CropDataset(materials(), colored(), crops, GRID, **options)


def color_of(image: ImageArray) -> tuple[int, ...]:
    """The one colour in an image that is not black."""
    colors = np.unique(image.reshape(-1, 3), axis=0)
    lit = colors[colors.any(1)]
    assert len(lit) == 1, "a colour that was not rendered"
    return tuple(lit[0].tolist())


def test_all_images_of_a_sample_are_different_views_of_its_crystal_in_exact_colours() -> None:
    shown = dataset()
    for epoch in range(5):
        shown.set_epoch(epoch)
        for crystal in range(5):
            sample = shown[crystal]
            colors = [color_of(image) for image in (*sample["large"], *sample["small"])]
            assert {color[0] for color in colors} == {crystal + 1} and {color[2] for color in colors} == {200}
            assert len({color[1] for color in colors}) == len(colors) == 6


def test_views_are_used_again_where_there_are_few() -> None:
    sample = CropDataset(materials(), colored()[:, :2], Crops(crops=3), GRID)[0]
    large = [color_of(image)[1] for image in sample["large"]]
    assert set(large) == {1, 2}
    assert [color_of(image)[1] for image in sample["small"]] == [large[0], large[1], large[0]]


def test_a_sample_depends_on_seed_epoch_and_crystal_alone() -> None:
    def large(seed: int = 0, epoch: int = 3, before: int | None = None) -> ImageArray:
        shown = dataset(seed=seed)
        shown.set_epoch(epoch)
        if before is not None:
            shown[before]
        return np.asarray(shown[1]["large"])

    assert np.array_equal(large(), large(before=0))
    assert not np.array_equal(large(), large(epoch=4))
    assert not np.array_equal(large(), large(seed=1))


def test_a_window_holds_one_of_the_atoms_and_stays_inside() -> None:
    random = np.random.default_rng(0)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for row, column in ((0, 0), (31, 31), (3, 28), (16, 16)):
        image[:] = 0
        image[row, column] = 255
        for _ in range(20):
            cut = window(image, 16, random)
            assert cut.shape == (16, 16, 3) and cut.any()
    assert window(np.zeros((SIDE, SIDE, 3), np.uint8), 16, random).shape == (16, 16, 3)


def test_as_many_patches_are_masked_as_asked_for() -> None:
    shown = dataset(Crops(masked_views=0.5, masked_patches=(0.25, 0.5)))
    counts = []
    for epoch in range(60):
        shown.set_epoch(epoch)
        counts += [mask.sum() for crystal in range(5) for mask in shown[crystal]["mask"]]
    masked = [count for count in counts if count]
    assert len(masked) / len(counts) == pytest.approx(0.5, abs=0.07)
    assert (min(masked), max(masked)) == (4, 8)


def test_a_batch_has_all_first_views_before_all_second_ones() -> None:
    shown = dataset()
    samples = [shown[crystal] for crystal in (3, 1)]
    batch = collate_crops(samples)
    assert batch["large"].shape == (4, 3, SIDE, SIDE) and batch["small"].shape == (8, 3, 16, 16)
    assert batch["material_id"] == ["m3", "m1"] and batch["tc"].tolist() == [3, 1]
    for number, (crystal, view) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        expected = torch.from_numpy(samples[crystal]["large"][view]).permute(2, 0, 1)
        assert torch.equal(batch["large"][number], expected)
        assert np.array_equal(batch["mask"][number], samples[crystal]["mask"][view])
    assert color_of(batch["small"][2].permute(1, 2, 0).numpy()) == color_of(samples[0]["small"][1])
    assert collate_crops([dataset(Crops(crops=0))[0]])["small"].shape[0] == 0


def test_views_are_rendered_once_and_are_the_renderer_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = sample_splits()["val"].head(2)
    images = rendered_views(table, OPTIONS, SIDE, tmp_path)
    assert images.shape == (2, len(view_names(OPTIONS)), SIDE, SIDE, 3)
    for shown, cif in zip(images, table["cif"], strict=True):
        assert np.array_equal(shown, views(read_crystal(Path(cif)), options=OPTIONS))
    monkeypatch.setattr("dinov3_pipeline.crops.draw_views", None)
    assert np.array_equal(rendered_views(table, OPTIONS, SIDE, tmp_path), images)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read .*; delete it"):
        rendered_views(table, OPTIONS, SIDE, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"crops": -1}, {"crop_size": 0}, {"scale": 1.0}, {"shift": -0.1}, {"masked_views": 0.0},
     {"masked_patches": (0.5, 0.1)}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
        Crops(**wrong)
