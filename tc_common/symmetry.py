"""Symmetry operations of a CIF: those listed, or those of the setting that it names; never a guess in silence.

gemmi knows the 564 settings of the International Tables and reads Hall symbols; spglib tells which group a list of
operations is, in whatever axes. Names of groups with two origins, or with rhombohedral and hexagonal axes, are
ambiguous: every setting that fits the cell is given, and the reader takes the one that fits all else in the file.
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

from tc_common.cif import (
    CODE_TAGS,
    HALL_TAGS,
    LONGEST_VALUE,
    NAME_TAGS,
    NUMBER_TAGS,
    OPERATION_TAGS,
    SYSTEM_TAGS,
    Block,
    CrystalError,
)

Floats = NDArray[np.float64]

MOST_COMPARISONS = 5_000_000  # of products with operations of one rotation; Fm-3m needs 150,000
MOST_OPERATIONS = 576  # three times those of Fm-3m; 3DSC lists up to 48
# Of the products of edges. Relaxed cells of 3DSC break the metric of their own operations by up to 0.062, wrong
# cells by 0.29.
METRIC_TOLERANCE = 0.1
# Where a group is only named, the cell was refined in it: what differs is rounding.
NAMED_METRIC_TOLERANCE = 0.02
TRANSLATION_TOLERANCE = 0.01  # 3DSC lists `-y+562/565` where 1 is meant
LARGEST_COEFFICIENT = 7
TERM = re.compile(r"([+-]?)(?:(\d{1,2})?\*?([xyz])|(\d{1,6})/(\d{1,6})|(\d{0,3}\.\d{1,12}|\d{1,3}\.?))")
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


SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)
HEXAGONAL = ("hexagonal", "trigonal", "rhombohedral")  # words that programs use for one another


def candidates(block: Block, metric: Floats) -> list[Operations]:
    """Operations that the file may mean: one, or the settings of an ambiguous name that fit the cell.

    Args:
        metric: (3, 3) G of the cell, angstrom².

    Raises:
        CrystalError: they are no group, contradict each other or the cell, or are missing.
    """
    listed = _listed(block)
    named = _named(block)
    if listed is None:
        _check_not_lost(block, named)
        fitting = [each for each in named if each.metric_error(metric) <= NAMED_METRIC_TOLERANCE]
        if not fitting:
            raise CrystalError(_misfit(named[0].name))
        _check_system(block, named[0].number)
        return fitting[:1] if _conventional(fitting) else fitting
    _check_agreement(block, listed, named)
    _check_system(block, listed.number)
    if listed.metric_error(metric) > METRIC_TOLERANCE:
        raise CrystalError(_misfit("of its listed operations"))
    return [listed]


def _check_system(block: Block, number: int) -> None:
    """Refuse symmetry of another crystal system than the file declares; a few words of programs are not known."""
    tag, declared = block.one(SYSTEM_TAGS)
    said = "hexagonal" if declared.lower() in HEXAGONAL else declared.lower()
    system = next(name for last, name in SYSTEMS if number <= last)
    if number and said != system and said in [name for _, name in SYSTEMS]:
        raise CrystalError(
            f"{tag} is {declared[:20]}, but the symmetry given is {system}; give the right group or all its operations"
        )


def _misfit(name: str) -> str:
    return f"the cell does not fit the symmetry {name} (_cell_length_, _cell_angle_); give the cell of that setting"


# ---- operations that are listed ----------------------------------------------------------------------------------


def _listed(block: Block) -> Operations | None:
    """The operations of the file's list; None without one."""
    lists = [tuple(texts) for tag in OPERATION_TAGS if (texts := block.column(tag)) and texts not in (["?"], ["."])]
    if not lists:
        return None
    if max(map(len, lists)) > MOST_OPERATIONS:
        raise CrystalError(f"{max(map(len, lists))} symmetry operations; at most {MOST_OPERATIONS} are applied")
    found = [operations(each) for each in lists]
    if any(not _same(found[0], other) for other in found[1:]):
        raise CrystalError("its two lists of symmetry operations differ; keep one")
    return found[0]


@lru_cache(maxsize=1024)
def operations(texts: tuple[str, ...]) -> Operations:
    """A list such as `("x, y, z", "-x, -y, z+1/2")` as matrices.

    Raises:
        CrystalError: one of them cannot be read, or together they are no group.
    """
    parsed = [_operation(text) for text in texts]
    rotations = np.array([rotation for rotation, _ in parsed])
    translations = np.array([translation for _, translation in parsed]) % 1.0
    return _group(rotations, translations, "of its listed operations")


