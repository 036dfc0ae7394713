"""What the viewer draws: cell, sites with their occupancies, bonds, colours. Runs in the reader's worker process.

The bonds are those of the images that the vision model sees (`dinov3_pipeline.render.atoms.find_bonds`).
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from pymatgen.core import Element, PeriodicSite, Structure

from dinov3_pipeline.render.atoms import Bonds, find_bonds, site_color, symmetry_dataset
from prediction.doping import site_labels
from prediction.inputs import in_order
from tc_common.composition import chemical_formula
from tc_common.crystals import CrystalError, crystal_from_stream
from web.uploads import Upload

MOST_SITES = 300
"""CrystalNN takes up to 25 ms a site where there is no symmetry; 3DSC has up to 240 sites."""
SYMMETRY_TOLERANCE_A = 0.01
FALLBACK_RADIUS_A = 1.5
# Jmol's element colours (jmol.sourceforge.net/jscolors), hydrogen to lawrencium.
JMOL = bytes.fromhex(
    "ffffff d9ffff cc80ff c2ff00 ffb5b5 909090 3050f8 ff0d0d 90e050 b3e3f5 ab5cf2 8aff00 bfa6a6 f0c8a0 ff8000 ffff30 "
    "1ff01f 80d1e3 8f40d4 3dff00 e6e6e6 bfc2c7 a6a6ab 8a99c7 9c7ac7 e06633 f090a0 50d050 c88033 7d80b0 c28f8f 668f8f "
    "bd80e3 ffa100 a62929 5cb8d1 702eb0 00ff00 94ffff 94e0e0 73c2c9 54b5b5 3b9e9e 248f8f 0a7d8c 006985 c0c0c0 ffd98f "
    "a67573 668080 9e63b5 d47a00 940094 429eb0 57178f 00c900 70d4ff ffffc7 d9ffc7 c7ffc7 a3ffc7 8fffc7 61ffc7 45ffc7 "
    "30ffc7 1fffc7 00ff9c 00e675 00d452 00bf38 00ab24 4dc2ff 4da6ff 2194d6 267dab 266696 175487 d0d0e0 ffd123 b8b8d0 "
    "a6544d 575961 9e4fb5 ab5c00 754f45 428296 420066 007d00 70abfa 00baff 00a1ff 008fff 0080ff 006bff 545cf2 785ce3 "
    "8a4fe3 a136d4 b31fd4 b31fba b30da6 bd0d87 c70066 "
)


@dataclass(frozen=True)
class Job:
    """What the worker shall make of an upload."""

    upload: Upload
    wanted: Literal["structure", "description", "pictures"]

    def __str__(self) -> str:
        return self.upload.name


def load_libraries() -> None:
    """Import what the first description would: it takes seconds of a crystal's time on a busy machine."""
    import_module("pymatgen.analysis.local_env")
    import_module("pymatgen.symmetry.analyzer")


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
    return in_order(structure)


def describe(structure: Structure) -> dict[str, Any]:
    """All that the page shows of a crystal before any model has seen it; lengths in Å, density in g/cm³."""
    lattice, symmetry = structure.lattice, _symmetry(structure)
    kinds = zip(symmetry["kinds"], site_labels(structure), strict=True)
    bonds = find_bonds(structure, "crystal-nn")
    elements = sorted(structure.composition.elements, key=lambda element: element.X if element.X == element.X else 0)
    return {
        "formula": chemical_formula(structure),
        "remarks": list(structure.properties.get("remarks", [])),
        "space_group": symmetry["space_group"],
        "cell": dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), map(_digits, lattice.parameters), strict=True)),
        "volume_A3": _digits(lattice.volume),
        "density_g_cm3": _digits(float(structure.density)),
        "lattice_A": np.round(lattice.matrix, 5).tolist(),
        "sites": [_site(site, *each) for site, each in zip(structure, kinds, strict=True)],
        "bonds": _once(bonds),
        "bond_failures": len(bonds.failures),
        "elements": {element.symbol: _element(element.symbol) for element in elements},
    }


def _digits(value: float) -> float:
    return round(float(value), 4)


def _symmetry(structure: Structure) -> dict[str, Any]:
    """Space group as found in the sites, and of each site the first one of its kind."""
    dataset = symmetry_dataset(structure, SYMMETRY_TOLERANCE_A)
    if dataset is None:
        return {"space_group": None, "kinds": list(range(len(structure)))}
    group = {"symbol": str(dataset.international), "number": int(dataset.number)}
    return {"space_group": group, "kinds": dataset.equivalent_atoms.tolist()}


def _site(site: PeriodicSite, kind: int, label: str) -> dict[str, Any]:
    occupants = {element.symbol: float(amount) for element, amount in site.species.items()}
    return {
        "label": label,
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
    color = list(JMOL[3 * element.Z - 3 : 3 * element.Z])
    return {"name": element.long_name, "color": color, "radius_A": max(0.5, float(radius_A))}


def _once(bonds: Bonds) -> list[list[int]]:
    """Each bond in one of its two directions: centre, neighbour, cell of the neighbour (a, b, c)."""
    rows = np.column_stack([bonds.center, bonds.neighbor, bonds.image]).tolist()
    return [[i, j, *cell] for i, j, *cell in rows if (i, j, *cell) <= (j, i, *(-step for step in cell))]
