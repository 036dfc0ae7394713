"""What there is to do in the pictures of 3DSC: patches that show anything, and views that symmetry makes equal.

    SUPERVISION_DATA=... python -m benchmarks.picture_content    # 200 random crystals, 224 pixels: a minute

Empty patches can be skipped (`--skip-empty-patches`); a view that equals an earlier one of its crystal, pixel by
pixel, is computed once in prediction. Writes `benchmarks/results/picture_content.json`.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._machine import machine
from benchmarks._real_crystals import sample_3dsc, unpack_3dsc
from benchmarks.vision_speed import content
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from tc_common.cli import parse, run
from tc_common.crystals import CrystalError, read_crystal
from tc_common.environment import git_commit
from tc_common.files import write_json

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class ContentConfig:
    """Which pictures."""

    crystals: int = 200
    """Random crystals of 3DSC (>= 1)."""
    seed: int = 0
    """Seed of the choice."""
    image_size: int = 224
    """Side of the images in pixels, a multiple of 16."""
    out: Path = ROOT / "benchmarks/results/picture_content.json"
    """File of the result."""


def main(config: ContentConfig) -> None:
    """Render, count, write; without the real data, say so and stop."""
    options, pictures, unread = RenderOptions(image_size=config.image_size), [], []
    with tempfile.TemporaryDirectory() as name:
        source = unpack_3dsc(Path(name) / "3dsc")
        if source is None:
            return
        for row in sample_3dsc(source, config.crystals, config.seed).itertuples():
            try:
                pictures.append(views(read_crystal(Path(str(row.cif))), options=options))
            except CrystalError:
                unread.append(str(row.material_id))
    report = {
        "command": f"python -m benchmarks.picture_content --crystals {config.crystals} --seed {config.seed}",
        **content(np.stack(pictures)),
        "unread": unread,
        "machine": machine(),
        "git_commit": git_commit(),
    }
    write_json(config.out, report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    run(lambda: main(parse(ContentConfig, prog="python -m benchmarks.picture_content", description=__doc__ or "")))
