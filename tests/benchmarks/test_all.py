"""The page of speeds says what the results say, and says where there is none."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks._machine import is_loaded, load_of, machine
from benchmarks.all import BEGIN, END, AllConfig, main, table
from tc_common.errors import UserError
from tc_common.files import read_json, write_json

ROOT = Path(__file__).parents[2]
READING: dict[str, Any] = {
    "machine": {"cpu": "a processor", "cores": 2, "load_average_1_min": 0.2},
    "parity": {
        "files": 11, "median_ms": 0.5, "pymatgen_with_checks_median_ms": 2.5, "ratio_of_medians": 5.0,
    },
}  # fmt: skip


def written(folder: Path, **changes: Any) -> AllConfig:
    """A page without a table, and one result."""
    page = folder / "page.md"
    page.write_text(f"# Speeds\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    write_json(folder / "reading.json", READING | changes)
    return AllConfig(results=folder, page=page)


def test_the_projects_page_is_what_its_results_say() -> None:
    main(AllConfig(check=True, results=ROOT / "benchmarks" / "results", page=ROOT / "docs" / "performance.md"))


def test_a_filled_page_agrees_until_a_result_changes(tmp_path: Path) -> None:
    config = written(tmp_path)
    checked = AllConfig(check=True, results=tmp_path, page=config.page)
    with pytest.raises(UserError, match="differs from .*python -m benchmarks.all"):
        main(checked)
    main(config)
    main(checked)
    text = config.page.read_text(encoding="utf-8")
    assert "| reading a CIF, median of 11 | 0.50 ms | pymatgen with the same checks 2.50 ms | 5.0 |  | 0.2 |" in text
    assert text.startswith("# Speeds\n") and text.endswith(f"{END}\nafter\n")
    write_json(tmp_path / "reading.json", READING | {"parity": READING["parity"] | {"median_ms": 0.6}})
    with pytest.raises(UserError, match="differs from"):
        main(checked)


def test_a_missing_result_has_a_row_that_says_so(tmp_path: Path) -> None:
    rows = table(written(tmp_path).results)
    assert "| rendering | not measured: `python -m benchmarks.render_speed` |" in rows
    assert "reading CIFs | not measured" not in rows


@pytest.mark.parametrize(
    ("machine", "load"),
    [
        ({"cores": 2, "load_average_1_min": 1.4}, 1.4),
        ({"threads": 2, "load_at_start": 1.4}, 1.4),
        ({"processors": 2, "load_average": [1.4, 0.2, 0.1]}, 1.4),
    ],
)
def test_a_result_of_a_loaded_machine_is_marked(tmp_path: Path, machine: dict[str, Any], load: float) -> None:
    assert load_of(machine) == load and is_loaded(machine) and not is_loaded({"cores": 4, "load_at_start": load})
    assert "| 1.4† |" in table(written(tmp_path, machine=machine).results)
    assert "| not stated |" in table(written(tmp_path, machine="a processor").results)


def test_a_page_without_markers_is_one_line(tmp_path: Path) -> None:
    config = written(tmp_path)
    config.page.write_text("# Speeds\n", encoding="utf-8")
    with pytest.raises(UserError, match="needs '<!-- performance:begin -->' and"):
        main(config)


def test_every_benchmark_states_the_load_before_it_began() -> None:
    assert load_of(machine()) is not None
    results = list((ROOT / "benchmarks" / "results").glob("*speed*.json"))
    assert len(results) > 3
    assert all(load_of(read_json(path)["machine"]) is not None for path in results)
