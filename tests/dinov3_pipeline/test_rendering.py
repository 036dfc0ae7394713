"""Images against physics: exact colours, who hides whom, what may change an image and what must not."""

import hashlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.core import Composition, DummySpecies, Lattice, Structure

from dinov3_pipeline.render.atoms import BondMode
from dinov3_pipeline.render.options import RenderOptions, parse_view, view_names
from dinov3_pipeline.render.rendering import draw_views, paint, place, prepare, repeat, view_rotation, views
from tc_common.crystals import CrystalError, read_crystal
from tc_common.errors import UserError
from tests.dinov3_pipeline.crystals import crystal, cuprate, lone, random_crystal, rock_salt

COPPER, IRON = (229, 234, 108), (153, 170, 115)
GREY = (80, 80, 80)
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "cifs"


def center(image: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist())


def colors(image: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    return {tuple(color) for color in np.unique(image.reshape(-1, 3), axis=0).tolist()}


def differing_pixels(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    return int((first != second).any(axis=-1).sum())


@pytest.mark.parametrize(("symbol", "rgb"), [("Cu", COPPER), ("H", (0, 21, 255)), ("B", (0, 64, 229)), ("Fe", IRON)])
def test_a_lone_atom_has_its_exact_color_in_the_middle_of_every_1x1x1_view(
    symbol: str, rgb: tuple[int, int, int]
) -> None:
    for image in views(lone(symbol))[:6]:
        assert center(image) == rgb
        assert colors(image) <= {rgb, GREY, (0, 0, 0)}  # nothing is blended


def test_eighteen_views_of_the_standard_size() -> None:
    images = views(rock_salt())
    assert images.shape == (18, 224, 224, 3)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images[[3, 4, 5, 9, 10, 11, 15, 16, 17]]}) == 9


def test_the_nearer_atom_hides_the_farther() -> None:
    cell = Lattice.tetragonal(4, 6)
    options = RenderOptions(bonds="none")
    for symbols, nearer in ((["Cu", "Fe"], IRON), (["Fe", "Cu"], COPPER)):
        column = crystal(cell, symbols, [[0, 0, 0], [0, 0, 0.5]])
        [along_c] = views(column, options=options, names=["1x1x1_c"])
        assert center(along_c) == nearer


def test_bonds_reach_the_neighbor_inside_and_end_half_way_at_the_faces() -> None:
    """Simple cubic Po: along c, a 2x1x1 supercell is a row of two discs with a bond between them."""
    options = RenderOptions(bonds="covalent")
    geometry = prepare(lone("Po", 3.1), options)
    [image] = draw_views(geometry, ["2x1x1_c"], options)
    scene = repeat(geometry, (2, 1, 1))
    placement = place(scene, np.eye(3), 224)
    (left, row), (right, _) = placement.points_px[:2].tolist()
    radius = placement.radii_px[0]
    half = (right - left) / 2
    between = image[row, left + radius + 2 : right - radius - 1]
    assert (between == 80).all()
    outside = image[row, right + radius + 2 :]
    drawn = int((outside == 80).all(axis=-1).sum())
    assert drawn == pytest.approx(half - radius - 1, abs=1.5)
    assert (outside[drawn:] == 0).all()


def test_without_bonds_nothing_is_grey() -> None:
    with_bonds = views(rock_salt(), names=["2x2x2_r0"])
    without = views(rock_salt(), names=["2x2x2_r0"], options=RenderOptions(bonds="none"))
    assert GREY in colors(with_bonds[0])
    assert GREY not in colors(without[0])


@pytest.mark.parametrize("seed", range(12))
def test_every_disc_lies_inside_the_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    structure = random_crystal(rng, sites=int(rng.integers(1, 9)))
    size = int(rng.choice([32, 100, 224, 500]))
    options = RenderOptions(bonds="covalent", image_size=size, radius_scale=float(rng.uniform(0.1, 2)))
    geometry = prepare(structure, options)
    for name in view_names(options):
        repetitions, direction = parse_view(name)
        rotation = view_rotation(geometry.lattice_A, direction, (seed, "x", name))
        placement = place(repeat(geometry, repetitions), rotation, size)
        centers = placement.points_px[: len(placement.radii_px)]
        assert (centers - placement.radii_px[:, None] >= 1).all()
        assert (centers + placement.radii_px[:, None] <= size - 2).all()
        assert (placement.points_px >= 0).all() and (placement.points_px < size).all()


