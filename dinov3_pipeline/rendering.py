"""Crystal -> pictures: orthographic discs on black, coloured by physics, painted far to near.

    geometry = prepare(structure, options)                   # once per material: atoms, colours, bonds of one cell
    images = draw_views(geometry, names, material_id, options)  # each view: one repetition, one rotation, one painting

Shapes: n atoms of the unit cell, N of the supercell, K half-bonds of the unit cell, V views; H = W = image size.
No anti-aliasing: every pixel is an atom's exact colour, the bonds' grey or black.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Structure
from scipy.spatial.transform import Rotation

from dinov3_pipeline.bonds import BondMode, find_bonds
from dinov3_pipeline.physics_colors import chemical_symbol, site_color
from tc_common.crystals import check_crystal
from tc_common.errors import UserError

# Raised whenever the same options begin to give other pixels: images of an older version are then drawn again.
RENDERER_VERSION = 1
SUPERCELLS = ("1x1x1", "2x2x1", "2x2x2")
AXES = ("a", "b", "c")
BOND_GREY = 80
# Slater's radii are those of bonded atoms, which touch; drawn smaller, bonds and the atoms behind become visible.
FALLBACK_RADIUS_A = 1.5
BORDER_PX = 3
FARTHEST_BRIGHTNESS = 0.35
# Below a thousandth of a pixel positions are round-off; ties are always broken upwards, on every machine.
TIE = 1e-4
# A coordinate of 0.99999 is an atom on the face at 0.
FACE = 1e-3
VIEW = re.compile(r"([1-9]\d?)x([1-9]\d?)x([1-9]\d?)_(a|b|c|r\d+)")

Matrix = NDArray[np.float64]


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
    """Disc radius as a share of the atomic radius (0.05 to 2)."""

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
        return hashlib.sha256(repr((RENDERER_VERSION, sorted(asdict(self).items()))).encode()).hexdigest()[:16]


def view_names(options: RenderOptions) -> tuple[str, ...]:
    """Names of the views in the order of the index, such as `2x2x1_a` or `1x1x1_r0`."""
    axes = AXES if options.views in ("all", "axes") else ()
    turns = tuple(f"r{number}" for number in range(options.random_views)) if options.views != "axes" else ()
    return tuple(f"{supercell}_{direction}" for supercell in options.supercells for direction in axes + turns)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One unit cell ready for drawing; the first site lies at the origin, all others within the cell."""

    lattice_A: Matrix
    """(3, 3) lattice vectors as rows, Å."""
    positions_A: Matrix
    """(n, 3) Cartesian, Å."""
    radii_A: NDArray[np.float64]
    """(n,) disc radii, Å."""
    colors: NDArray[np.uint8]
    """(n, 3) RGB."""
    stars_A: Matrix
    """(2K, 3) a walk along the half-bonds: atom, bond centre, atom, bond centre, …, sorted by atom; Å."""
    star_starts: NDArray[np.int64]
    """(n + 1,) first row of each atom's walk in `stars_A`."""
    bond_failures: tuple[str, ...]
    """Sites whose bonds could not be found, with the reason."""


