"""Are the images right? Every number is counted on real crystals and against a search that shares no code with it.

    SUPERVISION_DATA=... python -m benchmarks.render_quality          # minutes

Colours: expected values are worked out here from the published formula. Bonds: covalent neighbours by brute force
over periodic images, CrystalNN's by asking it again on an explicit supercell. Which atom hides which is decided here
pair by pair.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Element, Structure

from benchmarks._bond_oracle import look_at_bonds
from benchmarks._machine import machine
from benchmarks._real_crystals import sample_3dsc, unpack_3dsc
from data.tables import rows_3dsc
from dinov3_pipeline.render.options import RenderOptions, parse_view, view_names
from dinov3_pipeline.render.rendering import (
    Geometry,
    Placement,
    Scene,
    draw_views,
    line_width_px,
    place,
    prepare,
    repeat,
    view_rotation,
    views,
)
from tc_common import cli
from tc_common.crystals import CrystalError, read_crystal
from tc_common.files import write_json

COMMAND = "python -m benchmarks.render_quality"
# Neutral ground states, columns Sc-Zn, Y-Cd and La, Hf-Hg; Cu as in cuprates.
D_SHELL = {
    Element.from_Z(first + column).symbol: electrons
    for first, row in (
        (21, (1, 2, 3, 5, 5, 6, 7, 8, 9, 10)),
        (39, (1, 2, 4, 5, 5, 7, 8, 10, 10, 10)),
        (71, (1, 2, 3, 4, 5, 6, 7, 9, 10, 10)),
        (57, (1,)),
    )
    for column, electrons in enumerate(row)
}


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """What to look at."""

    crystals: int = 200
    """Random crystals of 3DSC (>= 1), 18 views each."""
    crystal_nn_crystals: int = 15
    """Of these, how many have CrystalNN asked again on a supercell (slow)."""
    seed: int = 0
    """Seed of the choice."""
    out: Path = Path("benchmarks/results/render_quality.json")
    """Where to write the report."""


def main(config: QualityConfig) -> None:
    """Look at the crystals and write the report; without the real data, say so and stop."""
    with tempfile.TemporaryDirectory() as name:
        source = unpack_3dsc(Path(name) / "3dsc")
        if source is None:
            return
        table, skipped = readable(sample_3dsc(source, config.crystals, config.seed))
        result = {
            "command": COMMAND,
            "crystals": len(table),
            "views": len(view_names(RenderOptions())),
            "skipped": skipped,
            "pictures": check_images(table),
            "bonds": look_at_bonds(table, config.crystal_nn_crystals),
            "doping": look_at_doping(rows_3dsc(source), config.crystals, config.seed),
            "machine": machine(),
        }
    write_json(config.out, result)
    print(f"{config.out}: written")


def readable(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows whose crystal can be read, with it, and the reasons of the others."""
    crystals: list[Structure | None] = []
    reasons = []
    for path in table["cif"]:
        try:
            crystals.append(read_crystal(Path(path)))
        except CrystalError as error:
            crystals.append(None)
            reasons.append(str(error).replace(str(Path(path).parent), "cifs"))
    table = table.assign(crystal=crystals)
    return table[[crystal is not None for crystal in crystals]].reset_index(drop=True), reasons


def documented_color(site: dict[str, float]) -> tuple[int, int, int]:
    """8-bit colour of a site by the formula in docs/rendering.md."""
    red = sum(share * D_SHELL.get(symbol, 0) / 10 for symbol, share in site.items())
    f_block = [*range(57, 72), *range(89, 104)]
    groups = {symbol: 3 if Element(symbol).Z in f_block else Element(symbol).group for symbol in site}
    green = sum(share * (groups[s] if groups[s] <= 12 else groups[s] - 10) / 12 for s, share in site.items())
    x = {symbol: (11.36 / float(Element(symbol).atomic_mass)) ** 0.5 for symbol in site}
    blue = sum(share * (1 + x[symbol] ** -5.8) ** (-1 / 5.8) for symbol, share in site.items())
    return tuple(int(np.ceil(255 * v - 0.5 - 1e-9)) for v in (red, green, blue))  # type: ignore[return-value]


def check_images(table: pd.DataFrame) -> dict[str, Any]:
    """Colours at the centres of atoms, frames, bonds' pixels and occlusion, over all views."""
    options = RenderOptions(bonds="covalent")
    count: Counter[str] = Counter()
    hidden: dict[str, list[float]] = {name: [] for name in view_names(options)}
    for row in table.itertuples():
        geometry = prepare(row.crystal, options)
        colors = [documented_color({s.symbol: v for s, v in site.species.items()}) for site in row.crystal]
        images = draw_views(geometry, view_names(options), options)
        for name, image in zip(view_names(options), images, strict=True):
            scene, placement = placed(geometry, name, options)
            hidden[name].append(look_at_view(image, scene, placement, colors, count))
    return {
        "atoms_drawn": count["atoms"],
        "atoms_inside_frame_share": count["inside"] / count["atoms"],
        "atoms_not_occluded": count["visible"],
        "exact_color_share_of_not_occluded": count["exact"] / count["visible"],
        "half_bond_points_visible": count["bond points"],
        "grey_share_of_visible_half_bond_points": count["grey bond points"] / max(1, count["bond points"]),
        "pixels_that_are_no_atom_bond_or_background": count["stray pixels"],
        "occluded_share_of_atoms_by_view": {name: round(float(np.mean(shares)), 4) for name, shares in hidden.items()},
    }