def test_the_frame_is_used() -> None:
    """Negative control of the test above: drawing everything tiny would pass it."""
    for image in views(cuprate(0)):
        ys, xs = np.nonzero(image.any(axis=-1))
        assert max(np.ptp(ys), np.ptp(xs)) > 0.9 * 224


def test_the_choice_of_origin_and_of_periodic_images_does_not_matter() -> None:
    structure = cuprate(0.2)
    shifted = structure.copy()
    shifted.translate_sites(range(len(shifted)), [0.123, -0.77, 3.45], to_unit_cell=False)
    rewrapped = shifted.copy()
    rewrapped.translate_sites([3, 5], [0, 1, -2], to_unit_cell=False)
    folded = shifted.copy()
    folded.translate_sites(range(len(folded)), [0, 0, 0], to_unit_cell=True)
    original = views(structure)
    for other in (shifted, rewrapped, folded):
        assert (views(other) == original).all()
    moved = structure.copy()
    moved.translate_sites([3], [0.05, 0, 0])
    assert differing_pixels(views(moved)[3], original[3]) > 50


def test_turning_the_crystal_about_the_viewing_axis_turns_the_image() -> None:
    structure = random_crystal(np.random.default_rng(5))
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    cases: list[tuple[BondMode, int]] = [("none", 0), ("covalent", 150)]
    for bonds, tolerance in cases:
        options = RenderOptions(bonds=bonds, image_size=225)  # odd: the middle of the frame is a pixel
        scene = repeat(prepare(structure, options), (2, 2, 1))
        rotation = view_rotation(structure.lattice.matrix, "r0", (1, "x", "r0"))
        before, after = (np.zeros((225, 225, 3), np.uint8) for _ in range(2))
        paint(before, scene, place(scene, rotation, 225), depth_cue=False)
        paint(after, scene, place(scene, quarter @ rotation, 225), depth_cue=False)
        # Lines are drawn by columns or by rows, whichever is steeper, so a few of their pixels may differ.
        assert differing_pixels(np.rot90(before), after) <= tolerance
        assert differing_pixels(before, after) > 5000


def test_rotations_are_proper_and_uniform() -> None:
    """Uniform (Haar) rotations have E[R] = 0 and E[R_ij^2] = 1/3; Euler angles drawn evenly would not."""
    turns = np.array([view_rotation(np.eye(3), f"r{n}", (42, "x", f"1x1x1_r{n}")) for n in range(4000)])
    assert np.linalg.det(turns) == pytest.approx(np.ones(4000))
    assert np.abs(turns.mean(axis=0)).max() < 0.04
    assert (turns**2).mean(axis=0) == pytest.approx(np.full((3, 3), 1 / 3), abs=0.03)


@pytest.mark.parametrize("direction", ["a", "b", "c"])
def test_axis_views_look_down_the_lattice_vector(direction: str) -> None:
    lattice_A = Lattice.from_parameters(4, 5, 6, 80, 140, 75).matrix
    rotation = view_rotation(lattice_A, direction, (0, "", ""))
    towards = lattice_A["abc".index(direction)]
    assert rotation @ towards == pytest.approx([0, 0, np.linalg.norm(towards)])
    assert np.linalg.det(rotation) == pytest.approx(1)
    up = rotation @ lattice_A[1 if direction == "c" else 2]
    assert up[0] == pytest.approx(0)
    assert up[1] > 0


def test_doping_changes_every_image_and_keeps_the_atoms_in_place() -> None:
    parent, doped = views(cuprate(0)), views(cuprate(0.2))
    for before, after in zip(parent, doped, strict=True):
        assert differing_pixels(before, after) > 100
    # La0.9Sr0.1: red 0.09, green 0.9 * 3/12 + 0.1 * 2/12, blue between La's 73 and Sr's 92
    assert (23, 62, 75) in colors(doped[0])
    assert (23, 62, 75) not in colors(parent[0])


