"""Crystal -> images: orthographic discs on black, coloured by physics, painted far to near.

    geometry = prepare(structure, options)           # once per material: atoms, colours, bonds
    images = draw_views(geometry, names, options)    # each view: repeat, rotate, paint

Shapes: n atoms of the unit cell, N of a supercell of C cells, K half-bonds of the unit cell, V views,
H = W = image size.
No anti-aliasing: every pixel is an atom's exact colour, the bonds' grey or black.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymatgen.core import Element, Structure

from dinov3_pipeline.render.atoms import chemical_symbol, find_bonds, site_color
from dinov3_pipeline.render.options import AXES, RenderOptions, parse_view, view_names
from tc_common.crystals import check_crystal

BOND_GREY = 80
BLACK = (0, 0, 0)
FALLBACK_RADIUS_A = 1.5
# Hydrogen's 0.25 Å would vanish beneath its own bonds.
SMALLEST_RADIUS_A = 0.5
FARTHEST_BRIGHTNESS = 0.35
# Below a thousandth of a pixel positions are round-off; ties are always broken upwards, on every machine.
TIE = 1e-4
# A coordinate of 0.99999 is an atom on the face at 0.
FACE = 1e-3
# Steps in which `crystal_digest` reads lengths in Å, angles in degrees and occupancies, and fractional coordinates;
# the offset keeps round values such as 1/2 off the border between two steps.
CELL_STEP, COORDINATE_STEP, STEP_OFFSET = 1e-3, 1e-4, 0.123456

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One unit cell ready for drawing; the first site is at the origin, all others within the cell."""

    digest: str
    """What the crystal is, see `crystal_digest`; seeds the random rotations."""
    lattice_A: Matrix
    """(3, 3) lattice vectors as rows, Å."""
    positions_A: Matrix
    """(n, 3) Cartesian, Å."""
    radii_A: NDArray[np.float64]
    """(n,) disc radii, Å."""
    colors: NDArray[np.uint8]
    """(n, 3) RGB."""
    half_bonds_A: Matrix
    """(2K, 3) a walk along the half-bonds: atom, bond centre, atom, bond centre, …, sorted by atom; Å."""
    half_bond_starts: NDArray[np.int64]
    """(n + 1,) first row of each atom's walk in `half_bonds_A`."""
    bond_failures: tuple[str, ...]
    """Sites whose bonds could not be found, with the reason."""


