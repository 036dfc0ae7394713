"""The folder for a model hub: the shipped files, with licence, tags and errors above their README."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from prediction.hub import front_matter, write_hub_folder
from tc_common.errors import UserError
from tc_common.model_files import read_card

MODELS = Path(__file__).parent.parent.parent / "models/3dsc"


def results_of(card: ModelCard) -> dict[str, Any]:
    return {result.metric_name: result for result in card.data.eval_results}


def test_the_shipped_models_have_their_cards_numbers_in_the_front_matter(tmp_path: Path) -> None:
    write_hub_folder(MODELS, tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.license == "mit" and "superconductivity" in card.data.tags
    found = results_of(card)
    for path in (MODELS / "alignn.json", MODELS / "ensemble.json"):
        ours = read_card(path)
        assert found[f"{path.stem}: MAE (K)"].metric_value == ours["metrics"]["test"]["mae_K"]
        assert found[f"{path.stem}: R²"].dataset_args["materials"] == ours["n_test"]
    assert card.text.strip() == (MODELS / "README.md").read_text(encoding="utf-8").strip()


def test_every_shipped_file_is_copied_whole_and_a_second_time_replaces_them(tmp_path: Path) -> None:
    out = tmp_path / "hub"
    write_hub_folder(MODELS, out)
    (out / "alignn.json").write_text("old")
    write_hub_folder(MODELS, out)
    names = {path.name for path in MODELS.iterdir() if path.is_file()}
    assert {path.name for path in out.iterdir()} == names
    assert all((out / name).read_bytes() == (MODELS / name).read_bytes() for name in names - {"README.md"})


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds other files; name an empty or a new folder"):
        write_hub_folder(MODELS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_cards_without_errors_are_refused() -> None:
    with pytest.raises(UserError, match="no shipped model states errors"):
        front_matter({"alignn": {"metrics": {}, "split": {}, "n_test": 0}})