def views(
    structure: Structure,
    *,
    material_id: str,
    options: RenderOptions | None = None,
    names: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """Draw a structure: (V, H, W, 3) RGB, by default the views of the image files, with the same pixels.

    Args:
        names: views to draw; any `<supercell>_<a|b|c|r0, r1, …>`, so fresh rotations can be asked for by number.

    Raises:
        CrystalError: the structure has a site that is no element, or is empty or too large.
    """
    options = options or RenderOptions()
    return draw_views(prepare(structure, options), names or view_names(options), material_id, options)


def prepare(structure: Structure, options: RenderOptions) -> Geometry:
    """Atoms, colours and bonds of one unit cell, the slow part (CrystalNN takes milliseconds a site).

    Raises:
        CrystalError: see `views`.
    """
    check_crystal(structure)
    sites = [{chemical_symbol(species): share for species, share in site.species.items()} for site in structure]
    bonds = find_bonds(structure, options.bonds)
    positions_A = _wrapped(structure)
    atoms = np.repeat(positions_A[bonds.center], 2, axis=0)
    atoms[1::2] += bonds.vectors_A(structure) / 2
    return Geometry(
        lattice_A=structure.lattice.matrix,
        positions_A=positions_A,
        radii_A=options.radius_scale * np.array([_site_radius_A(site) for site in sites]),
        colors=np.array([site_color(site) for site in sites]),
        stars_A=atoms,
        star_starts=2 * np.searchsorted(bonds.center, np.arange(len(structure) + 1)),
        bond_failures=bonds.failures,
    )


def _wrapped(structure: Structure) -> Matrix:
    """(n, 3) positions in Å, the same for every choice of origin and of periodic images."""
    fractional = structure.frac_coords - structure.frac_coords[0]
    return ((fractional + FACE) % 1 - FACE) @ structure.lattice.matrix


def _site_radius_A(occupancies: dict[str, float]) -> float:
    """Atomic radius (Slater, else calculated) averaged over the site's elements; a vacancy does not shrink it."""
    elements = [Element(symbol) for symbol in occupancies]
    radii_A = [float(e.atomic_radius or e.atomic_radius_calculated or FALLBACK_RADIUS_A) for e in elements]
    return float(np.average(radii_A, weights=list(occupancies.values())))


@dataclass(frozen=True)
class _Scene:
    """A supercell: the geometry repeated."""

    edges_A: Matrix  # (3, 3)
    positions_A: Matrix  # (N, 3)
    radii_A: NDArray[np.float64]  # (N,)
    colors: NDArray[np.uint8]  # (N, 3)
    stars_A: Matrix
    star_starts: NDArray[np.int64]  # (N + 1,)


def _repeat(geometry: Geometry, repetitions: tuple[int, int, int]) -> _Scene:
    cells = np.indices(repetitions).reshape(3, -1).T  # (C, 3)
    shifts_A = (cells @ geometry.lattice_A)[:, None]
    offsets = np.arange(len(cells))[:, None] * len(geometry.stars_A)
    return _Scene(
        edges_A=geometry.lattice_A * np.array(repetitions)[:, None],
        positions_A=(geometry.positions_A + shifts_A).reshape(-1, 3),
        radii_A=np.tile(geometry.radii_A, len(cells)),
        colors=np.tile(geometry.colors, (len(cells), 1)),
        stars_A=(geometry.stars_A + shifts_A).reshape(-1, 3),
        star_starts=np.append((geometry.star_starts[:-1] + offsets).ravel(), len(cells) * len(geometry.stars_A)),
    )


def draw_views(
    geometry: Geometry, names: Sequence[str], material_id: str, options: RenderOptions
) -> NDArray[np.uint8]:
    """Draw the named views of one material: (V, H, W, 3) RGB."""
    images = np.zeros((len(names), options.image_size, options.image_size, 3), np.uint8)
    scenes: dict[tuple[int, int, int], _Scene] = {}
    for image, name in zip(images, names, strict=True):
        repetitions, direction = parse_view(name)
        if repetitions not in scenes:
            scenes[repetitions] = _repeat(geometry, repetitions)
        rotation = view_rotation(geometry.lattice_A, direction, (options.seed, material_id, name))
        _draw(image, scenes[repetitions], rotation, options)
    return images


def parse_view(name: str) -> tuple[tuple[int, int, int], str]:
    """Split `2x2x1_r0` into ((2, 2, 1), "r0").

    Raises:
        UserError: not a view's name.
    """
    match = VIEW.fullmatch(name)
    if match is None:
        raise UserError(f"{name!r} is no view; write it as 2x2x1_a (a, b, c) or 2x2x1_r0 (r0, r1, …)")
    return (int(match[1]), int(match[2]), int(match[3])), match[4]


def view_rotation(lattice_A: Matrix, direction: str, source: tuple[int, str, str]) -> Matrix:
    """(3, 3) proper rotation with rows right, up, towards the viewer.

    Along a lattice vector the viewer looks down it, with c up (b for the view along c). A random direction is uniform
    over rotations, its generator seeded with `source` = (seed, material_id, view) alone.
    """
    if direction not in AXES:
        return Rotation.random(None, generator(*source)).as_matrix()
    towards = lattice_A[AXES.index(direction)]
    above = lattice_A[1 if direction == "c" else 2]
    z = towards / np.linalg.norm(towards)
    y = above - (above @ z) * z
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])


