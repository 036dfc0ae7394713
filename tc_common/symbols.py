"""What occupies a site, from the symbols and labels that real files use.

`Cu`, `CU`, `Cu2+`, `Cu1` and `11B` are one element; `La0.925Sr0.075` and `0.925La + 0.075Sr` are a mixture that says
its own amounts; `Va` and `V_O` are vacancies; `La/Sr`, `T1`, `OH` and `M1` cannot be read and are refused.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from pymatgen.core import Element

from tc_common.cif import CrystalError

ELEMENTS = frozenset(element.symbol for element in Element if element.Z <= 99) - {
    "D",
    "T",
}  # heavier ones were never seen
HEAVY_HYDROGEN = ("D", "2H", "3H")
CHARGE = r"(?:\d*\.?\d*[+-]|[+-]\d*\.?\d*|[+-]{2,4}|\((?:[IVX]+|\d*[+-]|[+-]\d)\)|\d{1,4})?"
SYMBOL = re.compile(rf"(\d{{1,3}})?([A-Za-z]{{1,2}}){CHARGE}[A'*#]{{0,2}}")
SEPARATOR = r"\s*(?:[+,/;&]\s*|\s|(?=[A-Z\d.])|$)"
ION = r"([A-Z][a-z]?)(?:\d?[+-](?=\s*(?:[+,/;&]|$)))?"
AMOUNT_FIRST = re.compile(rf"\s*(?P<amount>\d*\.\d+|\d)\s*\*?\s*{ION}{SEPARATOR}")
AMOUNT_LAST = re.compile(rf"\s*([A-Z][a-z]?)(?:\d[+-])?\s*[:=]?\s*(?P<amount>\d?\.\d+){SEPARATOR}")
LABEL = re.compile(r"([A-Za-z]{1,3})(.*)", re.DOTALL)
# A vacancy by its name, or in the notation of Kröger and Vink (`V_O`). A bare X may also be an unknown element.
VACANCY = re.compile(r"(?:Va|VA|va|[Vv]ac(?:ancy|ant)?|VAC)\d*|V[_(']+\{?[A-Z][a-z]?\d?[^a-z]*")
PLACEHOLDER = re.compile(r"[Xx]\d*")
# Names of crystallographic sites that follow the element in labels of AMCSD: `SrM1`, `SiT2`, `CaX`.
SITE_NAME = re.compile(r"[MTAXQ]\d*[A-Za-z']{0,2}")
REMEDY = "give one element a row, with its occupancy"


@lru_cache(maxsize=4096)
def species(symbol: str, upper: bool = False) -> tuple[tuple[str, float], ...]:
    """Elements and amounts of an `_atom_site_type_symbol`; none for a vacancy, `X` for a placeholder.

    Args:
        upper: the file writes symbols in capitals, so that `SR` is strontium.

    Raises:
        CrystalError: no element, or several without their amounts.
    """
    text = symbol.strip()
    if VACANCY.fullmatch(text):
        return ()
    if PLACEHOLDER.fullmatch(text):
        return (("X", 1.0),)
    if text in HEAVY_HYDROGEN or re.fullmatch(rf"D{CHARGE}", text):
        return (("D", 1.0),)
    if element := _single(text, upper):
        return ((element, 1.0),)
    if mixed := _mixture(text):
        return mixed
    raise CrystalError(f"atom {symbol[:20]!r} is no element; {REMEDY}")


def _single(text: str, upper: bool) -> str:
    """The one element of a symbol with or without isotope, charge and number; empty if it is none."""
    found = SYMBOL.fullmatch(text)
    if not found:
        return ""
    isotope, letters = found.group(1), found.group(2)
    if len(letters) == 2 and letters.isupper() and not upper:
        return ""
    if letters[0].islower() and letters != text:
        return ""
    element = letters.capitalize()
    heavy_enough = element in ELEMENTS and (isotope is None or int(isotope) >= Element(element).Z)
    return element if heavy_enough else ""


def _mixture(text: str) -> tuple[tuple[str, float], ...]:
    """Elements with amounts that sum to at most one site; empty if the text is no such mixture."""
    inner = text.strip("()[]{} ")
    for pattern in (AMOUNT_FIRST, AMOUNT_LAST):
        amounts: dict[str, float] = {}
        position = 0
        while position < len(inner) and (found := pattern.match(inner, position)):
            name = next(group for group in found.groups() if group and group[0].isalpha())
            if name in amounts or name not in ELEMENTS | {"D", "Va", "X"}:
                break
            amounts[name] = float(found["amount"])
            position = found.end()
        amounts = {name: amount for name, amount in amounts.items() if name not in ("Va", "X")}
        if position == len(inner) and amounts and min(amounts.values()) > 0 and sum(amounts.values()) <= 1.02:
            return tuple(amounts.items())
    return ()


def writes_capitals(symbols: Iterable[str]) -> bool:
    """Whether no symbol is written as chemists do, with a capital and a small letter."""
    return not any(re.match(r"\d*[A-Z][a-z]", symbol) for symbol in symbols)


@lru_cache(maxsize=4096)
def species_of_label(label: str, formula: frozenset[str], upper: bool = True) -> tuple[tuple[str, float], ...]:
    """Elements and amounts from an `_atom_site_label`, where no type symbol is given.

    Args:
        formula: elements of the declared formula, which decide between `CA` and `C`; may be empty.
        upper: the file writes labels in capitals; else `HO1` beside `Nb1` may be hydrogen at O1 as well as holmium.

    Raises:
        CrystalError: it names no element, several, or one of two that cannot be distinguished.
    """
    if VACANCY.fullmatch(label):
        return ()
    if PLACEHOLDER.fullmatch(label):
        return (("X", 1.0),)
    if mixed := _mixture(label):
        return mixed
    candidates = [
        element
        for element in _label_elements(label)
        if not formula or element in formula or (element == "D" and "H" in formula)
    ]
    if not formula and not upper and len(candidates) == 1 and candidates[0] == label[:2].capitalize() != label[:2]:
        candidates.append(label[0])
    if len(candidates) == 1:
        return ((candidates[0], 1.0),)
    reason = f"may be {' or '.join(candidates)}" if candidates else "names no one element"
    raise CrystalError(f"label {label[:20]!r} {reason}; give _atom_site_type_symbol")


def _label_elements(label: str) -> list[str]:
    """Elements that a label may start with: as it is written, or in capitals."""
    text = re.sub(r"^\d{1,3}(?=[A-Z])", "", label)
    found = []
    for length in (2, 1):
        head, tail = text[:length], text[length:]
        element = head.capitalize()
        if len(head) < length or not head[0].isupper() or (element not in ELEMENTS and head != "D"):
            continue
        if length == 2 and head.isupper() and tail[:1].isalpha():
            continue  # three capitals are a word, such as `TET`
        if _is_site_name(tail):
            found.append(element)
        if length == 2 and head[1].islower():
            break  # `Ca1` is calcium, never carbon
    return found


def _is_site_name(tail: str) -> bool:
    """Whether what follows the element in a label numbers the site, and names no other element."""
    if re.fullmatch(r"\d*[+-]", tail):
        return True  # a charge
    if any(mark in tail for mark in ",/+&;:") or re.search(r"-[A-Za-z]", tail):
        return False
    if re.fullmatch(r"\d*O", tail):
        return False  # `H2O`
    runs = re.findall(r"[A-Za-z]+", tail)
    if any(run in ("H", "D") or (len(run) > 1 and run[:2].capitalize() in ELEMENTS) for run in runs):
        return False
    return not tail[:1].isalpha() or bool(SITE_NAME.fullmatch(tail))


def element_of_label(label: str) -> str:
    """The element that a label such as `Ti1` plainly names; empty if it does not."""
    found = re.fullmatch(r"([A-Z][a-z])\d*", label)
    return found.group(1) if found and found.group(1) in ELEMENTS else ""
