"""`add_retrieval`: what it writes predicts, is checked when it is read, and keeps the names of earlier versions."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from gat_pipeline import train
from gat_pipeline.add_retrieval import RetrievalConfig, main
from gat_pipeline.model import architecture_metadata, load_model, write_weights
from tc_common.checkpoints import save_checkpoint
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.lock import lock_folder
from tests.gat_pipeline.tables import write_small_splits


def places(folder: Path) -> dict[str, Any]:
    return {
        "data_dir": folder / "p",
        "models_dir": folder / "m",
        "results_dir": folder / "r",
        "cache_dir": folder / "c",
    }


def train_config(folder: Path, **changes: Any) -> train.GraphTrainConfig:
    sizes = {"init": "random", "hidden": 16, "alignn_layers": 1, "gcn_layers": 1, "batch_size": 4, "epochs": 1}
    return train.GraphTrainConfig(**{**places(folder), **sizes, "head_features": "composition", **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network trained for one epoch, then given its retrieval."""
    folder = tmp_path_factory.mktemp("trained")
    write_small_splits(folder / "p", 12, 6, 6)
    train.main(train_config(folder))
    main(RetrievalConfig(**places(folder), checkpoint=folder / "m/alignn_best.pth"))
    return folder


def written(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "r/alignn_neighbours_predictions.csv")


def test_the_checkpoint_predicts_what_was_written_and_says_what_it_is(trained: Path) -> None:
    table = written(trained)
    test = pd.read_csv(trained / "p/test.csv").set_index("material_id").loc[table["material_id"]]
    model = load_model(trained / "m/alignn_neighbours_best.pth")
    assert [model.predict(cif) for cif in test["cif"]] == pytest.approx(table["tc_pred"].tolist(), abs=1e-3)
    metrics = json.loads((trained / "r/alignn_neighbours_metrics.json").read_text())
    assert metrics["model"] == "alignn_neighbours" and metrics["init"] == "random" and metrics["seeds"] == [42]
    assert metrics["mae_K"] == pytest.approx((table["tc_pred"] - table["tc"]).abs().mean())
    assert metrics["neighbours"]["mixing_weight"] == pytest.approx(float(model.retrieval.mixing_weight), abs=1e-3)  # type: ignore
    val = pd.read_csv(trained / "r/alignn_val_predictions.csv")
    assert metrics["val_mae_K"] <= (val["tc_pred"] - val["tc"]).abs().mean() + 0.1, "chosen on these (bf16 aside)"
    assert load_model(trained / "m/alignn_best.pth").retrieval is None


def test_the_shipped_form_keeps_the_retrieval(trained: Path, tmp_path: Path) -> None:
    model = load_model(trained / "m/alignn_neighbours_best.pth")
    assert model.retrieval is not None
    model.retrieval.mixing_weight.fill_(1.0)
    write_weights(tmp_path / "a.safetensors", model)
    write_json(tmp_path / "a.json", {**architecture_metadata(model), "training": {}})
    again, cif = load_model(tmp_path / "a.safetensors"), pd.read_csv(trained / "p/test.csv")["cif"][0]
    assert again.retrieval is not None and len(again.retrieval.tc_K) == 12
    assert again.predict(cif) == pytest.approx(model.predict(cif), abs=0.1)
    torch.testing.assert_close(again.retrieval.vectors, model.retrieval.vectors)