def test_a_vacancy_dims_the_site() -> None:
    half = Structure(Lattice.cubic(3.6), [{"Cu": 0.5}], [[0, 0, 0]])
    assert center(views(half)[0]) == (115, 117, 54)


def test_the_depth_cue_dims_what_is_farther() -> None:
    chain = crystal(Lattice.orthorhombic(8, 4, 4), ["O", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]])
    options = RenderOptions(bonds="none", depth_cue=True)
    [along_a] = views(chain, options=options, names=["1x1x1_a"])
    assert colors(along_a) == {(0, 0, 0), COPPER, (0, 44, 71)}  # the nearer exact, the farther oxygen at 0.35


def test_views_do_not_depend_on_their_company() -> None:
    structure = rock_salt()
    everything = dict(zip(view_names(RenderOptions()), views(structure), strict=True))
    for names in (["2x2x1_r1"], ["2x2x2_c", "1x1x1_r2", "2x2x1_r1"]):
        for name, image in zip(names, views(structure, names=names), strict=True):
            assert (image == everything[name]).all()


def test_random_views_depend_on_the_seed_and_the_view_and_axis_views_do_not() -> None:
    structure = rock_salt()
    names = ["1x1x1_a", "1x1x1_r0"]
    axis, turned = views(structure, names=names)
    other = views(structure, names=names, options=RenderOptions(seed=43))
    assert (other[0] == axis).all()
    assert differing_pixels(other[1], turned) > 100
    [fresh] = views(structure, names=["1x1x1_r1000"])
    assert differing_pixels(fresh, turned) > 100


@pytest.mark.parametrize(
    "structure",
    [
        crystal(Lattice.from_parameters(3, 3, 3, 60, 60, 60), ["Nb"], [[0.3, 0.3, 0.3]]),
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(4), ["Nb"], [[0, 0, 0]]) * (4, 6, 10),
        crystal(Lattice.orthorhombic(60, 3, 3), ["Cu", "O"] * 3, [[n / 6, 0, n % 2 / 2] for n in range(6)]),
        crystal(Lattice.monoclinic(6, 4, 7, 140), ["Nb", "Se", "Se"], [[0, 0, 0], [0.3, 0.5, 0.2], [0.7, 0.5, 0.8]]),
    ],
    ids=["one atom", "240 sites", "60 Å axis", "140 degrees"],
)
@pytest.mark.parametrize("bonds", ["covalent", "none"])
def test_unusual_cells_are_drawn(structure: Structure, bonds: BondMode) -> None:
    images = views(structure, options=RenderOptions(bonds=bonds))
    assert images.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(("species", "reason"), [({"Cu": 0.0}, "occupancy"), ({DummySpecies("X"): 1.0}, "no element")])
def test_a_site_without_an_element_is_refused(species: dict[str, float], reason: str) -> None:
    sites = [Composition("Cu"), Composition(species)]
    structure = Structure(Lattice.cubic(4), sites, [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    with pytest.raises(CrystalError, match=reason):
        views(structure)


@pytest.mark.parametrize("name", ["", "a", "1x1_a", "0x1x1_a", "1x1x1_d", "1x1x1_r", "10x1x1_a", "1x1x1_a\n"])
def test_what_is_no_view_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no view"):
        views(lone("Cu"), names=[name])


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 16},
        {"image_size": 5000},
        {"seed": -1},
        {"random_views": 0},
        {"radius_scale": 0.0},
        {"supercells": ()},
        {"supercells": ("1x1x1", "1x1x1")},
        {"supercells": ("2,2,1",)},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="--" + next(iter(wrong)).replace("_", "-")):
        RenderOptions(**wrong)  # type: ignore[arg-type]


