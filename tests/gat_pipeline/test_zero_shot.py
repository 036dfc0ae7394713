"""The zero-shot study: its numbers on cases worked by hand, and the two command lines that make and use weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gat_pipeline.evaluate_pretrained import ZeroShotConfig, summary, trained_on_tc
from gat_pipeline.zero_shot import analyse, compare_distributions, distribution, error_by_range, pearson, share_above
from tc_common.errors import UserError
from tests.gat_pipeline.crystals import ROOT, sample_rows
from tests.gat_pipeline.tables import write_small_splits

MEASURED_K = np.array([0.0, 0.0, 4.0, 5.0, 10.0, 20.0, 50.0, 90.0, 130.0])


def test_halved_predictions_are_seen_as_compressed() -> None:
    found = analyse(MEASURED_K, MEASURED_K / 2 + 1)
    assert found["variance_ratio"] == pytest.approx(0.25)
    assert found["slope"] == pytest.approx(0.5)
    assert found["pearson"] == found["pearson_above_40_K"] == pytest.approx(1.0)
    assert found["bias_K"] == pytest.approx(1 - MEASURED_K.mean() / 2)
    assert found["measured"]["share_above_40_K"] == pytest.approx(3 / 9)
    assert found["predicted"]["share_above_20_K"] == pytest.approx(3 / 9)
    assert found["predicted"]["least_K"] == 1.0 and found["predicted"]["most_K"] == 66.0


def test_errors_by_range_add_up() -> None:
    predicted_K = MEASURED_K + np.array([1, 1, -1, 2, 2, -5, -10, -20, -30])
    rows = error_by_range(MEASURED_K, predicted_K)
    assert [(row["above_K"], row["up_to_K"], row["n"]) for row in rows] == [
        (None, 0, 2), (0, 5, 2), (5, 15, 1), (15, 40, 1), (40, None, 3),
    ]  # fmt: skip
    assert [row["mae_K"] for row in rows] == [1, 1.5, 2, 5, 20]
    assert [row["bias_K"] for row in rows] == [1, 0.5, 2, -5, -20]
    assert sum(row["share_of_error"] or 0 for row in rows) == pytest.approx(1)
    assert rows[-1]["share_of_error"] == pytest.approx(60 / 72)


def test_correlation_is_not_invented() -> None:
    assert pearson(np.array([50.0, 90.0]), np.array([1.0, 2.0])) is None
    assert pearson(np.array([50.0, 90.0, 91.0]), np.ones(3)) is None
    assert "not defined" in summary(analyse(np.array([1.0, 2.0, 3.0]), np.ones(3)))


def test_distributions_apart_and_alike() -> None:
    cold = distribution(pd.DataFrame({"tc": [1.0, 2.0, 3.0, 4.0], "formula": ["Nb", "NbTi", "Al2", "Nb"]}))
    hot = distribution(pd.DataFrame({"tc": [60.0, 70.0, 80.0, 90.0], "formula": ["CuO", "CuO", "Cu2O", "Nb"]}))
    assert cold["crystals_with_element"] == {"Al": 1, "Nb": 3, "Ti": 1}
    same, apart = compare_distributions(cold, cold), compare_distributions(cold, hot)
    assert (same["tc_distance"], same["element_distance"], same["elements_never_seen"]) == (0, 0, [])
    assert apart["tc_distance"] == 1 and apart["test_share_above_highest_seen"] == 1
    assert apart["elements_never_seen"] == ["Cu", "O"]
    assert apart["element_distance"] == pytest.approx(((3 / 7) * 2 + abs(1 / 7 - 3 / 5) + 2 / 5) / 2)
    assert apart["more_frequent_in_test"]["Cu"] == [0.0, 0.75]
    assert share_above([1, 1, 2], 1.5) == 0.5


def test_weights_that_do_not_predict_tc_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="predicts formation energy"):
        trained_on_tc("mp_e_form_alignn", tmp_path)
    with pytest.raises(UserError, match="random predicts nothing"):
        trained_on_tc("random", tmp_path)
    with pytest.raises(ValueError, match="at least 1"):
        ZeroShotConfig(limit=0)


def run(module: str, *flags: object) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", module, *map(str, flags)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def test_pretrain_then_evaluate(tmp_path: Path) -> None:
    source = tmp_path / "jarvis"
    source.mkdir()
    for name, start in (("train", 0), ("val", 1)):
        rows = [
            {"material_id": f"JVASP-{n}", "tc": row["tc"], "cif": (ROOT / row["cif"]).read_text(encoding="utf-8")}
            for n, row in enumerate(list(sample_rows())[start:40:8])
        ]
        rows.append({"material_id": "JVASP-99", "tc": "1.0", "cif": "data_broken\n"})
        pd.DataFrame(rows).to_csv(source / f"{name}.csv", index=False)
    weights, cache = tmp_path / "w.safetensors", ("--cache-dir", tmp_path / "c")
    made = run(
        "gat_pipeline.pretrain", "--source-dir", source, "--output", weights, "--epochs", 1, "--hidden", 16,
        "--device", "cpu", "--models-dir", tmp_path / "m", "--results-dir", tmp_path / "m", "--batch-size", 3, *cache,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "left out JVASP-99" in made.stderr
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["training"]["n"] == 5 and card["n_val"] == 5 and card["shape"]["hidden"] == 16
    assert str(tmp_path) not in json.dumps(card)
    assert card["epochs_run"] == 1 and card["train_seconds"] > 0
    assert not list((tmp_path / "m").glob("*predictions.csv")) + list((tmp_path / "m").glob("*metrics.json"))

    splits = write_small_splits(tmp_path / "p")
    used = run(
        "gat_pipeline.evaluate_pretrained", "--weights", weights, "--data-dir", tmp_path / "p", "--device", "cpu",
        "--results-dir", tmp_path / "r", *cache,
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    predictions = pd.read_csv(tmp_path / "r" / "pretrained_alignn_predictions.csv")
    assert predictions["material_id"].tolist() == sorted(splits["test"]["material_id"])
    metrics = json.loads((tmp_path / "r" / "pretrained_alignn_metrics.json").read_text(encoding="utf-8"))
    assert metrics["model"] == "pretrained_alignn" and metrics["init"].startswith("file:w.safetensors@")
    assert metrics["mae_K"] == pytest.approx(float((predictions["tc_pred"] - predictions["tc"]).abs().mean()))
    analysis = json.loads((tmp_path / "r" / "pretrained_alignn_analysis.json").read_text(encoding="utf-8"))
    assert analysis["distributions"]["training"] == card["training"]
    for figure in ("tc", "elements"):
        assert (tmp_path / "r" / "plots" / f"pretrained_alignn_{figure}.png").stat().st_size > 5000


@pytest.mark.parametrize("material", ["../escape", "a/b", ""])
def test_an_id_that_is_a_path_is_refused(tmp_path: Path, material: str) -> None:
    from gat_pipeline.pretrain import PretrainConfig, read_materials

    pd.DataFrame([{"material_id": material or "x y", "tc": 1.0, "cif": "data_x"}]).to_csv(
        tmp_path / "train.csv", index=False
    )
    with pytest.raises(UserError, match="an id of letters"):
        read_materials(PretrainConfig(source_dir=tmp_path, models_dir=tmp_path / "m"), "train")
    assert not (tmp_path / "m").exists()
