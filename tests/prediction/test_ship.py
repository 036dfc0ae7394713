"""What is shipped: it predicts as the checkpoint does, says the truth about itself, and is refused once altered."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from gat_pipeline.model import load_model
from gat_pipeline.train import GraphTrainConfig
from prediction import load_predictor
from prediction.card import NAMES, readme
from prediction.intervals import Intervals, fit_intervals
from prediction.known import read_known
from prediction.load import checked_card
from prediction.models import predict_materials
from prediction.novelty import nearest_other
from prediction.ship import main
from prediction.study import command
from prediction.trees import read_trees
from tc_common.composition import element_fractions
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.predictions import read_predictions
from tests.prediction.conftest import ShippedStudy
from tests.prediction.made import add_training, compare, make_study, set_weights


def card(shipped: ShippedStudy, name: str) -> dict:
    return json.loads((shipped.models / f"{name}.json").read_text())


def test_the_shipped_file_predicts_as_the_checkpoint(shipped: ShippedStudy) -> None:
    ours, theirs = load_model(shipped.models / "alignn.safetensors"), load_model(shipped.folder / "m/alignn_best.pth")
    for cif in shipped.splits["test"]["cif"][:4]:
        assert ours.predict(cif) == pytest.approx(theirs.predict(cif), abs=0.05)
    said = card(shipped, "alignn")["file_against_study"]
    assert 0 < said["mean_abs_difference_K"] <= said["largest_abs_difference_K"] < 0.1


def test_matrices_are_halved_and_statistics_are_not(shipped: ShippedStudy) -> None:
    tensors = load_file(shipped.models / "alignn.safetensors")
    assert tensors["head.0.weight"].dtype.itemsize == 2
    assert tensors["backbone.atom_embedding.layer.1.running_mean"].dtype.itemsize == 4


def test_the_card_repeats_comparison_and_splits(shipped: ShippedStudy) -> None:
    compared = json.loads((shipped.folder / "r/comparison.json").read_text())
    said = card(shipped, "alignn")
    assert said["metrics"]["test"] == compared["models"]["alignn"]["score"]
    assert said["metrics"]["interval"]["mae_K"] == compared["models"]["alignn"]["interval"]["mae_K"]
    assert said["splits_sha256"] == compared["splits_sha256"]
    assert (said["n_train"], said["n_val"], said["n_test"]) == tuple(
        len(shipped.splits[s]) for s in ("train", "val", "test")
    )
    assert said["origin"] == "random" and said["head_features"] == "none"
    assert said["files"]["alignn.safetensors"] == said["sha256"] == sha256(shipped.models / "alignn.safetensors")
    assert said["command"] == "python -m gat_pipeline.train --init random --epochs 1 --hidden 16"


def test_the_stated_coverage_is_that_of_the_shipped_predictions(shipped: ShippedStudy) -> None:
    predictor, test = load_predictor(shipped.models, "alignn"), shipped.splits["test"]
    made = [predictor.predict(Path(cif)) for cif in test["cif"]]
    inside = [each.lower_K <= tc_K <= each.upper_K for each, tc_K in zip(made, test["tc"], strict=True)]
    said = card(shipped, "alignn")
    assert said["prediction_intervals"]["test_coverage"] == pytest.approx(np.mean(inside))
    validation = read_predictions(shipped.models / "alignn_val_predictions.csv")
    assert Intervals.from_plain(said["intervals"]) == fit_intervals(validation)
    assert said["new_systems"] is None, "no study with systems held out was named"


def test_the_trees_of_the_ensemble_are_shipped_and_what_is_known(shipped: ShippedStudy) -> None:
    said, trees = card(shipped, "ensemble"), read_trees(shipped.models / "composition.safetensors")
    assert said["trees"]["composition"] == {
        "seed": 42, "n_train": 24, "labels": None, "kind": f"extra_trees{'_median' * (trees.vote == 'median')}",
        "trees": 500,
    }  # fmt: skip
    study = read_predictions(shipped.folder / "r/composition_predictions.csv")
    assert trees.predict_formulas(study["formula"])[0] == pytest.approx(study["tc_pred"], abs=1e-3)
    known = read_known(shipped.models / "known.csv")
    for formula, tc_K in shipped.splits["test"][["formula", "tc"]].itertuples(index=False):
        found = known.lookup(formula)
        assert found is not None and found.lowest_K <= tc_K <= found.highest_K
    for name in ("composition.safetensors", "known.csv", "cautions.json", "training.csv"):
        assert said["files"][name] == sha256(shipped.models / name)


def test_every_model_of_the_ensemble_has_an_interval_of_its_own(shipped: ShippedStudy) -> None:
    predictor = load_predictor(shipped.models, "ensemble")
    assert set(predictor.member_intervals) == set(predictor.members) > {"alignn"}
    made = predict_materials(predictor.base_models[predictor.members.index("composition")], shipped.splits["val"])
    table = shipped.splits["val"].assign(tc_pred=made.tc_K, tc_std=made.std_K)
    assert predictor.member_intervals["composition"] == fit_intervals(table)
    for member in predictor.predict(shipped.cif("test")).members:
        assert member.lower_K is not None and member.upper_K is not None
        assert member.lower_K <= member.tc_K <= member.upper_K


def test_member_intervals_that_are_none_are_refused(copied: ShippedStudy) -> None:
    for edit, message in (([1], "member_intervals"), ({"composition": {}}, "the card has no intervals")):
        edited = card(copied, "ensemble") | {"member_intervals": edit}
        (copied.models / "ensemble.json").write_text(json.dumps(edited))
        with pytest.raises(UserError, match=message):
            load_predictor(copied.models, "ensemble")


def test_the_graph_network_is_shown_even_without_a_weight(copied: ShippedStudy) -> None:
    set_weights(copied.folder, {"alignn": 0.0, "composition": 1.0})
    ensemble = copied.folder / "r/ensemble_predictions.csv"
    shutil.copy(copied.folder / "r/composition_predictions.csv", ensemble)
    main(copied.config(copied.models))
    predictor = load_predictor(copied.models, "ensemble")
    said = predictor.predict(copied.cif("test"))
    assert {member.name: member.weight for member in said.members} == {"alignn": 0.0, "composition": 1.0}
    assert said.tc_K == pytest.approx(read_predictions(ensemble)["tc_pred"].iloc[0], abs=0.01)


def test_the_cards_cautions_are_counted_on_the_test_materials(shipped: ShippedStudy) -> None:
    predictor, said = load_predictor(shipped.models, "ensemble"), card(shipped, "ensemble")["cautions"]
    made = [predictor.predict(Path(cif)) for cif in shipped.splits["test"]["cif"]]
    own = [[each for each in one.cautions if each.kind != "known"] for one in made]
    assert said["test"]["flagged"] == pytest.approx(np.mean([bool(each) for each in own]))
    assert said["pressure"]["n"] == 11 and said["pressure"]["flagged"] >= 8


def test_the_card_says_what_a_network_learned_from_besides(copied: ShippedStudy) -> None:
    path = copied.folder / "r/alignn_metrics.json"
    learned = {"extra_structures": 7, "extra_labels_exclude": 0.01}
    path.write_text(json.dumps(json.loads(path.read_text()) | learned))
    assert not {*learned} & {*card(copied, "alignn")}
    main(copied.config(copied.models))
    assert {fact: card(copied, "alignn")[fact] for fact in learned} == learned


def test_labels_that_the_study_had_must_be_named(copied: ShippedStudy, tmp_path: Path) -> None:
    for file in (copied.folder / "r").glob("composition_*"):
        shutil.copy(file, file.with_name(file.name.replace("composition", "composition_with_labels")))
    set_weights(copied.folder, {"composition_with_labels": 1.0})
    with pytest.raises(
        UserError, match="composition_with_labels learned from extra labels; name them: --extra-labels"
    ):
        main(copied.config(tmp_path / "new"))


def test_the_mean_of_two_trainings_is_shipped_as_both_and_says_how_far_they_differ(tmp_path: Path) -> None:
    splits = make_study(tmp_path)
    add_training(tmp_path, splits)
    study = ShippedStudy(tmp_path, tmp_path / "models", splits)
    config = study.config(study.models)
    for paths in (config.alignn, 2 * config.alignn):
        with pytest.raises(UserError, match="trainings of the seeds 42, 43, --alignn names those of 42"):
            main(replace(config, alignn=paths))
    main(replace(config, alignn=(*config.alignn, tmp_path / "m/second.pth")))
    trainings = [load_model(tmp_path / f"m/{name}.pth") for name in ("alignn_best", "second")]
    cif, trainings_K = next(
        (cif, said_K)
        for cif in map(Path, splits["test"]["cif"])
        if min(said_K := [training.predict(cif) for training in trainings]) > 0  # below it they are cut
    )
    model = load_predictor(study.models, "alignn").base_models[0]
    said = model.predict([model.prepare(read_crystal(cif))])
    assert said.tc_K[0] == pytest.approx(np.mean(trainings_K), abs=0.05)
    assert said.std_K is not None and said.std_K[0] == pytest.approx(np.std(trainings_K, ddof=1), abs=0.05)
    assert card(study, "alignn")["intervals"]["by_std"]
    page = (study.models / "README.md").read_text()
    assert "mean of 2 trainings, each started from random" in page and "--seed 42, 43" in page
    for name in ("alignn", "ensemble"):
        assert {"alignn_2.safetensors", "alignn_2.json"} <= set(card(study, name)["files"])
        assert card(study, name)["networks"] == ["alignn.safetensors", "alignn_2.safetensors"]
        (study.models / "alignn_2.safetensors").rename(tmp_path / "away")
        with pytest.raises(UserError, match="alignn_2.safetensors is missing"):
            load_predictor(study.models, name)
        (tmp_path / "away").rename(study.models / "alignn_2.safetensors")


def test_a_model_of_another_name_in_the_study_is_shipped_as_alignn(tmp_path: Path) -> None:
    splits = make_study(tmp_path)
    for file in (tmp_path / "r").glob("alignn_*"):
        file.rename(file.with_name(file.name.replace("alignn_", "alignn_neighbours_")))
    compare(tmp_path)
    study = ShippedStudy(tmp_path, tmp_path / "models", splits)
    with pytest.raises(UserError, match=r"alignn_metrics\.json cannot be read"):
        main(study.config(study.models))
    main(replace(study.config(study.models), alignn_name="alignn_neighbours"))
    assert set(card(study, "ensemble")["weights"]) <= {"alignn", "composition"}
    assert load_predictor(study.models, "alignn").base_models[0].name == "alignn"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"sub/alignn_2.safetensors": "x"}, "names a file of another folder"),
        ({"../alignn.safetensors": "x"}, "names a file of another folder"),
        ({"alignn_2.safetensors": None}, "lists no sha256 of alignn_2.json"),
    ],
)
def test_a_card_that_names_odd_files_is_refused(copied: ShippedStudy, files: dict, message: str) -> None:
    shutil.copy(copied.models / "alignn.safetensors", copied.models / "alignn_2.safetensors")
    said = card(copied, "alignn")
    digests = {name: digest or said["sha256"] for name, digest in files.items()}
    changed = {**said, "files": said["files"] | digests, "networks": [*said["networks"], *files]}
    (copied.models / "alignn.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=message):
        load_predictor(copied.models, "alignn")


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (None, "has no list of its networks"),
        ("alignn.safetensors", "has no list of its networks"),
        ([3], "has no list of its networks"),
        ([], "lists no network"),
        (["../alignn.safetensors"], "lists no sha256 of .*, which its networks need"),
        (["alignn_2.safetensors"], "lists no sha256 of alignn_2.json"),
    ],
)
def test_a_card_without_a_good_list_of_networks_is_refused(
    copied: ShippedStudy, networks: object, message: str
) -> None:
    changed = {**card(copied, "alignn"), "networks": networks}
    if networks is None:
        del changed["networks"]  # as in cards of before there was the list
    (copied.models / "alignn.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=message):
        load_predictor(copied.models, "alignn")


def test_a_card_of_before_there_were_intervals_is_refused_in_one_line(copied: ShippedStudy) -> None:
    older = {name: value for name, value in card(copied, "alignn").items() if name != "intervals"}
    (copied.models / "alignn.json").write_text(json.dumps(older))
    with pytest.raises(UserError, match="the card has no intervals") as refused:
        load_predictor(copied.models, "alignn")
    assert "\n" not in str(refused.value)


def test_the_committed_cards_describe_the_committed_files() -> None:
    folder = Path(__file__).parents[2] / "models/3dsc"
    cards = [checked_card(folder, name) for name in NAMES]
    assert [card["networks"] for card in cards if card["name"] == "ensemble"] == [
        [name for card in cards if card["name"] != "ensemble" for name in card["networks"]]
    ]
    assert (folder / "README.md").read_text(encoding="utf-8") == readme(cards)


def test_the_page_has_the_cards_numbers(shipped: ShippedStudy) -> None:
    page = (shipped.models / "README.md").read_text()
    for name in ("alignn", "ensemble"):
        said = card(shipped, name)
        score, interval = said["metrics"]["test"]["mae_K"], said["metrics"]["interval"]["mae_K"]
        assert f"{score:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]" in page
        assert f"{100 * said['prediction_intervals']['test_coverage']:.1f} %" in page
    assert "CC BY 4.0" in page and "split: not recorded" in page and "at random" not in page


def test_nearest_other_is_the_nearest_of_all_pairs() -> None:
    points = element_fractions(["Nb3Sn", "NbSn3", "MgB2", "Mg1B2", "Pb"])
    pairs = np.abs(points[:, None] - points[None]).sum(axis=2) + 9 * np.eye(5)
    assert nearest_other(points, "cityblock") == pytest.approx(pairs.min(axis=1))
    assert nearest_other(points, "cityblock") == pytest.approx([1.0, 1.0, 0.0, 0.0, 2.0])


def test_settings_become_the_command_again() -> None:
    settings = {"init": "random", "target": "kelvin", "graph": {"rule": "radius", "cutoff_A": 8.0}}
    said = command("train", settings, GraphTrainConfig())
    assert said == "train --init random --target kelvin --graph.rule radius"


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def copied(shipped: ShippedStudy, tmp_path: Path) -> ShippedStudy:
    shutil.copytree(shipped.folder, tmp_path / "s")
    return ShippedStudy(tmp_path / "s", tmp_path / "s/models", shipped.splits)


def test_another_training_is_refused_and_nothing_changes(copied: ShippedStudy) -> None:
    path = copied.folder / "r/alignn_predictions.csv"
    table = read_predictions(path)
    table.assign(tc_pred=table["tc_pred"] + 20).to_csv(path, index=False)
    before = {file.name: sha256(file) for file in copied.models.iterdir()}
    with pytest.raises(UserError, match="it is another training"):
        main(copied.config(copied.models))
    assert {file.name: sha256(file) for file in copied.models.iterdir()} == before
    assert not list(copied.folder.glob(".models*"))


def test_other_splits_are_refused(copied: ShippedStudy) -> None:
    path = copied.folder / "p/train.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"comparison\.json belongs to other splits"):
        main(copied.config(copied.models))


def test_a_foreign_folder_is_not_overwritten(copied: ShippedStudy, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(UserError, match="no shipped models"):
        main(copied.config(tmp_path / "mine"))
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"


def test_a_model_with_a_weight_must_be_shipped(copied: ShippedStudy, tmp_path: Path) -> None:
    set_weights(copied.folder, {"alignn": 0.5, "dinov3": 0.5})
    with pytest.raises(UserError, match=r"dinov3 a weight of 0\.500; name its checkpoint"):
        main(copied.config(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["alignn.safetensors", "alignn_val_predictions.csv", "training.csv"])
def test_an_altered_file_is_refused(copied: ShippedStudy, name: str) -> None:
    with (copied.models / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(UserError, match=rf"{name} is not the file that alignn\.json describes"):
        load_predictor(copied.models, "alignn")


def test_a_card_names_no_file_of_another_folder(copied: ShippedStudy) -> None:
    path = copied.models / "alignn.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": {"../../secret": "0"}}))
    with pytest.raises(UserError, match=r"alignn\.json names a file of another folder"):
        load_predictor(copied.models, "alignn")


def test_weights_of_another_network_are_refused(copied: ShippedStudy) -> None:
    path = copied.models / "alignn.safetensors"
    tensors = load_file(path)
    tensors.pop("head.4.bias")
    save_file(tensors, path)
    said = json.loads((copied.models / "alignn.json").read_text())
    said["files"]["alignn.safetensors"] = said["sha256"] = sha256(path)
    (copied.models / "alignn.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="does not fit this network"):
        load_predictor(copied.models, "alignn")


def test_what_is_not_shipped_is_said_with_the_remedy(tmp_path: Path, shipped: ShippedStudy) -> None:
    with pytest.raises(UserError, match=r"no dinov3 model is shipped.*--checkpoint"):
        load_predictor(shipped.models, "dinov3")
    with pytest.raises(UserError, match=r"no alignn model is shipped.*prediction\.ship"):
        load_predictor(tmp_path, "alignn")