def placed(geometry: Geometry, name: str, options: RenderOptions) -> tuple[Scene, Placement]:
    """Where a view's atoms should be."""
    repetitions, direction = parse_view(name)
    scene = repeat(geometry, repetitions)
    rotation = view_rotation(geometry.lattice_A, direction, (options.seed, geometry.digest, name))
    return scene, place(scene, rotation, options.image_size)


def look_at_view(
    image: NDArray[np.uint8],
    scene: Scene,
    placement: Placement,
    colors: list[tuple[int, int, int]],
    count: Counter[str],
) -> float:
    """Add one view to the counts; returns the fraction of its atoms whose centre is hidden."""
    atoms, size = len(scene.walks), len(image)
    centers, radii = placement.points_px[:atoms], placement.radii_px
    expected = np.array(colors * (atoms // len(colors)))
    covered = covering(centers, np.arange(atoms), scene, placement)
    seen = image[centers[:, 1], centers[:, 0]]
    count["atoms"] += atoms
    count["inside"] += int(((centers - radii[:, None] >= 0) & (centers + radii[:, None] < size)).all(axis=1).sum())
    count["visible"] += int((~covered).sum())
    count["exact"] += int((seen == expected)[~covered].all(axis=1).sum())
    look_at_half_bonds(image, scene, placement, count)
    allowed = np.concatenate([expected, [(0, 0, 0), (80, 80, 80)]])
    count["stray pixels"] += len(set(map(tuple, np.unique(image.reshape(-1, 3), axis=0))) - set(map(tuple, allowed)))
    return float(covered.mean())


def covering(
    points_px: NDArray[np.int32], owners: NDArray[np.int64], scene: Scene, placement: Placement
) -> NDArray[np.bool_]:
    """(P,) whether a disc, rim or half-bond that is painted after a point's owner lies on the point."""
    atoms = len(scene.walks)
    rank = np.empty(atoms, int)
    rank[placement.far_to_near] = np.arange(atoms)
    nearer = rank[None, :] > rank[owners][:, None]
    reach = placement.radii_px + line_width_px(224) + 0.75  # cv2 rounds discs to whole pixels
    offsets = points_px[:, None] - placement.points_px[None, :atoms]
    covered = (nearer & ((offsets**2).sum(axis=-1) <= reach**2)).any(axis=1)
    starts, ends = placement.points_px[atoms::2], placement.points_px[atoms + 1 :: 2]
    owner_of_bond = np.repeat(np.arange(atoms), [(end - begin) // 2 for begin, end in scene.walks])
    for block in np.array_split(np.arange(len(points_px)), max(1, len(points_px) // 200)):
        distance = segment_distance(points_px[block], starts, ends)
        later = rank[owner_of_bond][None, :] > rank[owners[block]][:, None]
        covered[block] |= (later & (distance <= 1.0)).any(axis=1)
    return covered


def segment_distance(
    points: NDArray[np.int32], starts: NDArray[np.int32], ends: NDArray[np.int32]
) -> NDArray[np.float64]:
    """(P, S) distances in pixels between points and line segments."""
    along = (ends - starts).astype(float)
    length2 = np.maximum((along**2).sum(axis=1), 1e-9)
    offsets = points[:, None] - starts[None]
    share = np.clip((offsets * along).sum(axis=-1) / length2, 0, 1)
    return np.linalg.norm(offsets - share[..., None] * along, axis=-1)


def look_at_half_bonds(image: NDArray[np.uint8], scene: Scene, placement: Placement, count: Counter[str]) -> None:
    """At three quarters of each half-bond, outside its own atom and where nothing covers it, a pixel must be grey."""
    atoms = len(scene.walks)
    starts, ends = placement.points_px[atoms::2], placement.points_px[atoms + 1 :: 2]
    owners = np.repeat(np.arange(atoms), [(end - begin) // 2 for begin, end in scene.walks])
    points = np.rint(starts + 0.75 * (ends - starts)).astype(np.int32)
    outside = np.linalg.norm(points - starts, axis=1) > placement.radii_px[owners] + line_width_px(224) + 1
    points, owners = points[outside], owners[outside]
    if not len(points):
        return
    free = ~covering(points, owners, scene, placement)
    patches = np.stack([image[points[:, 1] + dy, points[:, 0] + dx] for dx, dy in product((-1, 0, 1), repeat=2)])
    grey = (patches == 80).all(axis=-1).any(axis=0)
    count["bond points"] += int(free.sum())
    count["grey bond points"] += int((free & grey).sum())


def look_at_doping(rows: pd.DataFrame, pairs: int, seed: int) -> dict[str, Any]:
    """Doped crystals against an undoped one of the same Materials Project parent, along a, b and c of one cell."""
    undoped = rows[~rows["doped"]].sort_values("material_id").drop_duplicates("mp_id").set_index("mp_id")["cif"]
    doped = rows[rows["doped"] & rows["mp_id"].isin(undoped.index)].sort_values("material_id")
    chosen = doped.iloc[np.sort(np.random.default_rng(seed).choice(len(doped), min(pairs, len(doped)), replace=False))]
    names = ["1x1x1_a", "1x1x1_b", "1x1x1_c"]
    same, looked_at = [], 0
    for row in chosen.itertuples():
        try:
            pair = [read_crystal(Path(cif)) for cif in (row.cif, undoped[row.mp_id])]
        except CrystalError:
            continue
        first, second = (views(crystal, options=RenderOptions(bonds="none"), names=names) for crystal in pair)
        looked_at += 1
        if (first == second).all():
            same.append(f"{row.material_id} = {Path(undoped[row.mp_id]).stem}")
    return {"pairs": looked_at, "different_share": (looked_at - len(same)) / looked_at, "same": same}


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(QualityConfig, prog=COMMAND, description=__doc__)))
