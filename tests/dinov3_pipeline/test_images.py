"""Images are the exact pixels of the files, bad files stop the run before it begins, rendering gives the same."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinov3_pipeline.images import RenderedImages, StoredImages, resized
from dinov3_pipeline.render.options import view_names
from tc_common.errors import UserError
from tests.dinov3_pipeline.conftest import OPTIONS, Rendered

SIZE = 64


def stored(rendered: Rendered, cache: Path, size: int = SIZE, images_dir: Path | None = None) -> StoredImages:
    ids = rendered.splits["val"]["material_id"].tolist()
    return StoredImages(images_dir or rendered.images_dir, ids, size, cache)


@pytest.fixture
def copied(rendered: Rendered, tmp_path: Path) -> Path:
    """Images that a test may spoil."""
    folder = tmp_path / "images"
    shutil.copytree(rendered.images_dir, folder)
    index = pd.read_csv(folder / "image_metadata.csv")
    index["image_path"] = index["image_path"].str.replace(str(rendered.images_dir), str(folder))
    index.to_csv(folder / "image_metadata.csv", index=False)
    return folder


def test_stored_images_are_the_files_pixels_in_rgb(rendered: Rendered, tmp_path: Path) -> None:
    images = stored(rendered, tmp_path)
    index = pd.read_csv(rendered.images_dir / "image_metadata.csv").set_index(["material_id", "view"])["image_path"]
    for number, material_id in enumerate(rendered.splits["val"]["material_id"]):
        for view, name in enumerate(view_names(OPTIONS)):
            file = cv2.imread(index[material_id, name])
            assert file is not None
            assert np.array_equal(images.image(number, view), file[..., ::-1])


def test_drawn_images_equal_the_stored_ones(rendered: Rendered, tmp_path: Path) -> None:
    images, drawn = stored(rendered, tmp_path), RenderedImages(rendered.splits["val"], SIZE, OPTIONS)
    for material in range(4):
        for view in range(18):
            assert np.array_equal(images.image(material, view), drawn.image(material, view))


def test_fresh_views_are_new_rotations(rendered: Rendered) -> None:
    drawn = RenderedImages(rendered.splits["val"], SIZE, OPTIONS)
    fresh = [drawn.image(1, number).tobytes() for number in (*range(18), 18, 21, 1000003)]
    assert len(set(fresh[-3:])) == 3
    assert not set(fresh[-3:]) & set(fresh[:18])


def test_files_are_decoded_once(rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stored(rendered, tmp_path)
    monkeypatch.setattr(Image, "open", lambda _: pytest.fail("decoded again"))
    assert np.array_equal(stored(rendered, tmp_path).image(2, 5), first.image(2, 5))


def test_a_file_drawn_again_is_decoded_again(rendered: Rendered, copied: Path, tmp_path: Path) -> None:
    stored(rendered, tmp_path, images_dir=copied)
    path = next(copied.glob("val/*_1x1x1_a.png"))
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    cv2.imwrite(str(path), white)
    images = stored(rendered, tmp_path, images_dir=copied)
    assert any(np.array_equal(images.image(material, 0), white) for material in range(4))


def test_images_travel_to_other_processes_by_name(rendered: Rendered, tmp_path: Path) -> None:
    images = stored(rendered, tmp_path)
    parcel = pickle.dumps(images)
    assert len(parcel) < 2000
    assert np.array_equal(pickle.loads(parcel).image(3, 17), images.image(3, 17))  # noqa: S301 - our own


def test_shrinking_keeps_the_mean_colour(rendered: Rendered, tmp_path: Path) -> None:
    images, small = stored(rendered, tmp_path), stored(rendered, tmp_path, size=32)
    for view in range(18):
        large = images.image(0, view)
        assert small.image(0, view).shape == (32, 32, 3)
        assert np.allclose(small.image(0, view).mean((0, 1)), large.mean((0, 1)), atol=0.5)
    assert resized(np.zeros((8, 8, 3), np.uint8), 8).shape == (8, 8, 3)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((80, 80, 3), np.uint8))


def grey(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((SIZE, SIZE), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "is missing"),
        (cut, "cannot be read"),
        (empty, "cannot be read"),
        (grow, "not 64 x 64 RGB"),
        (grey, "not 64 x 64 RGB"),
    ],
)
def test_a_bad_image_is_named_before_anything_begins(
    spoil: Callable[[Path], None], message: str, rendered: Rendered, copied: Path, tmp_path: Path
) -> None:
    path = sorted(copied.glob("val/*.png"))[20]
    spoil(path)
    with pytest.raises(UserError, match=message) as refused:
        stored(rendered, tmp_path / "cache", images_dir=copied)
    assert path.name in str(refused.value)
    assert not list(tmp_path.glob("cache/*.npy"))


def test_a_material_without_its_views_is_named(rendered: Rendered, copied: Path, tmp_path: Path) -> None:
    index = pd.read_csv(copied / "image_metadata.csv")
    lacking = rendered.splits["val"]["material_id"][2]
    index = index[(index["material_id"] != lacking) | (index["view"] != "2x2x1_b")]
    index.to_csv(copied / "image_metadata.csv", index=False)
    with pytest.raises(UserError, match=f"no view 2x2x1_b of {lacking}"):
        stored(rendered, tmp_path, images_dir=copied)


def test_images_of_another_render_configuration_are_refused(rendered: Rendered, copied: Path, tmp_path: Path) -> None:
    config = copied / "render_config.json"
    config.write_text(config.read_text().replace('"radius_scale": 0.4', '"radius_scale": 0.5'))
    with pytest.raises(UserError, match="another version of the renderer"):
        stored(rendered, tmp_path, images_dir=copied)


def test_a_damaged_cache_says_what_to_delete(rendered: Rendered, tmp_path: Path) -> None:
    stored(rendered, tmp_path)
    file = next(tmp_path.glob("images_*.npy"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{file.name}.*delete it"):
        stored(rendered, tmp_path)
