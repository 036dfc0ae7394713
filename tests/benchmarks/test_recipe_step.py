"""The timed training is the published one, before and now: the same losses, on any device."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from benchmarks._recipe_step import RecipeConfig, Variant, angles_cut_afterwards, main, trainer_of
from gat_pipeline import dataset, network
from tests.gat_pipeline.tables import split_table


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 crystals, in steps of 6; what `before` puts in place is taken back after the test."""
    monkeypatch.setattr(network, "COSINE_LEVELS", network.COSINE_LEVELS)
    monkeypatch.setattr(dataset, "_angles", dataset._angles)
    split_table(24).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def config(table: Path, variant: Variant, batch_size: int, **changes: Any) -> RecipeConfig:
    return RecipeConfig(
        table=table, cache=table.parent / "c", variant=variant, batch_size=batch_size, hidden=16, **changes
    )


def loss(table: Path, variant: Variant) -> float:
    """Of the only step of an epoch, all crystals in one batch, in fp32."""
    trainer = trainer_of(config(table, variant, 24, precision="fp32"))
    for layer in trainer.model.modules():  # which sample loses what depends on their order
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    trainer._train_epoch(save=lambda kind: None)
    assert trainer.progress.step == 1
    return trainer.progress.loss_sum


def test_both_variants_train_alike(table: Path) -> None:
    now = loss(table, "now")
    assert loss(table, "before") == pytest.approx(now, rel=1e-5) and now > 0.1
    assert network.COSINE_LEVELS > 10**9 and dataset._angles is angles_cut_afterwards


def test_the_command_prints_what_a_step_took(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(config(table, "before", 6))
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["steps"] == 1 and 0 < facts["step_cpu_s"] < 60 and facts["peak_rss_MB"] > 100
    assert facts["device"] and facts["gpu_peak_MB"] is None
