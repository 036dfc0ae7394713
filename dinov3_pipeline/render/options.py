"""What decides the pixels of an image; names of views and files; the options and the index recorded in a folder.

data/images/render_config.json is written before the first image, data/images/image_metadata.csv after the last.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import pandas as pd

from dinov3_pipeline.render.atoms import BondMode
from tc_common.errors import UserError
from tc_common.files import read_csv, read_json, write_csv, write_json

# Raised whenever the same options begin to give other pixels: images of an older version are then rendered again.
RENDERER_VERSION = 2
SUPERCELLS = ("1x1x1", "2x2x1", "2x2x2")
AXES = ("a", "b", "c")
MADE_BY = "python render_images.py"
INDEX_COLUMNS = ("image_path", "material_id", "split", "tc", "view", "supercell")
JOURNAL = "render_journal.jsonl"
LONGEST_STEM = 150
LIMITS = (("image_size", 32, 2048), ("seed", 0, 2**63 - 1), ("random_views", 1, 999), ("radius_scale", 0.05, 2))
VIEW = re.compile(r"([1-9])x([1-9])x([1-9])_(a|b|c|r\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """What decides the pixels; everything else (workers, folders) must not."""

    image_size: int = 224
    """Width and height in pixels (32 to 2048)."""
    seed: int = 42
    """Seed of the random rotations; each is drawn from (seed, crystal, view)."""
    bonds: BondMode = "crystal-nn"
    """How neighbours are found: pymatgen's CrystalNN, covalent radii + 0.4 Å, or no bonds."""
    views: Literal["all", "axes", "random"] = "all"
    """Along the axes a, b, c; random rotations; or both."""
    random_views: int = 3
    """Random rotations per supercell (1 to 999)."""
    supercells: tuple[str, ...] = SUPERCELLS
    """Repetitions along a, b, c, such as 2x2x1 (each 1 to 9)."""
    depth_cue: bool = False
    """Dim atoms by their distance from the viewer (colours are then no longer exact)."""
    radius_scale: float = 0.4
    """Disc radius as a fraction of the atomic radius (0.05 to 2); at 1 neighbours touch and hide their bonds."""

    def __post_init__(self) -> None:
        if self.bonds not in get_args(BondMode) or self.views not in ("all", "axes", "random"):
            raise ValueError(f"--bonds {self.bonds!r:.40}, --views {self.views!r:.40}: unknown; see --help")
        for name, least, most in LIMITS:
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"--{name.replace('_', '-')} {value}: from {least} to {most}")
        if not self.supercells or len(set(self.supercells)) < len(self.supercells):
            raise ValueError("--supercells: at least one, none of them twice")
        for supercell in self.supercells:
            if not re.fullmatch(r"[1-9]x[1-9]x[1-9]", supercell):
                raise ValueError(f"--supercells {supercell}: write it as 2x2x1, each number from 1 to 9")

    def fingerprint(self) -> str:
        """Hex digest (16 characters) of all that decides the pixels of a structure."""
        settings = json.dumps([RENDERER_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


def view_names(options: RenderOptions) -> tuple[str, ...]:
    """Names of the views in the order of the index, such as `2x2x1_a` or `1x1x1_r0`."""
    axes = AXES if options.views in ("all", "axes") else ()
    turns = tuple(f"r{number}" for number in range(options.random_views)) if options.views != "axes" else ()
    return tuple(f"{supercell}_{direction}" for supercell in options.supercells for direction in axes + turns)


def parse_view(name: str) -> tuple[tuple[int, int, int], str]:
    """Split `2x2x1_r0` into ((2, 2, 1), "r0").

    Raises:
        UserError: not a view's name.
    """
    match = VIEW.fullmatch(name)
    if match is None:
        raise UserError(f"{name!r} is no view; write it as 2x2x1_a (a, b, c) or 2x2x1_r0 (r0, r1, …)")
    return (int(match[1]), int(match[2]), int(match[3])), match[4]


def image_name(material_id: str, view: str) -> str:
    """File name of one view: no separators, no leading dot, and never the same for two materials."""
    stem = quote(material_id, safe="+,=()")
    if stem.startswith("."):
        stem = f"%2E{stem[1:]}"
    if len(stem) > LONGEST_STEM:
        stem = f"{stem[:100]}%~{hashlib.sha256(material_id.encode()).hexdigest()[:32]}"
    return f"{stem}_{view}.png"


def write_index(
    images_dir: Path, splits: dict[str, pd.DataFrame], rendered: set[tuple[str, str]], options: RenderOptions
) -> pd.DataFrame:
    """Write the index: one row for each view of each material in `rendered` (split, id), in the order of the splits.

    `image_path` begins with `images_dir` as it was given, `tc` is in kelvin.
    """
    rows = [
        (str(images_dir / name / image_name(row.material_id, view)), row.material_id, name, row.tc, view)
        for name, table in splits.items()
        for row in table.itertuples()
        if (name, row.material_id) in rendered
        for view in view_names(options)
    ]
    index = pd.DataFrame(rows, columns=list(INDEX_COLUMNS[:-1]))
    index = index.assign(supercell=[view.split("_")[0] for view in index["view"]])
    write_csv(images_dir / "image_metadata.csv", index)
    return index


def read_image_index(images_dir: Path) -> pd.DataFrame:
    """Read the index (`INDEX_COLUMNS`) of a folder of images.

    Raises:
        UserError: there is none.
    """
    return read_csv(images_dir / "image_metadata.csv", INDEX_COLUMNS, f"{MADE_BY} --out {images_dir}")


def record_options(images_dir: Path, options: RenderOptions) -> None:
    """Write render_config.json; delete index and journal of other options first."""
    record = _record(options)
    if _recorded(images_dir) == record:
        return
    for outdated in ("image_metadata.csv", JOURNAL):
        (images_dir / outdated).unlink(missing_ok=True)
    write_json(images_dir / "render_config.json", record)


def read_render_options(images_dir: Path) -> RenderOptions:
    """The options with which the images in a folder were rendered.

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
        raise UserError(f"{images_dir} was rendered by another version of the renderer; {again}")
    return options


def _record(options: RenderOptions) -> dict[str, Any]:
    plain = asdict(options) | {"supercells": list(options.supercells)}
    return {"fingerprint": options.fingerprint(), "options": plain}


def _recorded(images_dir: Path) -> dict[str, Any] | None:
    path = images_dir / "render_config.json"
    try:
        return read_json(path) if path.exists() else None
    except UserError as error:
        raise UserError(f"{error}; delete it and run {MADE_BY} again") from error
