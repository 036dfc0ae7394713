"""Space groups: their operations as matrices, and the settings that their symbols name.

gemmi knows the 564 settings of the International Tables and reads Hall symbols; spglib finds which group a set of
operations is, in whatever axes.
"""

import re
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from tc_common.cif import LONGEST_VALUE, CrystalError

Floats = NDArray[np.float64]

MOST_COMPARISONS = 5_000_000  # of products with operations of one rotation; Fm-3m needs 150,000
TRANSLATION_TOLERANCE = 0.01  # 3DSC lists `-y+562/565` where 1 is meant
LARGEST_COEFFICIENT = 7
ORIGIN = re.compile(r"(.*?)[\s:,]*\(?\s*(?:origin(?:\s*choice)?|o)\s*[:=]?\s*([12])\s*\)?", re.IGNORECASE)
QUALIFIER = re.compile(r"(.*?)\s*:\s*(-?[0-9a-cA-C-]{1,5}|[HRSZhrsz])")
ICSD_LETTER = re.compile(r"([A-Z].*?)\s*([SZHR])")
FULL_SYMBOL = re.compile(r"\b(?:2_?1?|4_?[123]?|6_?[1-5]?)\s*/\s*(?=[a-e mn])")


@dataclass(frozen=True, eq=False)
class Operations:
    """Operations of a space group on fractional coordinates, the identity first."""

    rotations: Floats
    """(n, 3, 3), whole numbers"""
    translations: Floats
    """(n, 3)"""
    number: int
    """Of the group in the International Tables; 0 if spglib does not recognise it."""
    name: str
    """How the file or the tables name the setting."""

    def metric_error(self, metric: Floats) -> float:
        """Largest change of the metric G = M Mᵀ (angstrom²) by an operation, |RᵀGR − G|ᵢⱼ over the lengths aᵢ aⱼ."""
        turned = self.rotations.transpose(0, 2, 1) @ metric @ self.rotations
        lengths = np.sqrt(np.diag(metric))
        return float(np.abs((turned - metric) / np.outer(lengths, lengths)).max())


def group(rotations: NDArray[Any], translations: Floats, name: str) -> Operations:
    """Operations without repetitions, checked to be a group; the identity first."""
    if np.abs(rotations).max() > LARGEST_COEFFICIENT or any(abs(round(d)) != 1 for d in np.linalg.det(rotations)):
        raise CrystalError("a symmetry operation is no rotation or reflection (its determinant is not 1 or -1)")
    codes = codes_of(rotations)
    keep = _first_of_each(codes, translations)
    rotations, translations, codes = rotations[keep], translations[keep], codes[keep]
    first = _identity(rotations, translations)
    if first is None or not _is_closed(rotations, translations, codes):
        raise CrystalError(
            "its symmetry operations are no group (the identity or a product is missing); list them all"
        )
    order = [first, *(n for n in range(len(codes)) if n != first)]
    rotations, translations = rotations[order], translations[order]
    return Operations(rotations.astype(float), translations, _number(rotations, translations), name)


def codes_of(rotations: NDArray[Any]) -> NDArray[np.int64]:
    """One whole number for each (3, 3) matrix of small whole numbers; -1 where they are not small."""
    flat = rotations.reshape(*rotations.shape[:-2], 9).astype(np.int64)
    codes = (flat + 15) @ (31 ** np.arange(9, dtype=np.int64))
    return np.where(np.abs(flat).max(axis=-1) > 15, -1, codes)


def _first_of_each(codes: NDArray[np.int64], translations: Floats) -> list[int]:
    seen: dict[tuple[int, ...], int] = {}
    for n, (code, translation) in enumerate(zip(codes.tolist(), translations, strict=True)):
        seen.setdefault((code, *np.round(translation * 1e4).astype(int) % 10_000), n)
    return list(seen.values())


def _identity(rotations: NDArray[Any], translations: Floats) -> int | None:
    shifts = np.abs(translations - np.round(translations)).max(axis=1)
    found = np.flatnonzero((rotations == np.eye(3)).all(axis=(1, 2)) & (shifts < 1e-4))
    return int(found[0]) if len(found) else None


