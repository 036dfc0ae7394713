"""What the chemistry of doping says of a formula: charge balance, ratios to the active ion, site radii, impurities.

Each row of `DOPING` is one feature with its meaning; all are continuous. A feature that belongs to an ion fades out
smoothly (`presence`) where that ion has less than 5 % of the atoms and is 0 without it: a trace of copper makes no
cuprate.

Legend: n materials, E elements, F features.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from tc_common.elements import LAST_Z, Array, element_table, property_names

# An element with less than this fraction of the atoms counts less.
FULL_WEIGHT = 0.05
# Formal charges where an element has its usual one: closed shells, and 2 or 3 for the 3d metals of cuprates and iron
# pnictides; cerium is 4 as in Nd1.85Ce0.15CuO4. Elements that are not here count as neutral (Pd, Pt, Au ...).
CHARGES = {
    1: "H Li Na K Rb Cs Ag", 2: "Be Mg Ca Sr Ba Zn Cd Hg Pb Mn Fe Co Ni Cu", 4: "Ce Th Ti Zr Hf Ru C Si Ge Sn U",
    3: "B Al Ga In Tl Bi Sc Y La Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Cr", 5: "V Nb Ta", 6: "Mo W Re",
    -1: "F Cl Br I", -2: "O S Se Te", -3: "N P As Sb",
}  # fmt: skip
RARE_EARTHS = "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Y Sc"
MAGNETIC_RARE_EARTHS = "Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb"
ALKALINE_EARTHS, ALKALIS, HALOGENS = "Mg Ca Sr Ba", "Li Na K Rb Cs", "F Cl Br I"
PNICTOGENS, CHALCOGENS, MAGNETIC_METALS = "P As Sb Bi", "S Se Te", "Cr Mn Fe Co Ni"
BLOCK_METALS = "Hg Tl Bi Pb Ga Al In Cd"  # of the layers that separate the copper-oxide planes
A_SITE = f"Ca Sr Ba {RARE_EARTHS} {ALKALIS}"  # not magnesium, which is too small for it
TRANSITION_METALS = " ".join(
    element.symbol
    for element in map(Element.from_Z, range(1, LAST_Z + 1))
    if element.is_transition_metal and element.symbol not in {*RARE_EARTHS.split(), "Ac", "Lr"}
)
LARGEST_VALENCE, LARGEST_RATIO = 10.0, 10.0
SIMPLE_FORMULA_ATOMS = 10
Column = Callable[[Array], Array]
"""Fractions of the atoms (n, E) to one feature (n,)."""


@dataclass(frozen=True)
class Feature:
    """One column: its name, what it means, how it is computed from atomic fractions."""

    name: str
    meaning: str
    column: Column


def doping_features(fractions: Array) -> Array:
    """Features (n, F) of atomic fractions (n, E): the rows of `DOPING`, in their order."""
    return np.stack([feature.column(fractions) for feature in DOPING], axis=1)


def doping_names() -> list[str]:
    """Names of `doping_features`."""
    return [feature.name for feature in DOPING]


def presence(fractions: Array) -> Array:
    """Weight of an element: smoothstep of its fraction, 0 at none, 1 from `FULL_WEIGHT` on."""
    ratio = np.minimum(fractions / FULL_WEIGHT, 1.0)
    return ratio**2 * (3 - 2 * ratio)


@cache
def indices(symbols: str) -> NDArray[np.int64]:
    """Columns of elements given by symbols with blanks between."""
    return np.array([Element(symbol).Z - 1 for symbol in symbols.split()])


def total(fractions: Array, symbols: str) -> Array:
    """Fraction of the atoms (n,) that these elements have together."""
    return fractions[:, indices(symbols)].sum(axis=1)


@lru_cache(maxsize=1)
def charges() -> Array:
    """Usual formal charge (E,) of each element."""
    table = np.zeros(LAST_Z)
    for charge, symbols in CHARGES.items():
        table[indices(symbols)] = charge
    return table


def _quotient(above: Array, below: Array, largest: float) -> Array:
    """above / below within ± largest; where there is nothing below, 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.clip(above / below, -largest, largest)
    return np.where(below > 0, found, 0.0)


def formal_valence(fractions: Array, symbol: str) -> Array:
    """Charge (n,) that an atom of `symbol` must have if all others have their usual one; within ±10, 0 without it."""
    column = indices(symbol)[0]
    own = fractions[:, column]
    others = fractions @ charges() - own * charges()[column]
    return presence(own) * _quotient(-others, own, LARGEST_VALENCE)


