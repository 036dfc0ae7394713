"""Small files that symmetry unfolds into too many atoms are refused in one line, before the atoms are made.

A file of 3 to 300 kB can ask for millions of atoms. Unfolding them would cost minutes and gigabytes, so what is
counted here is that no reader comes to the point of making them: neither time nor memory grows with the claim.
"""

import time
import tracemalloc

import pytest

from tc_common.crystals import CrystalError, parse_crystal

ATOM_COLUMNS = "_atom_site_label _atom_site_type_symbol _atom_site_fract_x _atom_site_fract_y _atom_site_fract_z"
AXES = {"a": "alpha", "b": "beta", "c": "gamma"}
SECONDS, MEGABYTES = 20.0, 100.0  # the largest cell that is allowed takes 1 to 2 s and 20 MB


def crystal(sites: int, symmetry: str, length_A: float) -> str:
    """A cubic cell of copper in general positions."""
    cell = "\n".join(f"_cell_length_{axis} {length_A}\n_cell_angle_{angle} 90" for axis, angle in AXES.items())
    rows = "\n".join(f"Cu{n} Cu {n / sites:.5f} {n * 0.618 % 1:.5f} {n * 0.414 % 1:.5f}" for n in range(1, sites + 1))
    return f"data_x\n{cell}\n{symmetry}\nloop_\n" + "\n".join(ATOM_COLUMNS.split()) + f"\n{rows}\n"


def translations(count: int, key: str) -> str:
    return f"loop_\n{key}\n" + "\n".join(f"'x+{n}/{count}, y, z'" for n in range(count))


SPACE_GROUP = "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225"


@pytest.mark.parametrize(
    ("sites", "symmetry"),
    [
        (200, translations(5_000, "_symmetry_equiv_pos_as_xyz")),
        (200, translations(5_000, "_space_group_symop_operation_xyz")),
        (1_900, SPACE_GROUP),
        (30, SPACE_GROUP),
        (2_100, ""),
    ],
    ids=["a million by listed operations", "a million by the newer key", "365,000 by a name", "5,760", "no symmetry"],
)
def test_too_many_atoms_are_refused_in_one_line_before_they_are_made(sites: int, symmetry: str) -> None:
    text = crystal(sites, symmetry, length_A=(15.0 * sites * max(1, symmetry.count("'x+"))) ** (1 / 3))
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(CrystalError, match=r"atoms|sites|operations|larger than") as refused:
            parse_crystal(text)
        peak_MB = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    assert time.process_time() - start < SECONDS and peak_MB < MEGABYTES


def test_the_same_file_with_few_operations_is_a_crystal() -> None:
    assert len(parse_crystal(crystal(20, translations(4, "_symmetry_equiv_pos_as_xyz"), length_A=12.0))) == 80
