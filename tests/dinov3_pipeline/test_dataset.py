"""Samples depend on (seed, epoch, index) alone, and moving an image never touches a colour."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from dinov3_pipeline.dataset import Augmentation, FeatureDataset, ViewDataset, collate
from dinov3_pipeline.images import ImageArray, RenderedImages, StoredImages
from tests.dinov3_pipeline.conftest import OPTIONS, Rendered

SIZE = 64


@pytest.fixture(scope="module")
def train(rendered: Rendered) -> pd.DataFrame:
    return rendered.splits["train"]


@pytest.fixture(scope="module")
def images(rendered: Rendered, train: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> StoredImages:
    cache: Path = tmp_path_factory.mktemp("cache")
    return StoredImages(rendered.images_dir, train["material_id"].tolist(), SIZE, cache)


def colours(image: ImageArray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()}


def test_without_options_every_view_comes_once_in_order(train: pd.DataFrame, images: StoredImages) -> None:
    dataset = ViewDataset(train, images)
    assert len(dataset) == 16 * 18
    sample = dataset[5 * 18 + 7]
    assert np.array_equal(sample["image"], images.image(5, 7))
    assert (sample["material_id"], sample["tc"]) == (train["material_id"][5], np.float32(train["tc"][5]))


def test_an_epoch_shows_different_views_of_each_material(train: pd.DataFrame, images: StoredImages) -> None:
    dataset = ViewDataset(train, images, per_epoch=6, seed=3)
    shown: list[set[int]] = []
    for epoch in range(30):
        dataset.set_epoch(epoch)
        shown.append({dataset.view(4, slot) for slot in range(6)})
    assert all(len(views) == 6 for views in shown)
    assert set.union(*shown) == set(range(18))
    assert len({frozenset(views) for views in shown}) > 20


def test_more_views_than_there_are_come_round_again(train: pd.DataFrame, images: StoredImages) -> None:
    dataset = ViewDataset(train, images, per_epoch=40)
    counts = np.bincount([dataset.view(0, slot) for slot in range(40)])
    assert set(counts.tolist()) == {2, 3}


def samples(dataset: ViewDataset, epoch: int) -> list[bytes]:
    dataset.set_epoch(epoch)
    return [dataset[index]["image"].tobytes() for index in range(len(dataset))]


def test_samples_depend_on_seed_and_epoch_alone(train: pd.DataFrame, images: StoredImages) -> None:
    first = ViewDataset(train, images, per_epoch=2, augmentation=Augmentation(), seed=1)
    again = ViewDataset(train, images, per_epoch=2, augmentation=Augmentation(), seed=1)
    other = ViewDataset(train, images, per_epoch=2, augmentation=Augmentation(), seed=2)
    epochs = [samples(first, 0), samples(first, 1)]
    np.random.seed(0)  # noqa: NPY002 - must not matter
    assert samples(again, 1) == epochs[1]
    assert epochs[0] != epochs[1]
    assert samples(other, 1) != epochs[1]


def test_workers_give_the_same_batches(train: pd.DataFrame, images: StoredImages) -> None:
    dataset = ViewDataset(train, images, per_epoch=1, augmentation=Augmentation(), seed=1)
    dataset.set_epoch(3)
    alone, helped = (list(DataLoader(dataset, 8, num_workers=workers, collate_fn=collate)) for workers in (0, 1))
    assert len(alone) == 2
    assert all(torch.equal(one["images"], two["images"]) for one, two in zip(alone, helped, strict=True))


def test_moving_keeps_every_colour(images: StoredImages) -> None:
    random = np.random.default_rng(0)
    for material in range(16):
        original = images.image(material, 0)
        moved = Augmentation().apply(original, random)
        assert not np.array_equal(moved, original)
        assert colours(moved) <= colours(original) | {(0, 0, 0)}


def test_moving_keeps_what_is_where() -> None:
    image = np.zeros((65, 65, 3), np.uint8)
    image[32, 32:60] = (229, 234, 108)  # an arm to the right
    nowhere = Augmentation(rotation_degrees=0, scale=0, shift=0, flips=False)
    assert np.array_equal(nowhere.apply(image, np.random.default_rng(0)), image)
    turned = [Augmentation(scale=0, shift=0).apply(image, np.random.default_rng(n)) for n in range(40)]
    lit = np.array([(arm[..., 0] > 0).sum() for arm in turned])
    assert (np.abs(lit - 28) <= 12).all(), "the arm keeps its length (in pixels: up to sqrt 2)"
    assert all((arm[30:35, 30:35, 0] > 0).any() for arm in turned), "it keeps its foot in the middle"
    assert len({tuple(np.argwhere(arm[..., 0] > 0)[-1]) for arm in turned}) > 20


def test_scale_and_shift_stay_in_their_bounds() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, 30:70] = 255
    random = np.random.default_rng(0)
    stretch = Augmentation(rotation_degrees=0, shift=0.05, scale=0.1)
    for _ in range(100):
        rows = np.flatnonzero(stretch.apply(image, random).any((1, 2)))
        assert 35 <= len(rows) <= 45
        assert abs(rows.mean() - 49.5) <= 5.5


def test_fresh_views_differ_between_epochs_and_only_there(train: pd.DataFrame) -> None:
    dataset = ViewDataset(train.head(2), RenderedImages(train.head(2), SIZE, OPTIONS), per_epoch=3, fresh=True, seed=1)
    first, second, again = samples(dataset, 0), samples(dataset, 1), samples(dataset, 0)
    assert first == again
    assert not set(first[:3]) & set(second[:3])


def test_a_batch_is_uint8_and_channels_first(train: pd.DataFrame, images: StoredImages) -> None:
    dataset = ViewDataset(train, images)
    batch = collate([dataset[0], dataset[20]])
    assert (batch["images"].dtype, tuple(batch["images"].shape)) == (torch.uint8, (2, 3, SIZE, SIZE))
    assert np.array_equal(batch["images"][1, 2].numpy(), images.image(1, 2)[..., 2])
    assert batch["tc"].tolist() == pytest.approx(train["tc"][:2].tolist())


def test_features_replace_views(train: pd.DataFrame, images: StoredImages) -> None:
    features = np.arange(16 * 18 * 5, dtype=np.float32).reshape(-1, 5)
    dataset = FeatureDataset(ViewDataset(train, images), features)
    batch = collate([dataset[index] for index in (0, 17, 18)])
    assert batch["material_id"] == [train["material_id"][number] for number in (0, 0, 1)]
    assert torch.equal(batch["features"], torch.from_numpy(features[[0, 17, 18]]))
