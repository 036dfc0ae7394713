"""All 564 settings of the space groups: read as the setting that is written, or refused; never as another."""

import gemmi
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tc_common.crystals import CrystalError, parse_crystal
from tc_common.space_groups import hall_operations, of_setting, settings_named
from tc_common.symmetry import operations
from tests.tc_common.made_cif import SETTINGS, cif, fitting_lattice, images, same_sites

GENERAL = np.array([0.13, 0.423, 0.047])  # its images keep 0.52 Å in every setting
ORIGIN_1 = "\n".join(op.triplet() for op in gemmi.find_spacegroup_by_name("P n n n:1").operations())
ICSD = {"1": "S", "2": "Z", "H": "H", "R": "R"}


def extension(setting: gemmi.SpaceGroup) -> str:
    return setting.ext.strip("\0")


def written(setting: gemmi.SpaceGroup) -> dict[str, str]:
    """Ways to write a setting that leave no doubt."""
    listed = "\n".join(f"'{op.triplet()}'" for op in setting.operations())
    ways = {
        "name": f"_space_group_name_H-M_alt '{setting.xhm()}'",
        "compact name": f"_symmetry_space_group_name_H-M '{setting.xhm().replace(' ', '')}'",
        "name and number": f"_space_group.name_H-M_alt '{setting.xhm()}'\n_space_group.IT_number {setting.number}",
        "Hall": f"_space_group_name_Hall '{setting.hall}'\n_symmetry_Int_Tables_number {setting.number}",
        "operations": f"loop_\n_space_group_symop_operation_xyz\n{listed}",
        "operations, name": f"_SPACE_GROUP_NAME_H-M_ALT '{setting.hm}'\nloop_\n_Symmetry_equiv_pos_as_xyz\n{listed}",
    }
    if extension(setting):
        ways["ICSD"] = f"_symmetry_space_group_name_H-M '{setting.hm} {ICSD[extension(setting)]}'"
        ways["code"] = (
            f"_space_group_name_H-M_alt '{setting.hm}'\n_space_group_IT_coordinate_system_code {extension(setting)}"
        )
    return ways


def read(setting: gemmi.SpaceGroup, symmetry: str) -> str:
    """`right`, `wrong` or the refusal of a general atom in a setting."""
    count = len(setting.operations())
    lattice = fitting_lattice(setting, 60.0 * count)
    text = cif(lattice, symmetry, [f"Nb {GENERAL[0]} {GENERAL[1]} {GENERAL[2]} 1"])
    try:
        structure = parse_crystal(text)
    except CrystalError as error:
        return str(error)
    expected = [(frac, {"Nb": 1.0}) for frac in images(setting, GENERAL, lattice)]
    assert len(expected) == count
    return "right" if same_sites(structure, expected) else "wrong"


@pytest.mark.parametrize("part", range(8))
def test_every_setting_is_read_as_it_is_written(part: int) -> None:
    failures = {}
    for setting in SETTINGS[part::8]:
        ways = list(written(setting).items())
        for name, symmetry in ways if setting.number < 75 else ways[:1] + ways[3:5] + ways[6:]:
            if (outcome := read(setting, symmetry)) != "right":
                failures[setting.xhm(), name] = outcome
    assert failures == {}


def test_a_bare_name_is_read_as_the_setting_that_fits_the_cell_or_refused() -> None:
    outcomes = {}
    for setting in SETTINGS:
        if extension(setting):
            outcomes[setting.xhm()] = read(setting, f"_symmetry_space_group_name_H-M '{setting.hm}'")
    assert all("name the setting" in outcomes[name] for name in outcomes if name[-1] in "12")
    assert {outcomes[name] for name in outcomes if name[-1] in "HR"} == {"right"}


def test_a_number_alone_is_the_conventional_setting() -> None:
    outcomes = []
    for number in range(1, 231):
        setting = gemmi.find_spacegroup_by_number(number)
        outcomes.append(read(setting, f"_space_group_IT_number {number}"))
    assert "wrong" not in outcomes
    assert outcomes.count("right") == 230 - 24, "24 groups have two origins"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("F d -3 m (origin choice 2)", "F d -3 m:2"),
        ("F d -3 m O1", "F d -3 m:1"),
        ("Fd-3mZ", "F d -3 m:2"),
        ("R-3mR", "R -3 m:R"),
        ("H 3 2", "R 3 2:H"),
        ("P6_3/mmc", "P 63/m m c"),
        ("P 6(3)/m m c", "P 63/m m c"),
        ("P6~3~/mmc", "P 63/m m c"),
        ("F 4/m -3 2/m", "F m -3 m"),
        ("P 4/m 2/m 2/m", "P 4/m m m"),
        ("I 4/m 2/m 2/m", "I 4/m m m"),
        ("P 2/n 2_1/m 2/a", "P n m a"),
        ("P 63/m 2/m 2/c", "P 63/m m c"),
        ("P 21/b", "P 1 1 21/b"),
        ("P m 3 n", "P m -3 n"),
        ("C m c e", "C m c a"),
        ("F m -3 m :1", "F m -3 m"),
        ("P n m a :cab", "P b n m"),
        ("F m -3 m :2", None),
        ("Bbmb(0b1)", None),
        ("F x -3 q", None),
    ],
)
def test_names_as_authors_write_them(name: str, meant: str | None) -> None:
    assert [each.xhm() for each in settings_named(name)][:1] == ([meant] if meant else [])


