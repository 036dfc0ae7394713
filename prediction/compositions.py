"""A crystal's composition as the user reads it and as the trees do."""

from pymatgen.core import Composition, Structure

# Shares of atoms to this many digits: what a CIF rounds apart (0.3333, 0.33333333) stays apart, but elements of equal
# amount stay equal, of which one is the main element.
DIGITS = 7


def shown_formula(structure: Structure) -> str:
    """Reduced formula, amounts to four digits."""
    amounts = {element: round(amount, 4) for element, amount in structure.composition.items()}
    return str(Composition(amounts).reduced_formula)


def fractions_formula(structure: Structure) -> str:
    """Formula of one atom in all, such as Mg0.3333333B0.6666667: the input of the trees and of distances."""
    shares = structure.composition.fractional_composition
    return "".join(f"{element.symbol}{share:.{DIGITS}f}" for element, share in shares.items())
