"""The table in CONTRIBUTING.md that says where the tests of a module are."""

import re
from fnmatch import fnmatch
from pathlib import Path

from tests.test_architecture import ROOMS, ROOT

TABLE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
Row = tuple[list[str], list[str]]


def rows(text: str) -> list[Row]:
    """Patterns of modules and the test files of every row of the table."""
    cells = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", modules), re.findall(r"`([^`]+)`", tests)) for modules, tests in cells]


def modules() -> list[str]:
    """Every module of a room but `__init__`, and the scripts, as paths below the root."""
    paths = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in paths if path.name != "__init__.py"]


def is_covered(module: str, table: list[Row]) -> bool:
    """Whether a row or a test file of its name says where a module's tests are."""
    namesake = Path("tests", module).with_name(f"test_{Path(module).name}")
    return (ROOT / namesake).exists() or any(fnmatch(module, pattern) for patterns, _ in table for pattern in patterns)


def test_every_module_has_a_test_of_its_name_or_a_row() -> None:
    without = [module for module in modules() if not is_covered(module, rows(TABLE))]
    assert not without, f"write tests/room/test_x.py, or add a row to CONTRIBUTING.md, for {without}"


def test_the_rows_name_modules_and_tests_that_are_there() -> None:
    table, known = rows(TABLE), modules()
    assert len(table) > 15
    missing = [name for _, tests in table for name in tests if not (ROOT / name).is_file()]
    assert not missing, f"CONTRIBUTING.md names tests that are not there: {missing}"
    stale = [patterns for patterns, _ in table if not any(fnmatch(m, p) for m in known for p in patterns)]
    assert not stale, f"CONTRIBUTING.md has rows for modules that are not there: {stale}"
    assert all(name.startswith("tests/") for _, tests in table for name in tests) and all(tests for _, tests in table)


def test_a_module_without_tests_is_seen() -> None:
    table = rows("| modules | tests |\n| --- | --- |\n| `data/re*.py` | `tests/data/test_tables.py` | words |\n")
    assert table == [(["data/re*.py"], ["tests/data/test_tables.py"])]
    assert is_covered("data/report.py", table) and is_covered("data/tables.py", [])
    assert not is_covered("data/report.py", []) and not is_covered("tc_common/unheard_of.py", table)
