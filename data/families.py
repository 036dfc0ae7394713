"""Families of superconductors, for tables of errors."""

from pymatgen.core import Composition

from data.compositions import Fractions, fractions


def family(composition: Composition) -> str:
    """Family by composition."""
    return _family(fractions(composition))


def _family(shares: Fractions) -> str:
    elements = set(shares)
    if len(elements) == 1:
        return "element"
    if {"Cu", "O"} <= elements:
        return "cuprate"
    if "Fe" in elements and elements & {"As", "P", "Se", "Te", "S"}:
        return "iron-based"
    if "O" in elements:
        return "bismuthate/other oxide"
    return "other"