def test_rhombohedral_axes_follow_the_cell_only_where_the_name_leaves_it_open() -> None:
    setting = gemmi.find_spacegroup_by_name("R -3 m:R")
    assert read(setting, "_symmetry_space_group_name_H-M 'R -3 m'") == "right"
    assert "does not fit" in read(setting, "_symmetry_space_group_name_H-M 'R -3 m :H'")


@pytest.mark.parametrize(
    ("symmetry", "reason"),
    [
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,y,z\nx,-y,z", "no group"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n-x,-y,-z", "no group"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx+1/2,y,z\nx+1/4,y,z", "no group"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nz,y,x", "does not fit the symmetry"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nxx,yy,zz", "not of the form"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,y,z+9**9**9", "not of the form"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,y,z+1/0", "not of the form"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx1,x2,x3", "not of the form"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n?", "symmetry is missing"),
        ("_symmetry_space_group_name_H-M ?", "symmetry is missing"),
        ("_space_group_crystal_system cubic", "symmetry is missing"),
        ("loop_\n_space_group_symop_id\n1\n2", "symmetry is missing"),
        ("_space_group_IT_number 231", "not a space group number"),
        ("_space_group_IT_number 47\n_symmetry_Int_Tables_number 48", "contradict"),
        ("_space_group_name_Hall 'P 2'\n_space_group_IT_number 47", "contradicts itself"),
        ("_space_group_name_Hall 'nonsense'", "Hall symbol"),
        ("_space_group_name_H-M_alt 'P m m m'\n_symmetry_space_group_name_H-M 'P m m 2'", "contradicts itself"),
        ("_space_group_name_H-M_alt 'P n m a'\n_space_group_name_Hall '-P 2c 2ab'", "different settings"),
        ("_space_group_name_H-M_alt 'P n n n:2'\nloop_\n_symmetry_equiv_pos_as_xyz\n" + ORIGIN_1, "not those of"),
        ("_space_group_ssg_name 'Bbmb(0b1)'", "superspace"),
        ("_symmetry_equiv_pos_as_xyz x,y,z\nloop_\n_space_group_symop_operation_xyz\nx,y,z\n-x,-y,-z", "differ"),
    ],
)  # fmt: skip
def test_symmetry_that_is_lost_or_contradicts_itself_is_refused(symmetry: str, reason: str) -> None:
    lattice = fitting_lattice(gemmi.find_spacegroup_by_name("P m m m"), 120.0)
    with pytest.raises(CrystalError, match=reason):
        parse_crystal(cif(lattice, symmetry, ["Nb 0.137 0.291 0.419 1"]))


def test_operations_that_are_listed_are_applied_as_listed() -> None:
    """3DSC lists `-y+562/565`; and a name with the standard axes goes with operations in others."""
    found = operations(("x, y, z", "-x+562/565, -y+1, z"))
    assert found.translations[1].tolist() == pytest.approx([562 / 565, 0, 0])
    setting = gemmi.find_spacegroup_by_name("P b n m")
    listed = "\n".join(f"'{op.triplet()}'" for op in setting.operations())
    assert (
        read(setting, f"_space_group_name_H-M_alt 'P n m a'\nloop_\n_symmetry_equiv_pos_as_xyz\n{listed}") == "right"
    )


def test_hall_symbols_and_names_give_the_same_group() -> None:
    assert [hall_operations(setting.hall).number for setting in SETTINGS] == [setting.number for setting in SETTINGS]
    assert all(of_setting(setting.xhm()).number == setting.number for setting in SETTINGS)


# ---- random crystals ---------------------------------------------------------------------------------------------

SPECIAL = st.sampled_from([0.0, 0.125, 0.25, 1 / 3, 0.375, 0.5, 0.625, 2 / 3, 0.75, 0.875])
COORDINATE = st.one_of(SPECIAL, st.integers(0, 9999).map(lambda digits: digits / 10_000))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_random_crystals_in_random_settings_come_back(data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from(SETTINGS))
    way = data.draw(st.sampled_from(sorted(written(setting))))
    atoms = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["Nb", "O", "La", "H"]), *[COORDINATE] * 3, st.sampled_from([1.0, 0.5, 0.85])),
            min_size=1,
            max_size=3,
        )
    )
    lattice = fitting_lattice(setting, 40.0 * len(setting.operations()))
    expected = [
        (frac, {symbol: occupancy})
        for symbol, x, y, z, occupancy in atoms
        for frac in images(setting, np.array([x, y, z]), lattice)
    ]
    fracs = np.array([frac for frac, _ in expected])
    distances = lattice.get_all_distances(fracs, fracs) + 9 * np.eye(len(fracs))
    assume(distances.min() > 0.6)
    assume(1 < lattice.volume / sum(occupancy for _, species in expected for occupancy in species.values()) < 150)
    rows = [f"{symbol} {x:.8f} {y:.8f} {z:.8f} {occupancy}" for symbol, x, y, z, occupancy in atoms]
    assert same_sites(parse_crystal(cif(lattice, written(setting)[way], rows)), expected)