def _operation(text: str) -> tuple[list[list[int]], list[float]]:
    """Rotation and translation of `-y, x-y, z+1/3`."""
    text = text.strip("'\"")
    parts = re.sub(r"\s", "", text.lower()).split(",")
    if len(parts) != 3 or len(text) > LONGEST_VALUE:
        raise CrystalError(f"symmetry operation {text[:40]!r} is not of the form x, y, z")
    rows = [_row(part, text) for part in parts]
    return [row[:3] for row in rows], [row[3] for row in rows]


def _row(part: str, text: str) -> list[Any]:
    """Coefficients of x, y, z and the constant of one coordinate."""
    row: list[Any] = [0, 0, 0, 0.0]
    position = 0
    while position < len(part):
        term = TERM.match(part, position)
        if not term or (position and not term[1]) or (term[5] and not int(term[5])):
            raise CrystalError(f"symmetry operation {text[:40]!r} is not of the form x, y, z")
        sign = -1 if term[1] == "-" else 1
        if term[3]:
            row["xyz".index(term[3])] += sign * int(term[2] or 1)
        else:
            row[3] += sign * (int(term[4]) / int(term[5]) if term[5] else float(term[6]))
        position = term.end()
    return row


def _group(rotations: NDArray[Any], translations: Floats, name: str) -> Operations:
    """Operations without repetitions, checked to be a group; the identity first."""
    if np.abs(rotations).max() > LARGEST_COEFFICIENT or any(abs(round(d)) != 1 for d in np.linalg.det(rotations)):
        raise CrystalError("a symmetry operation is no rotation or reflection (its determinant is not 1 or -1)")
    codes = _codes(rotations)
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


def _codes(rotations: NDArray[Any]) -> NDArray[np.int64]:
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
        products = _codes(rotation @ rotations)
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


def _same(one: Operations, other: Operations) -> bool:
    """Whether two sets of operations are equal, lattice translations aside."""
    if len(one.rotations) != len(other.rotations):
        return False
    codes, others = _codes(one.rotations), _codes(other.rotations)
    apart = one.translations[:, None] - other.translations[None]
    near = np.abs(apart - np.round(apart)).max(axis=2) <= TRANSLATION_TOLERANCE
    return bool((near & (codes[:, None] == others[None])).any(axis=1).all())


# ---- operations that are named -----------------------------------------------------------------------------------


def _named(block: Block) -> list[Operations]:
    """Settings that the file's names and number agree on; none if it gives neither (or only unknown names)."""
    hall = _hall(block)
    if hall is not None:
        return [hall]
    settings: list[gemmi.SpaceGroup] | None = None
    for _, name in block.known(NAME_TAGS):
        found = settings_named(name)
        both = [each for each in found if settings is None or each in settings]
        if settings and not both and found and found[0].number == settings[0].number:
            raise CrystalError(f"its space group is {settings[0].xhm()} and {name[:40]!r}; keep the right one")
        settings = both or settings
    number = _declared_number(block)
    if settings is None and number:
        settings = list(_of_number(number))
    if settings and (code := block.one(CODE_TAGS)[1]):
        settings = _with_code(settings, code)
    return [of_setting(each.xhm()) for each in settings or []]


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


def _hall(block: Block) -> Operations | None:
    """Operations of the Hall symbol, if there is one; an unreadable one is ignored where operations are listed."""
    tag, symbol = block.one(HALL_TAGS)
    if not tag:
        return None
    try:
        return hall_operations(symbol)
    except CrystalError:
        if block.known(OPERATION_TAGS):
            return None
        raise


@lru_cache(maxsize=1024)
def hall_operations(symbol: str) -> Operations:
    """Operations of a Hall symbol.

    Raises:
        CrystalError: gemmi cannot read it.
    """
    try:
        group = gemmi.symops_from_hall(symbol[:LONGEST_VALUE])
        found = _from_gemmi(group, 0, symbol)
        return _group(found.rotations.astype(int), found.translations, symbol)
    except (RuntimeError, ValueError) as error:
        raise CrystalError(f"Hall symbol {symbol[:40]!r} cannot be read; list the symmetry operations") from error


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
    return tuple(_with_code(same, code, everywhere=True) if code else same)


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


def _with_code(settings: list[gemmi.SpaceGroup], code: str, everywhere: bool = False) -> list[gemmi.SpaceGroup]:
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
def _of_number(number: int) -> tuple[gemmi.SpaceGroup, ...]:
    """The conventional settings of a group: both origins, both axes of rhombohedral lattices."""
    first = gemmi.find_spacegroup_by_number(number)
    return tuple(each for each in gemmi.spacegroup_table() if each.number == number and each.hm == first.hm)


def _conventional(fitting: list[Operations]) -> bool:
    """Whether the first of several settings that fit is what everybody means: the monoclinic standard."""
    return len(fitting) > 1 and 3 <= fitting[0].number <= 15


# ---- what the names say of each other ----------------------------------------------------------------------------


