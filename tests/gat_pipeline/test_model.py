"""The whole model: what must not change a prediction, and what must."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter
from torch import nn

from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.inference import infer
from gat_pipeline.model import (
    AlignnTc,
    architecture_metadata,
    create_alignn_model,
    load_model,
    model_of,
    write_weights,
)
from gat_pipeline.network import NetworkShape
from gat_pipeline.weights import read_weights
from tc_common.checkpoints import save_checkpoint
from tc_common.chemistry import composition_features
from tc_common.composition_branch import KINDS, CompositionBranch
from tc_common.errors import UserError
from tc_common.targets import TargetTransform
from tests.gat_pipeline.crystals import (
    OPTIONS,
    ROOT,
    cuprate,
    rotated,
    sample_graphs,
    sample_rows,
    sample_structures,
    settle,
)

SMALL = NetworkShape(hidden=32, embedding=16, alignn_layers=2, gcn_layers=2)
SAME_K, DIFFERENT_K = 1e-3, 1e-2


def layers(model: AlignnTc) -> list[Any]:
    return [*cast(nn.Sequential, model.head)]


def settled(**choices: Any) -> AlignnTc:
    """A model with realistic statistics whose predictions spread over tens of kelvins."""
    model = create_alignn_model(shape=SMALL, seed=1, **choices)
    settle(model, join(sample_graphs(), None, model.feature_kind))
    with torch.no_grad():
        layers(model)[-1].weight *= 500
    return model


@pytest.fixture(scope="module")
def model() -> AlignnTc:
    return settled()


def kelvin(model: AlignnTc, *structures: Structure) -> list[float]:
    with torch.inference_mode():
        graphs = [build_graph(structure, model.options) for structure in structures]
        return model(join(graphs, None, model.feature_kind)).tolist()


def test_the_published_size() -> None:
    model = create_alignn_model()
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_125_313
    assert [tuple(layer.weight.shape) for layer in layers(model) if hasattr(layer, "weight")] == [
        (256, 256),
        (128, 256),
        (1, 128),
    ]


def test_predictions_differ_between_crystals(model: AlignnTc) -> None:
    assert np.std(kelvin(model, *sample_structures())) > 5 * DIFFERENT_K


@pytest.mark.parametrize("number", range(0, 24, 3))
def test_what_must_not_change_a_prediction(model: AlignnTc, number: int) -> None:
    structure = sample_structures()[number]
    before = kelvin(model, structure)[0]
    shifted = structure.copy().translate_sites(range(len(structure)), [0.13, 0.27, 0.41])
    order = np.random.default_rng(number).permutation(len(structure))
    permuted = Structure.from_sites([structure[int(site)] for site in order])
    assert kelvin(model, shifted)[0] == pytest.approx(before, abs=SAME_K)
    assert kelvin(model, rotated(structure, number))[0] == pytest.approx(before, abs=SAME_K)
    assert kelvin(model, permuted)[0] == pytest.approx(before, abs=SAME_K)
    assert kelvin(model, structure.make_supercell([2, 1, 1], in_place=False))[0] == pytest.approx(before, abs=SAME_K)


def test_a_supercell_of_a_sheared_basis_is_the_same_crystal(model: AlignnTc) -> None:
    sheared = cuprate().make_supercell([[1, 1, 0], [-1, 1, 0], [0, 0, 1]], in_place=False)
    assert kelvin(model, sheared)[0] == pytest.approx(kelvin(model, cuprate())[0], abs=SAME_K)


def test_control_what_must_change_a_prediction(model: AlignnTc) -> None:
    before = kelvin(model, cuprate(0.075))[0]
    moved, removed = cuprate(0.075), cuprate(0.075)
    moved.translate_sites([4], [0, 0, 0.05])
    removed.remove_sites([4])
    strained = cuprate(0.075).apply_strain(0.03, inplace=False)
    changed = {
        "occupancy": cuprate(0.10), "moved atom": moved, "removed atom": removed, "strain": strained,
        "dopant": cuprate(0.075).replace_species({"Sr": "Ba"}, in_place=False),
    }  # fmt: skip
    for name, structure in changed.items():
        assert abs(kelvin(model, structure)[0] - before) > DIFFERENT_K, name


def test_a_vacancy_changes_the_prediction(model: AlignnTc) -> None:
    def with_oxygen(occupancy: float) -> Structure:
        structure = cuprate()
        structure.replace(4, {"O": occupancy})
        return structure

    full, less, least = kelvin(model, with_oxygen(1.0), with_oxygen(0.9), with_oxygen(0.5))
    assert abs(full - less) > DIFFERENT_K and abs(less - least) > DIFFERENT_K


def test_doping_series_are_all_different(model: AlignnTc) -> None:
    series = kelvin(model, *(cuprate(x) for x in (0, 0.025, 0.05, 0.075, 0.1)))
    assert (abs(np.diff(series)) > DIFFERENT_K).all()


@pytest.mark.parametrize("head_features", ["none", *KINDS])
def test_alone_is_as_in_a_batch(head_features: Any) -> None:
    model = settled(head_features=head_features)
    structures = sample_structures()[:10]
    together = kelvin(model, *structures)
    assert [kelvin(model, structure)[0] for structure in structures] == pytest.approx(together, abs=SAME_K)


@pytest.mark.parametrize(("head_features", "kind"), KINDS.items())
def test_the_composition_reaches_the_head(head_features: Any, kind: str) -> None:
    model = settled(head_features=head_features)
    batches = {name: join([build_graph(cuprate(), OPTIONS)], None, name) for name in KINDS.values()}
    batch = {key: value for each in batches.values() for key, value in each.items()}
    with torch.inference_mode():
        for name in KINDS.values():
            moved = abs(model(batch) - model({**batch, name: batch[name] * 1.5})).item()
            assert (moved > DIFFERENT_K) == (name == kind)


def test_a_batch_has_the_features_that_the_model_reads_and_no_others() -> None:
    graphs = sample_graphs()[:2]
    assert not {*KINDS.values()} & {*join(graphs)}
    assert {*KINDS.values()} & {*join(graphs, None, "physics")} == {"physics"}


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_graph_says_of_a_composition_what_its_formula_says(kind: Any) -> None:
    structures = sample_structures()[:20]
    said = join([build_graph(structure, OPTIONS) for structure in structures], None, kind)[kind].numpy()
    formulas = [structure.composition.formula.replace(" ", "") for structure in structures]
    assert said == pytest.approx(composition_features(formulas, kind), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_order_of_sites_does_not_choose_the_main_element(kind: Any) -> None:
    structure = cuprate()
    turned = Structure.from_sites(list(structure)[::-1])
    first, second = (join([build_graph(each, OPTIONS)], None, kind)[kind] for each in (structure, turned))
    assert torch.equal(first, second)


def test_composition_features_are_standardised_by_the_training_set() -> None:
    branch = CompositionBranch()
    graphs = [build_graph(each, OPTIONS) for each in sample_structures()[:20]]
    features = join(graphs, None, "statistics")["statistics"].numpy()
    branch.standardise(features)
    scaled = (features - branch.mean.numpy()) / branch.std.numpy()
    varies = features.std(axis=0) > 1e-6
    assert varies.sum() > 100 and scaled[:, ~varies] == pytest.approx(0, abs=1e-4)
    assert scaled.mean(axis=0) == pytest.approx(0, abs=1e-3) and scaled.std(axis=0)[varies] == pytest.approx(
        1, rel=1e-3
    )


def test_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (create_alignn_model(shape=SMALL, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])


def test_predict_reads_a_cif(model: AlignnTc, tmp_path: Path) -> None:
    row = next(row for row in sample_rows() if row["doped"] == "True")
    path = ROOT / row["cif"]
    from tc_common.crystals import read_crystal

    model = copy.deepcopy(model)
    assert model.predict(path) == 0.0 > kelvin(model, read_crystal(path))[0], "no temperature is below 0 K"
    with torch.no_grad():
        model.head[-1].bias += 100  # type: ignore[index]
    assert model.predict(path) == pytest.approx(kelvin(model, read_crystal(path))[0], abs=SAME_K)
    assert model.predict(path) > 1
    assert isinstance(model.predict(str(path)), float) and not model.training
    with pytest.raises(UserError, match="no-such.cif"):
        model.predict(tmp_path / "no-such.cif")
    lonely = Structure.from_dict(cuprate().as_dict())
    lonely.scale_lattice(20_000)
    CifWriter(lonely).write_file(tmp_path / "lonely.cif")
    with pytest.raises(UserError, match=r"lonely\.cif"):
        model.predict(tmp_path / "lonely.cif")


@torch.no_grad()
def test_inference_keeps_the_order_of_the_graphs_whatever_their_sizes() -> None:
    model, graphs = create_alignn_model(shape=SMALL, head_features="composition").eval(), sample_graphs()[:8]
    sizes = [graph.angles for graph in graphs]
    assert sizes != sorted(sizes), "else nothing is reordered"
    tc_K, features = infer(model, graphs, batch_size=3)
    for graph, kelvin, row in zip(graphs, tc_K, features, strict=True):
        alone = model.features(join([graph], None, model.feature_kind))
        torch.testing.assert_close(row, alone[0], rtol=1e-4, atol=1e-5)
        assert kelvin == pytest.approx(float(model.forward_head(alone)), abs=SAME_K)


def test_a_checkpoint_alone_rebuilds_the_model(tmp_path: Path) -> None:
    options = GraphOptions(neighbours=8)
    target = TargetTransform("log1p", torch.tensor([1.0, 10.0, 90.0]))
    shape = NetworkShape(hidden=32, embedding=16, alignn_layers=1, gcn_layers=2)
    model = create_alignn_model(shape=shape, options=options, head_features="composition", target=target)
    config = {"graph": options.plain(), "head_features": "composition", "target": "log1p", "hidden": 32}
    state = dict.fromkeys(("epoch", "optimizer_state_dict", "scheduler_state_dict", "rng_state", "val_loss"), 0)
    save_checkpoint(tmp_path / "a.pth", {**state, "model_state_dict": model.state_dict(), "config": config})
    rebuilt = load_model(tmp_path / "a.pth")
    assert rebuilt.options == options and not rebuilt.training
    assert kelvin(rebuilt, cuprate()) == kelvin(model.eval(), cuprate())
    save_checkpoint(tmp_path / "b.pth", {**state, "model_state_dict": model.state_dict(), "config": {}})
    with pytest.raises(UserError, match=r"b\.pth is no checkpoint of the graph pipeline"):
        load_model(tmp_path / "b.pth")


@pytest.mark.parametrize("head_features", KINDS)
def test_shipped_weights_and_checkpoints_know_what_their_head_reads(head_features: Any, tmp_path: Path) -> None:
    model = settled(head_features=head_features).eval()
    write_weights(tmp_path / "a.safetensors", model)
    card = json.dumps({**architecture_metadata(model), "training": {}})
    (tmp_path / "a.json").write_text(card, encoding="utf-8")
    shipped = load_model(tmp_path / "a.safetensors")
    assert shipped.composition_branch is not None and shipped.composition_branch.kind == KINDS[head_features]
    assert kelvin(shipped, cuprate()) == pytest.approx(kelvin(model, cuprate()), rel=0.02), "half precision"
    config = {"graph": model.options.plain(), "head_features": head_features, "target": "kelvin"}
    state = dict.fromkeys(("epoch", "optimizer_state_dict", "scheduler_state_dict", "rng_state", "val_loss"), 0)
    save_checkpoint(tmp_path / "a.pth", {**state, "model_state_dict": model.state_dict(), "config": config})
    for again in (load_model(tmp_path / "a.pth"), model_of(read_weights(tmp_path / "a.pth", "file:a"))):
        assert kelvin(again, cuprate()) == kelvin(model, cuprate())


def test_weights_of_a_head_that_reads_something_unknown_are_refused(tmp_path: Path) -> None:
    model = settled(head_features="composition")
    write_weights(tmp_path / "a.safetensors", model)
    card = {**architecture_metadata(model), "training": {}}
    for said, message in (({"head_features": "taste"}, "'taste' are none of"), ({"head_features": "none"}, "'none'")):
        (tmp_path / "a.json").write_text(json.dumps({**card, **said}), encoding="utf-8")
        with pytest.raises(UserError, match=message):
            load_model(tmp_path / "a.safetensors")
    del card["head_features"]
    (tmp_path / "a.json").write_text(json.dumps(card), encoding="utf-8")
    branch = load_model(tmp_path / "a.safetensors").composition_branch
    assert branch is not None and branch.kind == "statistics", "cards of the time when there was one kind"


def test_frozen_blocks_keep_their_statistics() -> None:
    model = create_alignn_model(shape=SMALL)
    frozen = model.blocks()[-1]
    frozen.requires_grad_(False)
    model.train()
    assert not frozen.training and model.blocks()[0].training
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    model(join(sample_graphs()[:4]))
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
