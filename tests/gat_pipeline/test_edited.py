"""Edited checkpoints of the graph pipeline: what is gone or of another type is refused when the model is loaded."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.model import architecture_metadata, create_alignn_model, load_model, write_weights
from gat_pipeline.network import NetworkShape
from tc_common.errors import UserError
from tc_common.files import sha256
from tests.gat_pipeline.crystals import cuprate

SHAPE = NetworkShape(hidden=8, embedding=8, alignn_layers=1, gcn_layers=1)
OTHERS: tuple[Any, ...] = (None, "x", 2.5, [], {}, True, torch.ones(2), torch.ones(()))


def content() -> dict[str, Any]:
    model = create_alignn_model(shape=SHAPE, head_features="composition")
    config = {"graph": GraphOptions().plain(), "head_features": "composition", "target": "kelvin"}
    return {"model_state_dict": dict(model.state_dict()), "config": config}


def loads(edited: dict[str, Any], path: Path) -> bool:
    torch.save(edited, path)
    try:
        model = load_model(path)
    except UserError as error:
        assert "\n" not in str(error)
        return False
    with torch.inference_mode():
        model(join([build_graph(cuprate(), model.options)], None, model.feature_kind))
    return True


def test_without_an_edit_it_loads(tmp_path: Path) -> None:
    assert loads(content(), tmp_path / "a.pth")


def test_no_weight_and_no_setting_can_be_of_another_type(tmp_path: Path) -> None:
    whole, accepted = content(), []
    for part in ("model_state_dict", "config"):
        for key in [*whole[part]][:: 1 if part == "config" else 7]:
            for number, other in enumerate(OTHERS):
                edited = copy.deepcopy(whole)
                edited[part][key] = other
                if loads(edited, tmp_path / "a.pth"):
                    accepted.append((part, key, number))
    tracked = {name for name, value in whole["model_state_dict"].items() if value.ndim == 0}
    assert {key for _, key, _ in accepted} <= tracked | {"graph"}, "scalars may be others, a graph as by default"


@pytest.mark.parametrize("key", list(GraphOptions().plain()))
def test_no_graph_option_of_another_type_ends_in_a_traceback(key: str, tmp_path: Path) -> None:
    others: tuple[Any, ...] = ("x", [], {}, True, torch.ones(2), float("nan"))
    for other in others:
        edited = content()
        edited["config"]["graph"][key] = other
        assert not loads(edited, tmp_path / "a.pth"), other


@pytest.mark.parametrize("edited", [[], 3, {}, {"model": []}, {"model_state_dict": 3}, {"model_state_dict": {3: 4}}])
def test_what_holds_no_weights_is_refused(edited: Any, tmp_path: Path) -> None:
    assert not loads(edited, tmp_path / "a.pth")


def test_shipped_weights_are_those_of_their_card(tmp_path: Path) -> None:
    path, model = tmp_path / "a.safetensors", create_alignn_model(shape=SHAPE)
    write_weights(path, model)
    card = {**architecture_metadata(model), "training": {}, "sha256": sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(card))
    load_model(path)
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.safetensors is not the file that its card describes"):
        load_model(path)
