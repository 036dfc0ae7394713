"""What of a results folder is published, what is replaced, and what stays private."""

import json
from pathlib import Path

import pytest

from tc_common.errors import UserError
from tools.publish import PublishConfig, main, without_private_folders

MADE = (
    "alignn_predictions.csv", "alignn_val_predictions.csv", "alignn_literature_predictions.csv", "alignn_metrics.json",
    "alignn_config.json", "alignn_history.csv", "alignn_neighbours_predictions.csv", "comparison.json",
    "comparison.md", "splits.csv.gz", "plots/parity.png", "seed_42/pair_metrics.json",
)  # fmt: skip
PRIVATE = (
    "comparison.html", "baselines/median_predictions.csv", "tensorboard/alignn/events.1", ".alignn.trainer.lock",
    "alignn_best.pth", "seed_42/baselines/median_metrics.json",
)  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    for name in (*MADE, *PRIVATE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_results_are_copied_and_what_is_private_is_not(made: Path, tmp_path: Path) -> None:
    main(PublishConfig(source=made, out=tmp_path / "out"))
    assert files(tmp_path / "out") == set(MADE)


def test_an_earlier_study_is_replaced_and_what_people_wrote_stays(made: Path, tmp_path: Path) -> None:
    for name in ("tuned_predictions.csv", "seed_41/pair_metrics.json", "README.md", "plots/old.png", "notes.csv"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("old")
    main(PublishConfig(source=made, out=tmp_path / "out"))
    assert files(tmp_path / "out") == {*MADE, "README.md", "notes.csv"}


def test_one_models_files_are_not_those_of_a_longer_name(made: Path, tmp_path: Path) -> None:
    main(PublishConfig(source=made, out=tmp_path / "out", models=("alignn",)))
    assert files(tmp_path / "out") == {name for name in MADE if name.startswith("alignn_")} - {
        "alignn_neighbours_predictions.csv"
    }


def test_chosen_files_remove_nothing(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other_metrics.json").write_text("old")
    main(PublishConfig(source=made, out=tmp_path / "out", only=("*_best.pth",)))
    assert files(tmp_path / "out") == {"alignn_best.pth", "other_metrics.json"}


def test_settings_are_published_with_the_default_folders(made: Path, tmp_path: Path) -> None:
    private = {
        "data_dir": "/home/me/data",
        "cache_dir": "/tmp/c",
        "prior": "/home/me/prior.csv",
        "graph": {"rule": "x"},
    }
    settings = {**private, "init": "/home/me/dino_crystals.safetensors", "epochs": 40, "extra_labels": None}
    (made / "alignn_config.json").write_text(json.dumps(settings))
    main(PublishConfig(source=made, out=tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "alignn_config.json").read_text()) == {
        "data_dir": "data/processed", "cache_dir": "data/cache/graphs", "prior": "data/processed/prior.csv",
        "graph": {"rule": "x"}, "init": "dino_crystals.safetensors", "epochs": 40, "extra_labels": None,
    }  # fmt: skip
    assert without_private_folders({"init": "random", "cache_dir": "x"}) == {
        "init": "random",
        "cache_dir": "data/cache",
    }


def test_nothing_to_publish_and_a_folder_onto_itself_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing to publish"):
        main(PublishConfig(source=tmp_path / "none", out=tmp_path / "out"))
    with pytest.raises(UserError, match="is --source"):
        main(PublishConfig(source=made, out=made))
    assert files(made) == {*MADE, *PRIVATE}
