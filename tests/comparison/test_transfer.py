"""The table of a transfer study, from files made by hand."""

from pathlib import Path

import pandas as pd
import pytest

from comparison.transfer import TransferConfig, main, read_trainings
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json


def training(folder: Path, cell: str, seed: int, test_mae_K: float, literature_K: tuple[float, float]) -> None:
    """Files of one training; the literature's Tc are 10 and 20 K."""
    run = folder / cell / f"seed_{seed}"
    run.mkdir(parents=True)
    facts = {"trainable_parameters": 1234, "train_seconds": 90.0, "val_mae_K": 5.0, "init": "random"}
    write_json(run / "dinov3_metrics.json", {**facts, "mae_K": test_mae_K})
    write_csv(run / "dinov3_other_structures_predictions.csv", pd.DataFrame({"tc": [1.0], "tc_pred": [3.0]}))
    literature = pd.DataFrame({"tc": [10.0, 20.0], "tc_pred": literature_K})
    write_csv(run / "dinov3_literature_predictions.csv", literature)


def test_cells_are_means_over_seeds_in_the_order_of_what_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training(tmp_path, "random_full", 42, 6.0, (9.0, 23.0))
    training(tmp_path, "random_full", 43, 7.0, (9.0, 25.0))
    training(tmp_path, "crystals_head", 42, 4.0, (10.0, 20.0))
    training(tmp_path, "crystals_head-palette", 42, 3.0, (10.0, 20.0))
    main(TransferConfig(folder=tmp_path))
    printed = capsys.readouterr().out.splitlines()
    assert printed[2] == "| head | crystals | 1 | 1,234 | 2 | 5.00 | 4.00 | 2.00 | 0.00 |"
    assert printed[3] == "| full | random | 2 | 1,234 | 2 | 5.00 ± 0.00 | 6.50 ± 0.71 | 2.00 ± 0.00 | 2.50 ± 0.71 |"
    assert printed[4] == "| head-palette | crystals | 1 | 1,234 | 2 | 5.00 | 3.00 | 2.00 | 0.00 |"
    assert (tmp_path / "transfer.md").read_text().splitlines() == printed
    table = pd.read_csv(tmp_path / "transfer.csv")
    assert table["literature_mae_K"].tolist() == [0.0, 2.0, 3.0, 0.0] and table["seed"].tolist() == [42, 42, 43, 42]


def test_what_cannot_be_tabulated_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no <start>_<tuned>/seed_<n>/dinov3_metrics.json"):
        read_trainings(tmp_path)
    training(tmp_path, "random_all", 42, 6.0, (9.0, 23.0))
    with pytest.raises(UserError, match="'all' is none of head, lora, full"):
        read_trainings(tmp_path)
    for seed in (42, 43):
        training(tmp_path / "other", "random_full", seed, 6.0, (9.0, 23.0))
    (tmp_path / "other/random_full/seed_43/dinov3_literature_predictions.csv").unlink()
    with pytest.raises(UserError, match="seed_43/dinov3_literature_predictions.csv is missing, which others have"):
        read_trainings(tmp_path / "other")


def test_a_test_that_the_data_has_not_is_a_dash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training(tmp_path, "random_full", 42, 6.0, (9.0, 23.0))
    (tmp_path / "random_full/seed_42/dinov3_literature_predictions.csv").unlink()
    main(TransferConfig(folder=tmp_path))
    assert capsys.readouterr().out.splitlines()[2].endswith("| 6.00 | 2.00 | – |")
