"""Families of superconductors by published definitions, for tables of errors.

The families are those of the overview J. E. Hirsch, M. B. Maple and F. Marsiglio, Physica C 514, 1 (2015),
doi 10.1016/j.physc.2015.03.002, which names 32 classes "with common or closely related crystal structure, composition
and physical properties", and of the 3DSC paper (T. Sommer et al., Sci. Data 10, 816 (2023), doi
10.1038/s41597-023-02721-y), whose groups are rules on the formula. A material belongs to the first family it fits;
each function names its source. Numbers are atomic fractions, so they hold for any formula unit.
"""

from collections.abc import Callable

from tc_common.composition import Fractions

FAMILIES = (
    "cuprate", "iron-based", "heavy fermion", "Chevrel", "A15", "MgB2-like", "carbon/fullerene",
    "bismuthate/other oxide", "hydride", "element", "other",
)  # fmt: skip
PNICTOGENS_CHALCOGENS = ("P", "As", "S", "Se", "Te")
# What replaces iron in the layers of iron-based superconductors.
IRON_SITE = ("Mn", "Fe", "Co", "Ni", "Cu", "Ru", "Rh", "Pd", "Os", "Ir", "Pt")
# Elements whose f electrons make heavy fermions: G. R. Stewart, Rev. Mod. Phys. 56, 755 (1984), doi
# 10.1103/RevModPhys.56.755, and the list of the 3DSC paper (Ce, U, Pu, Pr, Yb, Np).
HEAVY_FERMION_ELEMENTS = ("Ce", "Pr", "Yb", "U", "Np", "Pu")
RARE_EARTHS = ("Sc", "Y", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu")
ACTINIDES = ("Ac", "Th", "Pa", "U", "Np", "Pu", "Am")


def family(fractions: Fractions, *, a15_chains: bool, boron_honeycomb: bool) -> str:
    """Family of a composition (`composition.fractions`) with two marks of its structure (`data.reading`)."""
    marks = {"A15": a15_chains, "MgB2-like": boron_honeycomb}
    for name, fits in RULES:
        if fits(fractions) and marks.get(name, True):
            return name
    return "other"


def total(fractions: Fractions, *elements: str) -> float:
    """Sum of the atomic fractions of these elements."""
    return sum(fractions.get(element, 0.0) for element in elements)


def is_element(fractions: Fractions) -> bool:
    """One element only."""
    return len(fractions) == 1


def is_cuprate(fractions: Fractions) -> bool:
    """Copper and oxygen with at least one more element (3DSC), copper being a constituent and not a dopant.

    CuO2 layers are the mark of the class (C. W. Chu et al., Physica C 514, 290 (2015)). The thickest spacers between
    single layers leave copper 1 atom in 14, so 6 % are asked for; halogens may replace part of the oxygen.
    """
    anions = total(fractions, "O", "F", "Cl", "Br")
    return (
        len(fractions) >= 3
        and total(fractions, "Cu") >= 0.06
        and anions >= 0.3
        and total(fractions, "O") >= anions / 2
    )


def is_iron_based(fractions: Fractions) -> bool:
    """Layers of iron tetrahedrally surrounded by a pnictogen or chalcogen, nominally 1:1 (FeAs, FeSe).

    J. Paglione and R. L. Greene, Nat. Phys. 6, 645 (2010), doi 10.1038/nphys1759. Read off the composition: iron is
    the main metal of its site, and there are 0.6 to 2 pnictogens or chalcogens to each metal of that site (11, 111,
    122, 1111 and 10-4-8 have 0.8 to 1.8; skutterudites such as LaFe4P12 3, pyrite 2.0 and Fe3P 0.33 fall out).
    """
    iron = total(fractions, "Fe")
    metals = total(fractions, *IRON_SITE)
    anions = total(fractions, *PNICTOGENS_CHALCOGENS)
    return iron >= 0.08 and iron >= metals / 2 and 0.6 <= anions / metals < 2.0


def is_chevrel(fractions: Fractions) -> bool:
    """MxMo6X8 with X = S, Se, Te (R. Chevrel, M. Sergent and J. Prigent, J. Solid State Chem. 3, 515 (1971)).

    The anion may in part be O, Cl, Br or I and molybdenum in part Nb, Ru, Rh, Re (O. Pena, Physica C 514, 95 (2015));
    X to Mo is 8:6 within 12 %, which leaves MoS2 (2) and Mo2S3 (1.5) out, and there are at most 4 M.
    """
    molybdenum = total(fractions, "Mo", "Nb", "Ru", "Rh", "Re")
    anions = total(fractions, "S", "Se", "Te", "O", "Cl", "Br", "I")
    if total(fractions, "Mo") < molybdenum / 2 or total(fractions, "S", "Se", "Te") < anions / 2 or molybdenum == 0:
        return False
    return abs(anions / molybdenum / (8 / 6) - 1) <= 0.12 and molybdenum >= 6 / 18


def is_a15(fractions: Fractions) -> bool:
    """Compounds of the Cr3Si type, A3B in space group Pm-3n (G. R. Stewart, Physica C 514, 28 (2015)).

    The structure decides (`reading.has_a15_chains`); beta tungsten, of one element, is an element.
    """
    return len(fractions) >= 2


def is_mgb2_like(fractions: Fractions) -> bool:
    """Diborides with graphite-like boron layers (AlB2 type), MgB2 first of all.

    J. Nagamatsu et al., Nature 410, 63 (2001), doi 10.1038/35065039; S. L. Bud'ko and P. C. Canfield, Physica C 514,
    142 (2015). Together with the structure (`reading.has_boron_honeycomb`); carbon may replace part of the boron.
    """
    layer = total(fractions, "B", "C")
    return total(fractions, "B") >= layer / 2 > 0 and 0.55 <= layer <= 0.75


def is_carbon(fractions: Fractions) -> bool:
    """At least two carbons to one atom of anything else (3DSC): graphite, its intercalates, diamond, fullerides, MC2.

    A. P. Ramirez, Physica C 514, 166; R. P. Smith et al., 50; E. Bustarret, 36 (2015).
    """
    return total(fractions, "C") >= 2 / 3 - 1e-9


def is_hydride(fractions: Fractions) -> bool:
    """At least one hydrogen to three other atoms, in a compound without oxygen or carbon (no hydrate, no organic).

    PdH, Th4H15 and the superhydrides: C. J. Pickett and M. I. Eremets, Phys. Today 72 (5), 52 (2019).
    """
    return total(fractions, "H") >= 0.25 and total(fractions, "O", "C") < 0.05


def is_other_oxide(fractions: Fractions) -> bool:
    """Oxides that are no cuprates (3DSC), bismuthates first of all: A. W. Sleight, Physica C 514, 152 (2015).

    Oxygen has a third of the atoms or more, which leaves out interstitial oxygen in metals and layered oxysulfides.
    """
    return total(fractions, "O") >= 1 / 3 - 1e-9


def is_heavy_fermion(fractions: Fractions) -> bool:
    """Metals whose f element is one of `HEAVY_FERMION_ELEMENTS` and the main one of its kind (3DSC asks for 0.31).

    B. D. White, J. D. Thompson and M. B. Maple, Physica C 514, 246 (2015), whose most dilute members PrTi2Al20 and
    PrV2Al20 have 1 f atom in 23. A rule on composition: it cannot know the electron mass, so CeRu2 is in too.
    """
    heavy = total(fractions, *HEAVY_FERMION_ELEMENTS)
    return heavy >= 0.04 and heavy >= total(fractions, *RARE_EARTHS, *ACTINIDES) / 2


RULES: tuple[tuple[str, Callable[[Fractions], bool]], ...] = (
    ("carbon/fullerene", is_carbon),
    ("element", is_element),
    ("cuprate", is_cuprate),
    ("iron-based", is_iron_based),
    ("Chevrel", is_chevrel),
    ("A15", is_a15),
    ("MgB2-like", is_mgb2_like),
    ("hydride", is_hydride),
    ("bismuthate/other oxide", is_other_oxide),
    ("heavy fermion", is_heavy_fermion),
)
