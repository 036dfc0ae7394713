"""The index of the image files and the options they were drawn with.

data/images/render_config.json is written before the first image, data/images/image_metadata.csv after the last.
"""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dinov3_pipeline.render.options import RenderOptions, view_names
from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv, write_json

MADE_BY = "python render_images.py"
INDEX_COLUMNS = ("image_path", "material_id", "split", "tc", "view", "supercell")
JOURNAL = "render_journal.jsonl"
LONGEST_STEM = 150


def image_name(material_id: str, view: str) -> str:
    """File name of one view: no separators, no leading dot, and never the same for two materials."""
    stem = quote(material_id, safe="+,=()")
    if stem.startswith("."):
        stem = f"%2E{stem[1:]}"
    if len(stem) > LONGEST_STEM:
        stem = f"{stem[:100]}%~{hashlib.sha256(material_id.encode()).hexdigest()[:32]}"
    return f"{stem}_{view}.png"


def write_index(
    images_dir: Path, splits: dict[str, pd.DataFrame], drawn: set[tuple[str, str]], options: RenderOptions
) -> pd.DataFrame:
    """Write the index: one row for each view of each material in `drawn` (split, id), in the order of the splits.

    `image_path` begins with `images_dir` as it was given, `tc` is in kelvin.
    """
    rows = [
        (str(images_dir / name / image_name(row.material_id, view)), row.material_id, name, row.tc, view)
        for name, table in splits.items()
        for row in table.itertuples()
        if (name, row.material_id) in drawn
        for view in view_names(options)
    ]
    index = pd.DataFrame(rows, columns=list(INDEX_COLUMNS[:-1]))
    index = index.assign(supercell=[view.split("_")[0] for view in index["view"]])
    write_csv(images_dir / "image_metadata.csv", index)
    return index


def read_image_index(images_dir: Path, expected: RenderOptions | None = None) -> pd.DataFrame:
    """Read the index (`INDEX_COLUMNS`) of images that were drawn with the `expected` options (None: any).

    Raises:
        UserError: there is no index, or its images were drawn with other options.
    """
    index = read_csv(images_dir / "image_metadata.csv", INDEX_COLUMNS, f"{MADE_BY} --out {images_dir}")
    recorded = read_render_options(images_dir)
    if expected is not None and recorded != expected:
        raise UserError(f"{images_dir} was drawn with {_differences(recorded, expected)}; run {MADE_BY} again")
    return index


def _differences(recorded: RenderOptions, expected: RenderOptions) -> str:
    pairs = [(f.name, getattr(recorded, f.name), getattr(expected, f.name)) for f in fields(RenderOptions)]
    return "; ".join(f"{name} {was} instead of {wanted}" for name, was, wanted in pairs if was != wanted)


def record_options(images_dir: Path, options: RenderOptions) -> None:
    """Write render_config.json; where other options were recorded, take their index and journal away first."""
    record = _record(options)
    if _recorded(images_dir) == record:
        return
    for outdated in ("image_metadata.csv", JOURNAL):
        (images_dir / outdated).unlink(missing_ok=True)
    write_json(images_dir / "render_config.json", record)


def read_render_options(images_dir: Path) -> RenderOptions:
    """The options with which the images in a folder were drawn.

    Raises:
        UserError: none are recorded, or by another version of the renderer.
    """
    again = f"run {MADE_BY} --out {images_dir}"
    recorded = _recorded(images_dir)
    if recorded is None:
        raise UserError(f"{images_dir}/render_config.json is missing; {again}")
    try:
        options = RenderOptions(**recorded["options"] | {"supercells": tuple(recorded["options"]["supercells"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{images_dir}/render_config.json is not usable ({error}); {again}") from error
    if _record(options) != recorded:
        raise UserError(f"{images_dir} was drawn by another version of the renderer; {again}")
    return options


def _record(options: RenderOptions) -> dict[str, Any]:
    plain = asdict(options) | {"supercells": list(options.supercells)}
    return {"fingerprint": options.fingerprint(), "options": plain}


def _recorded(images_dir: Path) -> Any:
    path = images_dir / "render_config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and run {MADE_BY} again") from error