def test_the_fingerprint_changes_with_every_option() -> None:
    changes: list[dict[str, object]] = [
        {"image_size": 112},
        {"seed": 1},
        {"bonds": "none"},
        {"views": "axes"},
        {"random_views": 4},
        {"supercells": ("1x1x1",)},
        {"depth_cue": True},
        {"radius_scale": 0.5},
    ]
    options = [RenderOptions(), *(RenderOptions(**change) for change in changes)]  # type: ignore[arg-type]
    assert len({o.fingerprint() for o in options}) == len(options)
    assert {name for change in changes for name in change} == set(RenderOptions.__dataclass_fields__)


def test_names_of_views_follow_the_options() -> None:
    assert len(view_names(RenderOptions())) == len(set(view_names(RenderOptions()))) == 18
    axes = RenderOptions(views="axes", supercells=("3x1x1",))
    assert view_names(axes) == ("3x1x1_a", "3x1x1_b", "3x1x1_c")
    turns = RenderOptions(views="random", random_views=5)
    assert len(view_names(turns)) == 15
    assert all(parse_view(name)[0] in product((1, 2), repeat=3) for name in view_names(turns))


def test_the_digest_is_that_of_lattice_species_and_coordinates() -> None:
    """Everything that makes another crystal makes another digest; origin, cell images and round-off do not."""

    def digest(structure: Structure) -> str:
        return prepare(structure, RenderOptions(bonds="none")).digest

    crystal = cuprate(0.2)
    moved, strained, swapped, noisy, shifted = (crystal.copy() for _ in range(5))
    moved.translate_sites([3], [0.001, 0, 0])
    strained.apply_strain([0.001, 0, 0])
    swapped.replace(4, "F")
    noisy.translate_sites(range(len(noisy)), [1e-12, -1e-12, 1e-12], to_unit_cell=False)
    noisy.translate_sites([2], [1e-9, 1e-9, -1e-9], to_unit_cell=False)
    shifted.translate_sites(range(len(shifted)), [0.123, -0.77, 3.45], to_unit_cell=True)
    others = [digest(other) for other in (moved, strained, swapped, cuprate(0.1), cuprate(0))]
    assert len({digest(crystal), *others}) == 6
    assert digest(noisy) == digest(shifted) == digest(cuprate(0.2)) == digest(crystal)


def test_the_smallest_disc_is_one_pixel() -> None:
    """Nine cells of 3.6 Å in 32 pixels: a radius of 0.07 Å is a twentieth of a pixel."""
    scene = repeat(prepare(lone("Cu"), RenderOptions(bonds="none", radius_scale=0.05)), (9, 1, 1))
    assert place(scene, np.eye(3), 32).radii_px.tolist() == [1] * 9


@pytest.mark.parametrize("noise_A", [1e-9, -1e-9])
def test_atoms_of_equal_depth_are_painted_in_one_order_whatever_the_round_off(noise_A: float) -> None:
    pair = crystal(Lattice.cubic(4), ["Cu", "Fe", "O"], [[0, 0, 0], [0.5, 0, noise_A / 4], [0.5, 0.5, -0.1]])
    scene = repeat(prepare(pair, RenderOptions(bonds="none")), (1, 1, 1))
    assert place(scene, np.eye(3), 224).far_to_near.tolist() == [0, 1, 2]


# Pixels, not PNG bytes, so that another zlib changes nothing here.
GOLDEN = {
    "Nb3Sn-Cr3Si": ("d1116fc6347e423c30dce6126abb2dc6", "94b3745ce5677683a3e076b4179f261a"),
    "MgB2-AlB2": ("799470c09aa27a056e7f25bd8db82ef6", "7d5451de8f856d287dc98a1bb61ed44d"),
    "YBa2Cu3O6.93-YBa2Cu3O7": ("30e2d4e685d405c83ba4316794a38988", "0c87e65a620103d5e25033012b873bc2"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_sample_is_rendered_as_recorded(name: str) -> None:
    """Views along the axes as in RENDERER_VERSION 1, random views as in 2, which seeds them with the crystal."""
    images = views(read_crystal(SAMPLE / f"{name}.cif")).reshape(3, 6, 224, 224, 3)
    found = [hashlib.md5(part.tobytes(), usedforsecurity=False).hexdigest() for part in (images[:, :3], images[:, 3:])]
    assert tuple(found) == GOLDEN[name]
