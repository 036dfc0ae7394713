"""Symmetry operations of a CIF: those listed, or those of the setting that it names; never a guess in silence.

Names of groups with two origins, or with rhombohedral and hexagonal axes, are ambiguous: every setting that fits the
cell is given, and the reader takes the one that fits all else in the file.
"""

import re
from functools import lru_cache
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from tc_common.cif import (
    CODE_TAGS,
    HALL_TAGS,
    LONGEST_VALUE,
    NAME_TAGS,
    NUMBER_TAGS,
    OPERATION_TAGS,
    SYSTEM_TAGS,
    TRANSFORM_TAG,
    Block,
    CrystalError,
)
from tc_common.space_groups import (
    Operations,
    codes_of,
    group,
    hall_operations,
    of_setting,
    same,
    setting_code,
    settings_named,
    settings_of_number,
    with_code,
)

Floats = NDArray[np.float64]

MOST_OPERATIONS = 576  # three times those of Fm-3m; 3DSC lists up to 48
# Of the products of edges. Relaxed cells of 3DSC break the metric of their own operations by up to 0.062, wrong
# cells by 0.29.
METRIC_TOLERANCE = 0.1
# Where a group is only named, the cell was refined in it: what differs is rounding.
NAMED_METRIC_TOLERANCE = 0.02
TERM = re.compile(r"([+-]?)(?:(\d{1,2})?\*?([xyz])|(\d{1,6})/(\d{1,6})|(\d{0,3}\.\d{1,12}|\d{1,3}\.?))")


SYSTEMS = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 194: "hexagonal", 230: "cubic"}
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
        _check_axes(block)
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


def _check_axes(block: Block) -> None:
    """Refuse a named group in axes of its own, which only a list of operations can state."""
    tag, axes = block.one((TRANSFORM_TAG,))
    if "".join(axes.split()) not in ("", "a,b,c", "a,b,c;0,0,0"):
        raise CrystalError(f"{tag} is {axes[:30]!r}, no setting of the tables; list the symmetry operations")


def _check_system(block: Block, number: int) -> None:
    """Refuse symmetry of another crystal system than the file declares; a few words of programs are not known."""
    tag, declared = block.one(SYSTEM_TAGS)
    said = "hexagonal" if declared.lower() in HEXAGONAL else declared.lower()
    system = next(name for last, name in SYSTEMS.items() if number <= last)
    if number and said != system and said in SYSTEMS.values():
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
    if any(not same(found[0], other) for other in found[1:]):
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
    return group(rotations, translations, "of its listed operations")


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
        settings = list(settings_of_number(number))
    if settings and (code := block.one(CODE_TAGS)[1]):
        settings = with_code(settings, code)
    return [of_setting(each.xhm()) for each in settings or []]


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
    if comparable and not any(same(each, listed) for each in named):
        raise CrystalError(f"the symmetry operations listed are not those of the setting {named[0].name}; keep one")


def _saying(block: Block, number: int) -> str:
    """The tag that names the space group, and its value unless that is the number."""
    tag, value = (block.known(NAME_TAGS) + block.known(HALL_TAGS) + block.known(NUMBER_TAGS))[0]
    return f"{tag} names" if value == str(number) else f"{tag} names {value[:30]!r},"


def _orders(group: Operations) -> set[int]:
    """Numbers of operations of a group in its own cell and in the primitive one."""
    return {len(group.rotations), len(np.unique(codes_of(group.rotations)))}


def _check_not_lost(block: Block, named: list[Operations]) -> None:
    """Refuse to read as P1 what once had symmetry; give the group's operations where it is named well."""
    if named:
        _check_names(block)
        hall = block.one(HALL_TAGS)[1]
        settings = [each for _, name in block.known(NAME_TAGS) for each in settings_named(name)]
        if hall and settings and not any(same(named[0], of_setting(each.xhm())) for each in settings):
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