def copper_holes(fractions: Array) -> Array:
    """Holes per copper of an oxide (n,): formal valence of Cu above 2; negative where electrons are doped."""
    copper, oxygen = total(fractions, "Cu"), total(fractions, "O")
    return presence(oxygen) * (formal_valence(fractions, "Cu") - 2 * presence(copper))


def ratio(fractions: Array, above: str, below: str) -> Array:
    """Atoms (n,) of some elements per atom of others, at most 10; fades out with the latter."""
    base = total(fractions, below)
    return presence(base) * _quotient(total(fractions, above), base, LARGEST_RATIO)


def moments(fractions: Array, symbols: str, values: Array) -> tuple[Array, Array]:
    """Mean and variance (n,) of values (E,) over the atoms of some elements; fades out with them."""
    columns = indices(symbols)
    weights, chosen = fractions[:, columns], values[columns]
    base = weights.sum(axis=1)
    safe = np.maximum(base, np.finfo(float).tiny)
    mean = weights @ chosen / safe
    variance = (weights * (chosen - mean[:, None]) ** 2).sum(axis=1) / safe
    return presence(base) * mean, presence(base) * variance


def ordered(fractions: Array, place: int) -> Array:
    """The largest, second … fraction (n,) by place from 0."""
    return -np.partition(-fractions, place, axis=1)[:, place]


def distance_to_simple_formula(fractions: Array) -> Array:
    """Fraction of the atoms (n,) to exchange to come to a formula of at most 10 atoms with integer amounts.

    Half the L1 distance; 0 in Nb3Sn and MgB2, 0.011 in La1.85Sr0.15CuO4 (from La2CuO4, 7 atoms).
    """
    nearest = np.ones(len(fractions))
    for atoms in range(1, SIMPLE_FORMULA_ATOMS + 1):
        whole = np.round(fractions * atoms) / atoms
        nearest = np.minimum(nearest, np.abs(fractions - whole).sum(axis=1) / 2)
    return nearest


@cache
def _property(*names: str) -> Array:
    """Sum (E,) of some columns of the element table."""
    known = property_names()
    return element_table()[:, [known.index(name) for name in names]].sum(axis=1)


def _valences() -> Iterable[Feature]:
    for symbol in ("Cu", "Fe", "Bi", "Ti", "Nb", "Ni", "V", "Co"):
        meaning = f"formal valence of {symbol} by charge balance"
        yield Feature(f"valence {symbol}", meaning, lambda x, symbol=symbol: formal_valence(x, symbol))  # type: ignore[misc]
    yield Feature(
        "holes per Cu", "formal valence of copper in an oxide above 2: the doping of a cuprate", copper_holes
    )
    yield Feature("charge", "sum of the usual charges per atom: what a metal or an odd valence takes up", _charge)
    yield Feature("charge size", "its absolute value", lambda x: np.abs(_charge(x)))


def _charge(fractions: Array) -> Array:
    return fractions @ charges()


PER_COPPER = "O Ca Sr Ba La Y Hg Tl Bi Pb F Nd K Zn Ni Co"
PER_IRON = "As P Se Te Co Ni Mn Ru Rh K Na Ba Sr Ca F H O La S Pt Zn Cu"
# Name, elements above, elements below, meaning.
RATIOS = (
    *((f"{s} per Cu", s, "Cu", f"{s} atoms per copper atom") for s in PER_COPPER.split()),
    ("rare earths per Cu", RARE_EARTHS, "Cu", "filling of the layers between the planes"),
    ("alkaline earths per Cu", ALKALINE_EARTHS, "Cu", "filling and hole doping of those layers"),
    ("block metals per Cu", BLOCK_METALS, "Cu", "Hg, Tl, Bi, Pb … layers per copper-oxide plane"),
    ("magnetic of rare earths", MAGNETIC_RARE_EARTHS, RARE_EARTHS, "rare earths with a magnetic moment of all"),
    ("impurities per Cu", f"{MAGNETIC_METALS} Zn", "Cu", "atoms that break pairs in the copper-oxide plane"),
    ("cations per O", f"{ALKALINE_EARTHS} {RARE_EARTHS}", "O", "alkaline and rare earths per oxygen atom"),
    *((f"{s} per Fe", s, "Fe", f"{s} atoms per iron atom") for s in PER_IRON.split()),
    ("rare earths per Fe", RARE_EARTHS, "Fe", "1 in the 1111 family"),
    ("magnetic rare earths per Fe", MAGNETIC_RARE_EARTHS, "Fe", "those with a magnetic moment"),
    ("anions per Fe", f"{PNICTOGENS} {CHALCOGENS}", "Fe", "pnictogens and chalcogens per iron atom"),
    ("Mg per B", "Mg", "B", "0.5 in MgB2"),
    ("C per B", "C", "B", "electron doping of MgB2, and borocarbides"),
    ("Al per B", "Al", "B", "electron doping of MgB2"),
    ("transition metals per B", TRANSITION_METALS, "B", "borides of transition metals"),
)  # fmt: skip