def _is_closed(rotations: NDArray[Any], translations: Floats, codes: NDArray[np.int64]) -> bool:
    """Whether the product of any two operations is one of them, lattice translations aside."""
    kinds, kind, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if counts.min() != counts.max():
        return False
    if len(codes) ** 2 * int(counts[0]) > MOST_COMPARISONS:
        raise CrystalError(f"{counts[0]} pure translations are listed as symmetry; give a smaller cell")
    shifts = translations[np.argsort(kind, kind="stable")].reshape(len(kinds), counts[0], 3)
    for rotation, translation in zip(rotations, translations, strict=True):
        products = codes_of(rotation @ rotations)
        at = np.searchsorted(kinds, products).clip(max=len(kinds) - 1)
        if (kinds[at] != products).any():
            return False
        apart = shifts[at] - (translations @ rotation.T + translation)[:, None]
        if (np.abs(apart - np.round(apart)).max(axis=2).min(axis=1) > TRANSLATION_TOLERANCE).any():
            return False
    return True


def _number(rotations: NDArray[Any], translations: Floats) -> int:
    """Number of the space group, whatever the axes; 0 if it is not recognised."""
    if (rotations == np.eye(3)).all():
        return 1
    for shifts in (translations, np.round(translations * 24) / 24):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of spglib about itself
            found = spglib.get_spacegroup_type_from_symmetry(rotations.astype(np.intc), shifts)
        if found is not None and found.number > 1:  # 1 is spglib's answer to translations that are not exact
            return int(found.number)
    return 0


def same(one: Operations, other: Operations) -> bool:
    """Whether two sets of operations are equal, lattice translations aside."""
    if len(one.rotations) != len(other.rotations):
        return False
    codes, others = codes_of(one.rotations), codes_of(other.rotations)
    apart = one.translations[:, None] - other.translations[None]
    near = np.abs(apart - np.round(apart)).max(axis=2) <= TRANSLATION_TOLERANCE
    return bool((near & (codes[:, None] == others[None])).any(axis=1).all())


@cache
def of_setting(name: str) -> Operations:
    """Operations of a setting of gemmi's table, by its extended Hermann-Mauguin symbol."""
    group = gemmi.find_spacegroup_by_name(name)
    if group is None:
        raise CrystalError(f"space group {name!r} is not known; list the symmetry operations")
    return _from_gemmi(group.operations(), group.number, name)


def _from_gemmi(group: gemmi.GroupOps, number: int, name: str) -> Operations:
    found = list(group)
    rotations = np.array([op.rot for op in found]) // gemmi.Op.DEN
    return Operations(rotations.astype(float), np.array([op.tran for op in found]) / gemmi.Op.DEN % 1.0, number, name)


@lru_cache(maxsize=1024)
def hall_operations(symbol: str) -> Operations:
    """Operations of a Hall symbol.

    Raises:
        CrystalError: gemmi cannot read it.
    """
    try:
        found = _from_gemmi(gemmi.symops_from_hall(symbol[:LONGEST_VALUE]), 0, symbol)
        return group(found.rotations.astype(int), found.translations, symbol)
    except (RuntimeError, ValueError) as error:
        raise CrystalError(f"Hall symbol {symbol[:40]!r} cannot be read; list the symmetry operations") from error


# ---- settings by their names -------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def settings_named(name: str) -> tuple[gemmi.SpaceGroup, ...]:
    """Settings that a Hermann-Mauguin symbol may mean, the conventional one first; empty if it is not known.

    Settings are named by `:1 :2 :H :R` (International Tables), `S Z H R` (ICSD) or words (`(origin choice 2)`).
    """
    base, code = _suffix(_typed(name))
    if base is None:
        return ()
    group = _find(base)
    if group is None:
        return ()
    same = [each for each in gemmi.spacegroup_table() if each.number == group.number and _reads_as(each, group, base)]
    same.sort(key=lambda each: each.hm != group.hm)
    if base[0] in "Hh":
        same = [each for each in same if each.ext != "R"]
    return tuple(with_code(same, code, everywhere=True) if code else same)


