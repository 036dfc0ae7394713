"""What decides the pixels of a picture, and the names of the views."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Literal

from dinov3_pipeline.render.bonds import BondMode
from tc_common.errors import UserError

# Raised whenever the same options begin to give other pixels: images of an older version are then drawn again.
RENDERER_VERSION = 1
SUPERCELLS = ("1x1x1", "2x2x1", "2x2x2")
AXES = ("a", "b", "c")
VIEW = re.compile(r"([1-9])x([1-9])x([1-9])_(a|b|c|r\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """What decides the pixels; everything else (workers, folders) must not."""

    image_size: int = 224
    """Width and height in pixels (32 to 2048)."""
    seed: int = 42
    """Seed of the random rotations; each is drawn from (seed, material_id, view)."""
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
    """Disc radius as a share of the atomic radius (0.05 to 2); at 1 neighbours touch and hide their bonds."""

    def __post_init__(self) -> None:
        if not 32 <= self.image_size <= 2048:
            raise ValueError(f"--image-size {self.image_size}: from 32 to 2048 pixels")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed {self.seed}: from 0 to 2^63 - 1")
        if not 1 <= self.random_views <= 999:
            raise ValueError(f"--random-views {self.random_views}: from 1 to 999")
        if not 0.05 <= self.radius_scale <= 2:
            raise ValueError(f"--radius-scale {self.radius_scale}: from 0.05 to 2")
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
