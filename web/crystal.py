"""What the viewer draws: cell, sites with their occupancies, bonds, colours. Runs in the reader's worker process.

The bonds are those of the images that the vision model sees (`dinov3_pipeline.render.atoms.find_bonds`).
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from ase.data.colors import jmol_colors
from pymatgen.core import Element, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from dinov3_pipeline.render.atoms import Bonds, find_bonds, site_color
from tc_common.composition import shown_formula
from tc_common.crystals import CrystalError, crystal_from_stream
from web.uploads import Upload

MOST_SITES = 300
"""CrystalNN takes up to 25 ms a site where there is no symmetry; 3DSC has up to 240 sites."""
SYMMETRY_TOLERANCE_A = 0.01
FALLBACK_RADIUS_A = 1.5


@dataclass(frozen=True)
class Job:
    """What the worker shall make of an upload."""

    upload: Upload
    wanted: Literal["structure", "description", "pictures"]

    def __str__(self) -> str:
        return self.upload.name


def work(job: Job) -> Any:
    """A structure, its description (`describe`), or the PNG of its standard views.

    Raises:
        CrystalError: the file cannot be read, or has more than `MOST_SITES` sites.
    """
    structure = read_upload(job.upload)
    if job.wanted == "description":
        return describe(structure)
    if job.wanted == "pictures":
        from web.pictures import standard_views

        return standard_views(structure)
    return structure


def read_upload(upload: Upload) -> Structure:
    """The structure of an uploaded file.

    Raises:
        CrystalError: see `work`.
    """
    structure = crystal_from_stream(upload.name, io.BytesIO(upload.content), len(upload.content))
    if len(structure) > MOST_SITES:
        raise CrystalError(f"{len(structure)} sites in the cell; this page takes {MOST_SITES}, predict.py more")
    return structure


def describe(structure: Structure) -> dict[str, Any]:
    """All that the page shows of a crystal before any model has seen it; lengths in Å, density in g/cm³."""
    lattice, symmetry = structure.lattice, _symmetry(structure)
    bonds = find_bonds(structure, "crystal-nn")
    elements = sorted(structure.composition.elements, key=lambda element: element.X if element.X == element.X else 0)
    return {
        "formula": shown_formula(structure),
        "remarks": list(structure.properties.get("remarks", [])),
        "space_group": symmetry["space_group"],
        "cell": dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), map(_digits, lattice.parameters), strict=True)),
        "volume_A3": _digits(lattice.volume),
        "density_g_cm3": _digits(float(structure.density)),
        "lattice_A": np.round(lattice.matrix, 5).tolist(),
        "sites": [_site(structure, number, symmetry["kinds"][number]) for number in range(len(structure))],
        "bonds": _once(bonds),
        "bond_failures": len(bonds.failures),
        "elements": {element.symbol: _element(element.symbol) for element in elements},
    }


def _digits(value: float) -> float:
    return round(float(value), 4)


def _symmetry(structure: Structure) -> dict[str, Any]:
    """Space group as found in the sites, and of each site the first one of its kind."""
    try:
        dataset = SpacegroupAnalyzer(structure, symprec=SYMMETRY_TOLERANCE_A).get_symmetry_dataset()
    except SymmetryUndeterminedError:
        return {"space_group": None, "kinds": list(range(len(structure)))}
    group = {"symbol": str(dataset.international), "number": int(dataset.number)}
    return {"space_group": group, "kinds": dataset.equivalent_atoms.tolist()}


def _site(structure: Structure, number: int, kind: int) -> dict[str, Any]:
    site = structure[number]
    occupants = {element.symbol: float(amount) for element, amount in site.species.items()}
    return {
        "frac": np.round(site.frac_coords % 1.0, 6).tolist(),
        "occupancies": {symbol: round(amount, 5) for symbol, amount in occupants.items()},
        "radius_A": round(_radius_A(occupants), 3),
        "seen": site_color(occupants).tolist(),
        "kind": int(kind),
    }


def _radius_A(occupants: dict[str, float]) -> float:
    radii_A = [_element(symbol)["radius_A"] for symbol in occupants]
    return float(np.average(radii_A, weights=list(occupants.values())))


@lru_cache(maxsize=128)
def _element(symbol: str) -> dict[str, Any]:
    """Name, Jmol colour and atomic radius (Slater, else calculated), the radius of the vision model's discs."""
    element = Element(symbol)
    radius_A = element.atomic_radius or element.atomic_radius_calculated or FALLBACK_RADIUS_A
    color = [round(255 * float(channel)) for channel in jmol_colors[element.Z]]
    return {"name": element.long_name, "color": color, "radius_A": max(0.5, float(radius_A))}


def _once(bonds: Bonds) -> list[list[int]]:
    """Each bond in one of its two directions: centre, neighbour, cell of the neighbour (a, b, c)."""
    rows = np.column_stack([bonds.center, bonds.neighbor, bonds.image]).tolist()
    return [[i, j, *cell] for i, j, *cell in rows if (i, j, *cell) <= (j, i, *(-step for step in cell))]
