"""The notebooks run from top to bottom, and what they show was made by running them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def test_there_are_notebooks_and_their_outputs_are_kept() -> None:
    assert [path.name for path in NOTEBOOKS] == ["doping_series.ipynb", "predict_and_explain.ipynb"]
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)], f"run {path.name} in order"
        kinds = {output.output_type for cell in cells for output in cell.outputs}
        assert (
            kinds
            and "error" not in kinds
            and "stderr" not in {output.get("name") for cell in cells for output in cell.outputs}
        )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