def generator(seed: int, material_id: str, view: str) -> np.random.Generator:
    """A generator that depends on nothing but its three arguments."""
    digest = hashlib.sha256(repr((seed, material_id, view)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def _draw(image: NDArray[np.uint8], scene: _Scene, rotation: Matrix, options: RenderOptions) -> None:
    atoms = scene.positions_A @ rotation.T
    stars = scene.stars_A @ rotation.T
    middle, pixels_per_A = _frame(scene, rotation, atoms, stars, options.image_size)
    to_pixels = np.array([pixels_per_A, -pixels_per_A])
    center = (options.image_size - 1) / 2
    disc_px = _round((atoms[:, :2] - middle) * to_pixels + center)
    star_px = _round((stars[:, :2] - middle) * to_pixels + center)
    radii_px = np.maximum(_round(scene.radii_A * pixels_per_A), 1)
    depth = np.floor(atoms[:, 2] / TIE + 0.123456)  # equal depths stay equal under round-off
    brightness = _brightness(atoms[:, 2]) if options.depth_cue else np.ones(len(atoms))
    order = np.argsort(depth, kind="stable")
    _paint(image, order, disc_px, radii_px, scene.colors, star_px, scene.star_starts, brightness)


def _frame(
    scene: _Scene, rotation: Matrix, atoms: Matrix, stars: Matrix, image_size: int
) -> tuple[NDArray[np.float64], float]:
    """Centre (Å, in the picture's plane) and scale (pixels per Å) at which all discs and half-bonds fit.

    The supercell's own extent counts too, so that discs are drawn in proportion to the lattice constants.
    """
    low = (atoms[:, :2] - scene.radii_A[:, None]).min(axis=0)
    high = (atoms[:, :2] + scene.radii_A[:, None]).max(axis=0)
    if len(stars):
        low = np.minimum(low, stars[:, :2].min(axis=0))
        high = np.maximum(high, stars[:, :2].max(axis=0))
    cell = np.abs(scene.edges_A @ rotation[:2].T).sum(axis=0)
    return (low + high) / 2, float((image_size - 2 * BORDER_PX) / max((high - low).max(), cell.max()))


def _round(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.floor(pixels + 0.5 + TIE).astype(np.int32)


def _brightness(towards_viewer: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the nearest atom, falling linearly to FARTHEST_BRIGHTNESS."""
    behind = towards_viewer.max() - towards_viewer
    return 1 - (1 - FARTHEST_BRIGHTNESS) * behind / max(behind.max(), 1e-9)


def _paint(
    image: NDArray[np.uint8],
    order: NDArray[np.int64],
    disc_px: NDArray[np.int32],
    radii_px: NDArray[np.int32],
    colors: NDArray[np.uint8],
    star_px: NDArray[np.int32],
    star_starts: NDArray[np.int64],
    brightness: NDArray[np.float64],
) -> None:
    """Far to near: an atom's half-bonds, then a black rim, then its disc.

    Each half of a bond is drawn just behind its own atom, which puts the nearer half in front of what lies between.
    """
    line_px = max(1, round(image.shape[0] / 224))
    discs = disc_px.tolist()
    radii = radii_px.tolist()
    shades = np.rint(colors * brightness[:, None]).astype(int).tolist()
    greys = np.rint(BOND_GREY * brightness).astype(int).tolist()
    starts = star_starts.tolist()
    for atom in order.tolist():
        if starts[atom] < starts[atom + 1]:
            walk = star_px[starts[atom] : starts[atom + 1]]
            cv2.polylines(image, [walk], False, (greys[atom],) * 3, line_px)
        cv2.circle(image, discs[atom], radii[atom] + line_px, (0, 0, 0), cv2.FILLED)
        cv2.circle(image, discs[atom], radii[atom], shades[atom], cv2.FILLED)