def views(
    structure: Structure, *, options: RenderOptions | None = None, names: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Render a structure: (V, H, W, 3) RGB, by default the views of the image files, with the same pixels.

    Args:
        names: views to render; any `<supercell>_<a|b|c|r0, r1, …>`, so fresh rotations can be asked for by number.

    Raises:
        CrystalError: the structure has a site that is no element, or is empty or too large.
    """
    options = options or RenderOptions()
    return draw_views(prepare(structure, options), names or view_names(options), options)


def prepare(structure: Structure, options: RenderOptions) -> Geometry:
    """Atoms, colours and bonds of one unit cell, the slow part (CrystalNN takes milliseconds a site).

    Raises:
        CrystalError: see `views`.
    """
    check_crystal(structure)
    sites = [{chemical_symbol(species): amount for species, amount in site.species.items()} for site in structure]
    bonds = find_bonds(structure, options.bonds)
    fractional = _wrapped(structure)
    positions_A = fractional @ structure.lattice.matrix
    atoms = np.repeat(positions_A[bonds.center], 2, axis=0)
    atoms[1::2] += bonds.vectors_A(structure) / 2
    return Geometry(
        digest=crystal_digest(structure, sites, fractional),
        lattice_A=structure.lattice.matrix,
        positions_A=positions_A,
        radii_A=options.radius_scale * np.array([_site_radius_A(site) for site in sites]),
        colors=np.array([site_color(site) for site in sites]),
        half_bonds_A=atoms,
        half_bond_starts=2 * np.searchsorted(bonds.center, np.arange(len(structure) + 1)),
        bond_failures=bonds.failures,
    )


def _wrapped(structure: Structure) -> Matrix:
    """(n, 3) fractional coordinates, the same for every choice of origin and of periodic images."""
    return (structure.frac_coords - structure.frac_coords[0] + FACE) % 1 - FACE


def crystal_digest(structure: Structure, sites: Sequence[dict[str, float]], fractional: Matrix) -> str:
    """Hex digest of lattice, species and coordinates (n, 3), rounded; no name or id counts."""

    def steps(values: ArrayLike, size: float) -> list[Any]:
        rounded: list[Any] = np.floor(np.asarray(values) / size + STEP_OFFSET).astype(int).tolist()
        return rounded

    species = [[sorted(site), steps([site[symbol] for symbol in sorted(site)], CELL_STEP)] for site in sites]
    content = [steps(structure.lattice.parameters, CELL_STEP), species, steps(fractional, COORDINATE_STEP)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _site_radius_A(occupancies: dict[str, float]) -> float:
    """Atomic radius (Slater, else calculated) averaged over the site's elements; a vacancy does not shrink it."""
    elements = [Element(symbol) for symbol in occupancies]
    radii_A = [float(e.atomic_radius or e.atomic_radius_calculated or FALLBACK_RADIUS_A) for e in elements]
    return max(SMALLEST_RADIUS_A, float(np.average(radii_A, weights=list(occupancies.values()))))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A supercell: the geometry repeated, laid out for one matrix product per view."""

    edges_A: Matrix
    """(3, 3) lattice vectors of the supercell as columns, Å."""
    points_A: Matrix
    """(3, N + 2KC) the N atoms, then their walks along the half-bonds, Å."""
    radii_A: NDArray[np.float64]
    """(N,) disc radii, Å."""
    colors: NDArray[np.uint8]
    """(N, 3) RGB."""
    walks: list[tuple[int, int]]
    """N times first and last (exclusive) column of an atom's walk in `points_A`."""


def repeat(geometry: Geometry, repetitions: tuple[int, int, int]) -> Scene:
    """The supercell of `repetitions` along a, b and c."""
    cells = np.indices(repetitions).reshape(3, -1).T  # (C, 3)
    shifts_A = (cells @ geometry.lattice_A)[:, None]
    atoms_A = (geometry.positions_A + shifts_A).reshape(-1, 3)
    walks_A = (geometry.half_bonds_A + shifts_A).reshape(-1, 3)
    first_columns = len(atoms_A) + len(geometry.half_bonds_A) * np.arange(len(cells))[:, None]
    begins, ends = (
        (first_columns + starts).ravel() for starts in (geometry.half_bond_starts[:-1], geometry.half_bond_starts[1:])
    )
    return Scene(
        edges_A=(geometry.lattice_A * np.array(repetitions)[:, None]).T,
        points_A=np.ascontiguousarray(np.concatenate([atoms_A, walks_A]).T),
        radii_A=np.tile(geometry.radii_A, len(cells)),
        colors=np.tile(geometry.colors, (len(cells), 1)),
        walks=list(zip(begins.tolist(), ends.tolist(), strict=True)),
    )


def draw_views(geometry: Geometry, names: Sequence[str], options: RenderOptions) -> NDArray[np.uint8]:
    """Render the named views of one crystal: (V, H, W, 3) RGB."""
    images = np.zeros((len(names), options.image_size, options.image_size, 3), np.uint8)
    scenes: dict[tuple[int, int, int], Scene] = {}
    for image, name in zip(images, names, strict=True):
        repetitions, direction = parse_view(name)
        if repetitions not in scenes:
            scenes[repetitions] = repeat(geometry, repetitions)
        rotation = view_rotation(geometry.lattice_A, direction, (options.seed, geometry.digest, name))
        scene = scenes[repetitions]
        paint(image, scene, place(scene, rotation, options.image_size), depth_cue=options.depth_cue)
    return images


def view_rotation(lattice_A: Matrix, direction: str, source: tuple[int, str, str]) -> Matrix:
    """(3, 3) proper rotation with rows right, up, towards the viewer.

    Along a lattice vector the viewer looks down it, with c up (b for the view along c). A random direction is uniform
    over rotations, its generator seeded with `source` = (seed, crystal's digest, view) alone.
    """
    if direction not in AXES:
        from scipy.spatial.transform import Rotation  # takes 0.1 s to import; views along the axes need it not

        return Rotation.random(None, generator(*source)).as_matrix()
    towards = lattice_A[AXES.index(direction)]
    above = lattice_A[1 if direction == "c" else 2]
    z = towards / np.sqrt(towards @ towards)
    y = above - (above @ z) * z
    y /= np.sqrt(y @ y)
    right = (y[1] * z[2] - y[2] * z[1], y[2] * z[0] - y[0] * z[2], y[0] * z[1] - y[1] * z[0])
    return np.array([right, y, z])


def generator(seed: int, crystal: str, view: str) -> np.random.Generator:
    """A generator that depends on nothing but its three arguments."""
    digest = hashlib.sha256(json.dumps([seed, crystal, view]).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one view's supercell lands in the image."""

    points_px: NDArray[np.int32]
    """(N + 2KC, 2) x (right) and y (down) of the atoms, then of their walks along the half-bonds."""
    radii_px: NDArray[np.int32]
    """(N,) disc radii; a black rim of `line_width_px` surrounds each disc."""
    depth_A: NDArray[np.float64]
    """(N,) towards the viewer."""
    far_to_near: NDArray[np.int64]
    """(N,) atoms in the order of painting."""


def place(scene: Scene, rotation: Matrix, image_size: int) -> Placement:
    """Project a supercell into the frame."""
    x, y, towards_viewer = rotation @ scene.points_A
    middle_x, middle_y, pixels_per_A = _frame(scene, rotation, x, y, image_size)
    center_px = (image_size - 1) / 2
    points_px = np.empty((len(x), 2), np.int32)
    points_px[:, 0] = _round((x - middle_x) * pixels_per_A + center_px)
    points_px[:, 1] = _round((middle_y - y) * pixels_per_A + center_px)
    depth_A = towards_viewer[: len(scene.walks)]
    return Placement(
        points_px=points_px,
        radii_px=np.maximum(_round(scene.radii_A * pixels_per_A), 1),
        depth_A=depth_A,
        # equal depths stay equal under round-off
        far_to_near=np.argsort(np.floor(depth_A / TIE + STEP_OFFSET), kind="stable"),
    )


def _frame(
    scene: Scene, rotation: Matrix, x: NDArray[np.float64], y: NDArray[np.float64], image_size: int
) -> tuple[float, float, float]:
    """Centre (x, y in Å, in the image's plane) and pixels per Å at which all discs and half-bonds fit.

    The supercell's longest edge must fit too, so that a lone atom is not blown up to fill the frame.
    """
    bounds = [_bounds(values, scene.radii_A) for values in (x, y)]
    width_A = max(high - low for low, high in bounds)
    edge_A = float(np.abs(rotation[:2] @ scene.edges_A).max())
    middle_x, middle_y = ((low + high) / 2 for low, high in bounds)
    return middle_x, middle_y, (image_size - 2 * _border_px(image_size)) / max(width_A, edge_A)


def _bounds(values_A: NDArray[np.float64], radii_A: NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest coordinate of discs and half-bonds."""
    discs_A = values_A[: len(radii_A)]
    low, high = (discs_A - radii_A).min(), (discs_A + radii_A).max()
    return float(min(low, values_A.min())), float(max(high, values_A.max()))


def line_width_px(image_size: int) -> int:
    """Width of bonds and rims: one pixel in the standard 224."""
    return max(1, round(image_size / 224))


def _border_px(image_size: int) -> int:
    """Room for a rim and for rounding."""
    return 2 + line_width_px(image_size)


def _round(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.floor(pixels + (0.5 + TIE)).astype(np.int32)


def _brightness(towards_viewer: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the nearest atom, falling linearly to FARTHEST_BRIGHTNESS."""
    behind = towards_viewer.max() - towards_viewer
    return 1 - (1 - FARTHEST_BRIGHTNESS) * behind / max(behind.max(), 1e-9)


def paint(image: NDArray[np.uint8], scene: Scene, placement: Placement, *, depth_cue: bool) -> None:
    """Paint onto black: an atom's half-bonds, then a black rim, then its disc; then the next nearer atom.

    Each half of a bond is drawn just behind its own atom, which puts the nearer half in front of what lies between.
    """
    width = line_width_px(len(image))
    colors, greys = _shades(scene.colors, _brightness(placement.depth_A) if depth_cue else None)
    points_px, radii = placement.points_px, placement.radii_px.tolist()
    centers = points_px[: len(radii)].tolist()
    for atom in placement.far_to_near.tolist():
        begin, end = scene.walks[atom]
        if begin < end:
            cv2.polylines(image, [points_px[begin:end]], False, greys[atom], width)
        cv2.circle(image, centers[atom], radii[atom] + width, BLACK, cv2.FILLED)
        cv2.circle(image, centers[atom], radii[atom], colors[atom], cv2.FILLED)


def _shades(
    colors: NDArray[np.uint8], brightness: NDArray[np.float64] | None
) -> tuple[list[list[int]], list[tuple[int, int, int]]]:
    """RGB of each atom's disc and of its half-bonds."""
    if brightness is None:
        return colors.tolist(), [(BOND_GREY,) * 3] * len(colors)
    greys = np.rint(BOND_GREY * brightness).astype(int).tolist()
    return np.rint(colors * brightness[:, None]).astype(int).tolist(), [(grey,) * 3 for grey in greys]