BROKEN = {
    "no Tc": lambda state: state.pop("retrieval.tc_K"),
    "no axes": lambda state: state.pop("retrieval.axes"),
    "one Tc": lambda state: state.update({"retrieval.tc_K": torch.tensor(1.0)}),
    "flat axes": lambda state: state.update({"retrieval.axes": torch.zeros(3)}),
    "no rows": lambda state: state.update(
        {"retrieval.tc_K": torch.zeros(0), "retrieval.vectors": state["retrieval.vectors"][:0]}
    ),
    "another width": lambda state: state.update(
        {"retrieval.axes": state["retrieval.axes"][:9], "retrieval.mean": state["retrieval.mean"][:9]}
    ),
    "mixing weight": lambda state: state["retrieval.mixing_weight"].fill_(50),
    "bandwidth": lambda state: state["retrieval.bandwidth"].fill_(0),
    "NaN": lambda state: state["retrieval.tc_K"].fill_(float("nan")),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_retrieval_that_makes_no_sense_is_refused(trained: Path, tmp_path: Path, broken: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "pth":
        content = torch.load(trained / "m/alignn_neighbours_best.pth", weights_only=True)
        BROKEN[broken](content["model_state_dict"])
        save_checkpoint(path, content)
    else:
        model = load_model(trained / "m/alignn_neighbours_best.pth")
        write_weights(path, model)
        write_json(tmp_path / "a.json", {**architecture_metadata(model), "training": {}})
        tensors = load_file(path)
        BROKEN[broken](tensors)
        save_file(tensors, path)
    with pytest.raises(UserError, match="its retrieval"):
        load_model(path)


OLD = {
    "composition_branch.": "statistics.",
    "retrieval.bandwidth": "neighbours.reach",
    "retrieval.mixing_weight": "neighbours.share",
    "retrieval.": "neighbours.",
}


def as_written_before(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model's tensors by the names of an earlier version."""
    renamed = {}
    for name, value in tensors.items():
        new = next((new for new in OLD if name.startswith(new)), "")
        renamed[OLD.get(new, "") + name.removeprefix(new)] = value
    assert {"statistics.mean", "neighbours.reach", "neighbours.share", "neighbours.tc_K"} < set(renamed)
    return renamed


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_names_and_settings_of_an_earlier_version_load_and_predict_the_same(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    path, cif = tmp_path / f"a.{kind}", pd.read_csv(trained / "p/test.csv")["cif"][0]
    model = load_model(trained / "m/alignn_neighbours_best.pth")
    graph = {**model.options.plain(), "mixture_channels": False}
    if kind == "pth":
        content = torch.load(trained / "m/alignn_neighbours_best.pth", weights_only=True)
        config = {**content["config"], "graph": graph, "plateau_patience": 5}
        old = {**content, "config": config, "model_state_dict": as_written_before(content["model_state_dict"])}
        save_checkpoint(path, old)
        assert load_model(path).predict(cif) == model.predict(cif)
    else:
        write_weights(path, model)
        expected = {**architecture_metadata(model), "training": {}}
        write_json(path.with_suffix(".json"), expected)
        before = load_model(path).predict(cif)
        save_file(as_written_before(load_file(path)), path)
        write_json(path.with_suffix(".json"), {**expected, "graph": graph})
        assert load_model(path).predict(cif) == before


def test_a_removed_setting_that_mattered_is_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained / "m/alignn_best.pth", weights_only=True)
    content["config"]["graph"]["mixture_channels"] = True
    save_checkpoint(tmp_path / "a.pth", content)
    with pytest.raises(UserError, match=r"a\.pth was made with mixture_channels = True, which no longer exists"):
        load_model(tmp_path / "a.pth")


def test_a_training_of_an_earlier_version_is_resumed(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained / "m/alignn_last.pth", weights_only=True)
    graph = {**content["config"]["graph"], "mixture_channels": False}
    old = {"graph": graph, "plateau_patience": 5}
    identity = {**content["identity"], **old, "samples": json.dumps(graph, sort_keys=True)}
    tensors = as_old_training(content["model_state_dict"])
    save_checkpoint(
        tmp_path / "m/alignn_last.pth",
        {**content, "config": {**content["config"], **old}, "identity": identity, "model_state_dict": tensors},
    )
    train.main(train_config(trained, models_dir=tmp_path / "m", results_dir=tmp_path / "r", epochs=2))
    assert len(pd.read_csv(tmp_path / "r/alignn_history.csv")) == 2
    with pytest.raises(UserError, match=r"plateau_patience = 1, which no longer exists"):
        save_checkpoint(tmp_path / "m/alignn_last.pth", {**content, "identity": {**identity, "plateau_patience": 1}})
        train.main(train_config(trained, models_dir=tmp_path / "m", results_dir=tmp_path / "r", epochs=3))


def as_old_training(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("composition_branch.", "statistics."): value for name, value in tensors.items()}


def test_a_training_is_not_overwritten(trained: Path, tmp_path: Path) -> None:
    config = RetrievalConfig(
        checkpoint=trained / "m/alignn_best.pth", data_dir=trained / "p", models_dir=trained / "m", name="alignn"
    )
    with pytest.raises(UserError, match="holds a training"):
        main(config)


def test_results_that_another_run_writes_are_refused(trained: Path, tmp_path: Path) -> None:
    config = RetrievalConfig(
        checkpoint=trained / "m/alignn_best.pth", data_dir=trained / "p", cache_dir=trained / "c",
        models_dir=tmp_path, results_dir=tmp_path,
    )  # fmt: skip
    with lock_folder(tmp_path, name="alignn_neighbours"), pytest.raises(UserError, match="--results-dir or --name"):
        main(config)
    assert not [*tmp_path.glob("*.csv"), *tmp_path.glob("*.pth")]


def test_other_splits_are_refused(trained: Path, tmp_path: Path) -> None:
    write_small_splits(tmp_path / "p", 11, 6, 6)
    with pytest.raises(UserError, match="trained on other splits"):
        main(RetrievalConfig(checkpoint=trained / "m/alignn_best.pth", data_dir=tmp_path / "p"))
    with pytest.raises(ValueError, match="--name must be"):
        RetrievalConfig(name="../x")