def _ratios() -> Iterable[Feature]:
    for name, above, below, meaning in RATIOS:
        yield Feature(name, meaning, lambda x, a=above, b=below: ratio(x, a, b))  # type: ignore[misc]


GROUPS = {
    "A site": A_SITE, "transition metals": TRANSITION_METALS, "pnictogens": PNICTOGENS, "chalcogens": CHALCOGENS,
    "halogens": HALOGENS, "rare earths": RARE_EARTHS, "alkaline earths": ALKALINE_EARTHS, "alkalis": ALKALIS,
    "magnetic metals": MAGNETIC_METALS, "magnetic rare earths": MAGNETIC_RARE_EARTHS,
}  # fmt: skip


def _groups() -> Iterable[Feature]:
    for name, symbols in GROUPS.items():
        yield Feature(f"fraction {name}", f"of the atoms: {symbols}", lambda x, s=symbols: total(x, s))  # type: ignore[misc]


# Name, elements, property of the table, 0 for its mean and 1 for its variance over them, meaning.
AVERAGES = (
    ("A-site radius", A_SITE, "average_ionic_radius", 0, "mean ionic radius (Å) of large cations: chemical pressure"),
    ("A-site variance", A_SITE, "average_ionic_radius", 1, "variance of those radii (Å²): disorder near the planes"),
    ("rare-earth radius", RARE_EARTHS, "average_ionic_radius", 0, "mean ionic radius (Å) of the rare earths"),
    ("transition-metal mass", TRANSITION_METALS, "atomic_mass", 0, "mean mass (u) of the transition metals"),
    ("transition-metal row", TRANSITION_METALS, "row", 0, "mean period of the transition metals: 3d, 4d or 5d"),
)


def _averages() -> Iterable[Feature]:
    for name, symbols, of, moment, meaning in AVERAGES:
        yield Feature(name, meaning, lambda x, s=symbols, p=of, m=moment: moments(x, s, _property(p))[m])  # type: ignore[misc]
    yield Feature(
        "electrons per transition metal", "mean s and d electrons of the transition metals (Matthias 1955)",
        lambda x: moments(x, TRANSITION_METALS, _property("s_valence", "d_valence"))[0],
    )  # fmt: skip
    yield Feature(
        "electrons per atom", "s, p and d valence electrons per atom (Matthias 1955, doi 10.1103/PhysRev.97.74)",
        lambda x: x @ _property("s_valence", "p_valence", "d_valence"),
    )  # fmt: skip
    yield Feature("sp electrons per atom", "their s and p part", lambda x: x @ _property("s_valence", "p_valence"))


def _amounts() -> Iterable[Feature]:
    """How the atoms are divided among the elements."""
    for place, name in enumerate(("largest", "second", "third", "fourth")):
        yield Feature(f"{name} amount", f"{name} fraction", lambda x, place=place: ordered(x, place))  # type: ignore[misc]
    yield Feature("second per largest", "1 in AB", lambda x: _quotient(ordered(x, 1), ordered(x, 0), 1.0))
    yield Feature(
        "third per second", "1 in ABC; fades out with the second element",
        lambda x: presence(ordered(x, 1)) * _quotient(ordered(x, 2), ordered(x, 1), 1.0),
    )  # fmt: skip
    yield Feature("distance to a simple formula", "atoms that doping has exchanged", distance_to_simple_formula)


DOPING: tuple[Feature, ...] = (*_valences(), *_ratios(), *_groups(), *_averages(), *_amounts())