def setting_code(name: str) -> str:
    """The setting that a symbol names expressly, such as the `2` of `F d -3 m :2`; empty if it names none."""
    return _suffix(_typed(name))[1]


def _typed(name: str) -> str:
    """A symbol without what types its subscripts: `P 6_3/m`, `P6(3)/m`."""
    return re.sub(r"[_~^$]|\((?=\d\))|(?<=\(\d)\)", "", " ".join(name[:80].split())).strip("'\" ")


def _suffix(text: str) -> tuple[str | None, str]:
    """Symbol and setting; a symbol of None where the setting makes no sense."""
    if _find(text) is not None and not re.search(r"[:HRSZ]\s*\S*$", text[1:]):
        return text, ""
    for pattern in (ORIGIN, QUALIFIER, ICSD_LETTER):
        found = pattern.fullmatch(text)
        if found and _find(found[1]) is not None:
            code = found[2].upper() if len(found[2]) == 1 else found[2].lower()
            return found[1], {"S": "1", "Z": "2"}.get(code, code)
    return (text, "") if _find(text) is not None and ":" not in text else (None, "")


def _find(name: str) -> gemmi.SpaceGroup | None:
    """The setting of a short or full symbol; `P 2/n 21/m 2/a` is P n m a."""
    if not name or not name.isascii():
        return None
    direct = gemmi.find_spacegroup_by_name(name)
    if direct is not None:
        return direct
    if "/" not in name:
        return _monoclinic(name)
    first = FULL_SYMBOL.search(name)
    kept = name[: first.end()] + FULL_SYMBOL.sub("", name[first.end() :]) if first else name
    short = gemmi.find_spacegroup_by_name(kept) or gemmi.find_spacegroup_by_name(FULL_SYMBOL.sub("", name))
    return short or _monoclinic(name)


@lru_cache(maxsize=1024)
def _monoclinic(name: str) -> gemmi.SpaceGroup | None:
    """The first setting that a monoclinic symbol without ones may mean, such as `P 21/b`."""
    text = "".join(name.split()).lower()
    return next((each for each in gemmi.spacegroup_table() if 3 <= each.number <= 15 and _bare(each.hm) == text), None)


def _reads_as(each: gemmi.SpaceGroup, group: gemmi.SpaceGroup, base: str) -> bool:
    """Whether a setting is written like the one found: the same symbol, or a monoclinic one without its ones."""
    if each.hm == group.hm:
        return True
    return 3 <= each.number <= 15 and _bare(each.hm) == "".join(base.split()).lower()


def _bare(symbol: str) -> str:
    return "".join(part for part in symbol.split() if part != "1").lower()


def with_code(settings: list[gemmi.SpaceGroup], code: str, everywhere: bool = False) -> list[gemmi.SpaceGroup]:
    """Those settings that bear the code; a code that says nothing (`:1` of Fm-3m, `:H` of P6) leaves them."""
    bearing = [each for each in settings if each.ext.strip("\0") == code.upper() or each.qualifier == code.lower()]
    if bearing or not settings:
        return bearing
    plain = all(not each.ext.strip("\0") for each in settings)
    harmless = code == "1" or (code.upper() == "H" and 143 <= settings[0].number <= 194)
    if plain and harmless:
        return settings
    if everywhere:
        return [
            each for each in gemmi.spacegroup_table() if each.number == settings[0].number and each.qualifier == code
        ]
    raise CrystalError(f"space group {settings[0].hm} has no setting {code[:20]!r}; list the symmetry operations")


@cache
def settings_of_number(number: int) -> tuple[gemmi.SpaceGroup, ...]:
    """The conventional settings of a group: both origins, both axes of rhombohedral lattices."""
    first = gemmi.find_spacegroup_by_number(number)
    return tuple(each for each in gemmi.spacegroup_table() if each.number == number and each.hm == first.hm)