def _declared_number(block: Block) -> int:
    """The number of the space group; 0 without one."""
    numbers = {_number_of(tag, value) for tag, value in block.known(NUMBER_TAGS)}
    numbers |= {
        each.number for _, name in block.known(("_space_group_name_h-m_ref",)) for each in settings_named(name)
    }
    if len(numbers) > 1:
        raise CrystalError(f"its space group numbers {sorted(numbers)} contradict each other; keep one")
    return next(iter(numbers), 0)


def _number_of(tag: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,3}", value) or not 1 <= int(value) <= 230:
        raise CrystalError(f"{tag} is {value[:20]!r}, not a space group number from 1 to 230")
    return int(value)


def _check_names(block: Block) -> int:
    """The one number that names, number and Hall symbol agree on; 0 if none is given."""
    said = {tag: {each.number for each in settings_named(name)} for tag, name in block.known(NAME_TAGS)}
    number, hall = _declared_number(block), _hall(block)
    if number:
        said[next((tag for tag, _ in block.known(NUMBER_TAGS)), "_space_group_name_h-m_ref")] = {number}
    if hall is not None and hall.number:
        said[block.one(HALL_TAGS)[0]] = {hall.number}
    numbers = set().union(*said.values())
    if len(numbers) > 1:
        shown = ", ".join(f"{tag} says {sorted(found)[0]}" for tag, found in said.items() if found)
        raise CrystalError(f"space group contradicts itself ({shown}); keep the right one")
    return next(iter(numbers), 0)


def _check_agreement(block: Block, listed: Operations, named: list[Operations]) -> None:
    """Refuse a list of operations that is not of the group named, or not of the setting named expressly."""
    number = _check_names(block)
    if not number:
        return
    if listed.number and listed.number != number:
        raise CrystalError(
            f"{len(listed.rotations)} symmetry operations are listed, those of space group {listed.number}, but "
            f"{_saying(block, number)} {number}; list all its operations or none"
        )
    if not listed.number and named and len(listed.rotations) not in _orders(named[0]):
        raise CrystalError(f"the {len(listed.rotations)} symmetry operations listed are not those of group {number}")
    names = block.known(NAME_TAGS)
    express = block.known(HALL_TAGS) or block.known(CODE_TAGS) or any(setting_code(name) for _, name in names)
    comparable = express and named and all(len(each.rotations) == len(listed.rotations) for each in named)
    if comparable and not any(_same(each, listed) for each in named):
        raise CrystalError(f"the symmetry operations listed are not those of the setting {named[0].name}; keep one")


def _saying(block: Block, number: int) -> str:
    """The tag that names the space group, and its value unless that is the number."""
    tag, value = (block.known(NAME_TAGS) + block.known(HALL_TAGS) + block.known(NUMBER_TAGS))[0]
    return f"{tag} names" if value == str(number) else f"{tag} names {value[:30]!r},"


def _orders(group: Operations) -> set[int]:
    """Numbers of operations of a group in its own cell and in the primitive one."""
    return {len(group.rotations), len(np.unique(_codes(group.rotations)))}


def _check_not_lost(block: Block, named: list[Operations]) -> None:
    """Refuse to read as P1 what once had symmetry; give the group's operations where it is named well."""
    if named:
        _check_names(block)
        hall = block.one(HALL_TAGS)[1]
        settings = [each for _, name in block.known(NAME_TAGS) for each in settings_named(name)]
        if hall and settings and not any(_same(named[0], of_setting(each.xhm())) for each in settings):
            raise CrystalError(f"Hall symbol {hall[:40]!r} and {settings[0].xhm()} are different settings; keep one")
        unknown = [name for _, name in block.known(NAME_TAGS) if not settings_named(name)]
        if not unknown or hall:
            return
    raise_lost(block)
    named.append(of_setting("P 1"))


def raise_lost(block: Block) -> None:
    """Refuse, without operations and without a space group, what says that it has symmetry."""
    if any(tag.startswith(("_space_group_symop_ssg", "_space_group_ssg", "_cell_modulation")) for tag in block.tags):
        raise CrystalError(
            "a modulated structure with superspace operations only; list those of its average structure"
        )
    if names := block.known(NAME_TAGS):
        raise CrystalError(
            f"space group {names[0][1][:40]!r} ({names[0][0]}) is not known; list the symmetry operations"
        )
    tag, system = block.one(SYSTEM_TAGS)
    declared = [tag for tag in (*NAME_TAGS, *NUMBER_TAGS, *OPERATION_TAGS, *HALL_TAGS) if tag in block.tags]
    declared += sorted(
        tag for tag in block.tags if tag.startswith(("_symmetry_", "_space_group_")) and tag not in SYSTEM_TAGS
    )
    if declared or system.lower() not in ("", "triclinic"):
        what = declared[0] if declared else tag
        raise CrystalError(f"its symmetry is missing ({what} says no group); give the space group or its operations")
