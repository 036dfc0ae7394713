"""Write the shipped sample's CIFs and `sample.csv` from its three readable tables.

    python -m data.sample.build        # a few seconds; the same bytes on every run

`prototypes.csv` holds a structure type's symmetry and sites, `materials.csv` one material a row with its
lattice constants, free coordinates, occupants and Tc, `references.csv` the publications those come from.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from pymatgen.core import Lattice
from pymatgen.symmetry.groups import SpaceGroup

from tc_common.cli import parse, run
from tc_common.files import write_csv, write_text

HERE = Path(__file__).parent
# Where the shipped CIFs lie as seen from the repository root, which is how sample.csv names them.
CIF_FOLDER = "data/sample/cifs"

# A coordinate is a number, or a free parameter with an integer factor and a fraction: 1/4, 0.15378, 2x, x_A+1/2.
COORDINATE = re.compile(r"(?P<factor>-?\d*)(?P<name>[xyz](_\w+)?)(?P<shift>\+\d+/\d+)?")

ELEMENT = re.compile(r"([A-Z][a-z]?)([0-9.]*)")

Material: TypeAlias = Any
"""A row of `materials.csv`, every cell as written; lengths in Å."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the sample is written."""

    out: Path = HERE
    """Folder that receives `sample.csv` and `cifs/`."""


def main() -> None:
    config = parse(Config, prog="python -m data.sample.build", description=__doc__ or "")
    count = build(config.out)
    print(f"wrote {count} crystals to {config.out / 'cifs'} and {config.out / 'sample.csv'}")


def build(out: Path) -> int:
    """Write the CIFs and `sample.csv` into `out`; return how many crystals there are."""
    materials, prototypes, references = read_tables()
    rows = []
    for material in materials:
        sites = prototypes[prototypes["prototype"] == material.prototype]
        row = sample_row(material, sites["spacegroup"].iloc[0], references)
        write_text(out / "cifs" / f"{row['material_id']}.cif", cif_text(material, sites, row))
        rows.append(row)
    write_csv(out / "sample.csv", pd.DataFrame(rows))
    return len(rows)


def read_tables() -> tuple[list[Material], pd.DataFrame, dict[str, str]]:
    """Materials, the sites of the prototypes, and references by key."""
    materials, prototypes, references = (
        pd.read_csv(HERE / f"{name}.csv", dtype=str, keep_default_na=False)
        for name in ("materials", "prototypes", "references")
    )
    cited = references["reference"] + references["doi"].map(lambda doi: f", doi:{doi}" if doi else "")
    return list(materials.itertuples(index=False)), prototypes, dict(zip(references["key"], cited, strict=True))


def sample_row(material: Material, spacegroup: str, references: dict[str, str]) -> dict[str, str]:
    """The line of `sample.csv` for one material; `tc` in K."""
    material_id = f"{material.formula}-{material.prototype}"
    return {
        "material_id": material_id,
        "formula": explicit_formula(material.formula),
        "tc": material.tc_K,
        "cif": f"{CIF_FOLDER}/{material_id}.cif",
        "prototype": material.prototype,
        "spacegroup": spacegroup,
        "doped": str(any(list(site.values()) != [1.0] for site in occupants_by_site(material))),
        "family": material.family,
        "pressure_GPa": material.pressure_GPa,
        "structure_ref": references[material.structure_ref],
        "tc_ref": references[material.tc_ref],
        "note": material.note,
    }


def explicit_formula(formula: str) -> str:
    """Every amount written out, elements in the order given: La1.85Sr0.15CuO4 -> La1.85Sr0.15Cu1O4."""
    return ELEMENT.sub(lambda match: f"{match[1]}{match[2] or 1}", formula)


def occupants_by_site(material: Material) -> list[dict[str, float]]:
    """Elements and their occupancies for each site, in the order of the prototype's sites."""
    tokens = (ELEMENT.findall(token) for token in material.occupants.split())
    return [{element: float(amount or 1) for element, amount in token} for token in tokens]


def coordinate(token: str, free: dict[str, float]) -> float:
    """Value of a coordinate such as `1/4`, `0.158`, `2x` or `x_A+1/2`, folded into [0, 1)."""
    match = COORDINATE.fullmatch(token)
    if match is None:
        return float(Fraction(token))
    factor = {"": 1, "-": -1}.get(match["factor"]) or int(match["factor"])
    return (factor * free[match["name"]] + float(Fraction(match["shift"] or 0))) % 1


def lattice_of(material: Material, group: SpaceGroup) -> Lattice:
    """Cell in Å and degrees; an empty b or c follows from the crystal system (rhombohedral ones in hexagonal axes)."""
    a = float(material.a_A)
    b, c = float(material.b_A or a), float(material.c_A or a)
    gamma = 120.0 if group.crystal_system in ("hexagonal", "trigonal") else 90.0
    return Lattice.from_parameters(a, b, c, 90.0, 90.0, gamma)


@cache
def space_group(symbol: str) -> tuple[SpaceGroup, tuple[str, ...]]:
    """A space group and its operations as text, identity first, in an order that does not change between runs."""
    group = SpaceGroup(symbol)
    operations = {operation.as_xyz_str() for operation in group.symmetry_ops}
    return group, ("x, y, z", *sorted(operations - {"x, y, z"}))


def cif_text(material: Material, prototype: pd.DataFrame, row: dict[str, str]) -> str:
    """The crystal as a CIF: symmetry operations and asymmetric unit, several rows for a mixed site."""
    group, operations = space_group(row["spacegroup"])
    lines = [
        f"# Prototype {row['prototype']}; structure: {row['structure_ref']}",
        f"data_{row['material_id']}",
        f"_chemical_formula_sum '{' '.join(map(''.join, ELEMENT.findall(row['formula'])))}'",
        f"_space_group_name_H-M_alt '{group.symbol}'",
        f"_space_group_IT_number {group.int_number}",
        *cell_lines(lattice_of(material, group)),
        "loop_",
        "_space_group_symop_operation_xyz",
        *(f"'{operation}'" for operation in operations),
        "loop_",
        *(f"_atom_site_{field}" for field in ATOM_FIELDS.split()),
        *atom_lines(material, prototype),
    ]
    return "\n".join(lines) + "\n"


def cell_lines(cell: Lattice) -> list[str]:
    """CIF rows of the cell, in Å and degrees."""
    lengths = [f"_cell_length_{axis} {length:.4f}" for axis, length in zip("abc", cell.abc, strict=True)]
    names = ("alpha", "beta", "gamma")
    return lengths + [f"_cell_angle_{name} {angle:.0f}" for name, angle in zip(names, cell.angles, strict=True)]


ATOM_FIELDS = "label type_symbol site_symmetry_multiplicity fract_x fract_y fract_z occupancy"


def atom_lines(material: Material, prototype: pd.DataFrame) -> Iterator[str]:
    """CIF rows of the asymmetric unit, one for each element on a site.

    Raises:
        ValueError: occupants and sites differ in number, or a coordinate is neither number nor parameter.
    """
    free = {name: float(value) for name, value in (pair.split("=") for pair in material.coordinates.split())}
    for site, occupants in zip(prototype.itertuples(), occupants_by_site(material), strict=True):
        multiplicity = re.sub(r"\D", "", site.wyckoff)
        place = " ".join(f"{coordinate(token, free):.8f}" for token in (site.x, site.y, site.z))
        for element, amount in occupants.items():
            yield f"{element}_{site.site} {element} {multiplicity} {place} {amount:g}"


if __name__ == "__main__":
    run(main)
