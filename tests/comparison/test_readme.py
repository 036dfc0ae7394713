"""The README says what `comparison.json` says."""

from pathlib import Path

import pytest

from comparison.evaluate import Uncertainty, evaluate
from comparison.published import check
from comparison.published.readme import fill, update_readme
from comparison.report.documents import markdown
from tc_common.errors import UserError
from tc_common.files import plain, write_json
from tests.comparison.made import make_results, read_json

ROOT = Path(__file__).parent.parent.parent
EMPTY = "# Title\n\n<!-- results:begin -->\n<!-- results:end -->\n\nrest\n"


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    results = make_results(tmp_path / "results", {"alignn": 2.0, "dinov3": 3.0})
    write_json(tmp_path / "results/comparison.json", plain(evaluate(results, Uncertainty(resamples=200))))
    return tmp_path


@pytest.mark.parametrize("document", check.COVERED)
def test_the_projects_own_tables_are_up_to_date(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert fill(text, (ROOT / document).parent) == text, f"run: python compare_models.py readme {document}"


def test_the_projects_readme_can_be_read_in_one_go() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120, "move tables and details to results/README.md or docs/"
    first_table = next(number for number, line in enumerate(lines) if line.startswith("| model"))
    assert first_table < 45, "the first numbers belong on the first screen"


def test_a_block_is_filled_and_keeps_its_folder(compared: Path) -> None:
    readme = compared / "README.md"
    readme.write_text(EMPTY)
    assert update_readme(readme, compared / "results") == "wrote 1 table(s)"
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- results:begin results -->\n") and text.endswith("\n\nrest\n")
    mae_K = read_json(compared / "results/comparison.json")["models"]["alignn"]["score"]["mae_K"]
    assert f"| ALIGNN | {mae_K:.2f} [" in text
    assert update_readme(readme, compared / "elsewhere") == "already up to date"


def test_a_changed_number_or_table_is_noticed(compared: Path) -> None:
    readme = compared / "README.md"
    readme.write_text(EMPTY)
    update_readme(readme, compared / "results")
    text = readme.read_text()
    assert fill(text, compared) == text
    assert fill(text.replace("| ALIGNN |", "| ALIGNN! |"), compared) == text
    content = read_json(compared / "results/comparison.json")
    content["models"]["alignn"]["score"]["mae_K"] += 1
    write_json(compared / "results/comparison.json", content)
    assert fill(text, compared) != text


def test_a_table_of_unknown_origin_is_refused(compared: Path) -> None:
    assert fill(EMPTY, compared) == EMPTY, "not filled yet"
    with pytest.raises(UserError, match="cannot be checked"):
        fill(EMPTY.replace("-->\n<!--", "-->\n| ALIGNN | 1.00 |\n<!--"), compared)


def test_without_markers_or_comparison_it_says_what_to_do(compared: Path) -> None:
    readme = compared / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(UserError, match="results:begin"):
        update_readme(readme, compared / "results")
    readme.write_text(EMPTY)
    with pytest.raises(UserError, match="comparison.json cannot be read"):
        update_readme(readme, compared)


def test_the_report_and_the_readme_show_the_same_table(compared: Path) -> None:
    block = fill(EMPTY, compared, compared / "results")
    table = [line for line in block.splitlines() if line.startswith("| ALIGNN")]
    assert len(table) == 1
    assert table[0] in markdown(read_json(compared / "results/comparison.json"))
