"""The measure of sensitivity: what is changed, by how much, and what a network makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.structure_sensitivity import SensitivityConfig, changes, main, moved, sensitivity, strained
from gat_pipeline.model import AlignnTc, create_alignn_model
from gat_pipeline.network import NetworkShape
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.train import main as train
from tc_common.crystals import read_crystal
from tc_common.files import read_json
from tests.gat_pipeline.tables import split_table, write_small_splits


def model() -> AlignnTc:
    return create_alignn_model(shape=NetworkShape(hidden=8, alignn_layers=1, gcn_layers=1)).eval()


def test_every_length_is_strained_and_every_site_moved_by_the_distance_named() -> None:
    crystal = read_crystal(Path(split_table(1)["cif"][0]))
    for strain in (0.015, -0.015):
        changed = strained(crystal, strain)
        assert changed.lattice.abc == pytest.approx([length * (1 + strain) for length in crystal.lattice.abc])
        assert np.allclose(changed.frac_coords, crystal.frac_coords)
    changed = moved(crystal, 0.03, np.random.default_rng(0))
    apart_A = [site.distance(other) for site, other in zip(crystal, changed, strict=True)]
    assert apart_A == pytest.approx([0.03] * len(crystal), abs=1e-9)
    assert changed.composition == crystal.composition and changed.lattice == crystal.lattice
    assert list(changes(0)) == ["strain +1.5%", "strain -1.5%", "displacements 0.03 A"]


def test_the_change_is_that_of_the_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    network, materials = model(), split_table(5)
    found = sensitivity(network, materials, 0)
    assert all(numbers["mean_K"] > 0 for numbers in found.values())
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.zero_()  # blind to the crystal
    assert all(numbers["largest_K"] == 0 for numbers in sensitivity(network, materials, 0).values())


def test_the_command_adds_a_model_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small_splits(tmp_path / "p")
    train(
        GraphTrainConfig(
            hidden=8, alignn_layers=1, gcn_layers=1, batch_size=4, init="random", epochs=1, device="cpu",
            data_dir=tmp_path / "p", cache_dir=tmp_path / "c", models_dir=tmp_path / "m", results_dir=tmp_path / "r",
        )
    )  # fmt: skip
    for name in ("one", "two"):
        main(
            SensitivityConfig(
                checkpoint=tmp_path / "m/alignn_best.pth", data_dir=tmp_path / "p", name=name,
                out=tmp_path / "s.json", device="cpu",
            )
        )  # fmt: skip
    written = read_json(tmp_path / "s.json")
    assert set(written) == {"one", "two"} and written["one"]["change_K"] == written["two"]["change_K"]
    assert written["one"]["n"] == 3 and "mean |change|" in capsys.readouterr().out
