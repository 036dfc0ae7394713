"""A rendered data set that the tests of this room read."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from dinov3_pipeline.render.jobs import material_rows, render_material
from dinov3_pipeline.render.options import RenderOptions, record_options, write_index
from tc_common.splits import SPLIT_COLUMNS, write_splits

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "sample.csv"
OPTIONS = RenderOptions(image_size=64, bonds="none")


@dataclass(frozen=True)
class Rendered:
    """Split files and images of 16 + 4 + 4 sample materials."""

    data_dir: Path
    images_dir: Path
    splits: dict[str, pd.DataFrame]


def sample_splits() -> dict[str, pd.DataFrame]:
    """Every eleventh material of the shipped sample: 16 to train on, 4 to validate, 4 to test."""
    sample = pd.read_csv(SAMPLE).sort_values("material_id").iloc[::11].head(24)
    table = sample.assign(weight=1.0).reindex(columns=[*SPLIT_COLUMNS])
    table["cif"] = [str(SAMPLE.parents[2] / cif) for cif in table["cif"]]
    pieces = {"train": slice(0, 16), "val": slice(16, 20), "test": slice(20, 24)}
    return {name: table[list(SPLIT_COLUMNS)].iloc[piece].reset_index(drop=True) for name, piece in pieces.items()}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Images of 64 pixels, 18 views a material; tests read them and change copies only."""
    folder, splits = tmp_path_factory.mktemp("rendered"), sample_splits()
    data_dir, images_dir = folder / "processed", folder / "images"
    for name in splits:
        (images_dir / name).mkdir(parents=True)
    write_splits(data_dir, splits)
    record_options(images_dir, OPTIONS)
    rows = material_rows(splits, images_dir)
    results = [render_material(row, OPTIONS) for row in rows]
    assert not any(result.skipped for result in results)
    write_index(images_dir, splits, {(row.split, row.material_id) for row in rows}, OPTIONS)
    return Rendered(data_dir, images_dir, splits)
