"""How crystals were read until gemmi: pymatgen's CifParser, kept as an oracle for `benchmarks.reading`."""

import warnings
from pathlib import Path

from pymatgen.core import Composition, Element, Species, Structure
from pymatgen.io.cif import CifParser

# What a text that is no CIF makes pymatgen raise.
ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError)


def read_with_pymatgen(path: Path) -> Structure:
    """One structure of plain elements, with no further checks.

    Raises:
        ValueError: pymatgen cannot read it, or reads no or several structures.
    """
    text = path.read_text(encoding="utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = _parse(text)
    except ERRORS as error:
        raise ValueError(str(error)) from error
    if any(isinstance(species, Species) for species in structure.composition):
        structure.remove_oxidation_states()
    heavy = [species for species in structure.composition if species in (Element("D"), Element("T"))]
    if heavy:
        structure.replace_species({species: Element("H") for species in heavy})
    return structure


def _parse(text: str) -> Structure:
    """pymatgen's reading, with the hydrogen of sites shared by O and H put back."""
    parser = CifParser.from_str(text, occupancy_tolerance=1.02, check_cif=False)
    structures = parser.parse_structures(primitive=False, check_occu=True, on_error="raise")
    if len(structures) != 1:
        raise ValueError(f"holds {len(structures)} structures")
    structure = structures[0]
    for site in structure:
        if hydrogen := site.properties.get("implicit_hydrogens"):
            site.species = Composition({**site.species.as_dict(), "H": hydrogen})
    if "implicit_hydrogens" in structure.site_properties:
        structure.remove_site_property("implicit_hydrogens")
    return structure
