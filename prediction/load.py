"""Load shipped models and verify their checksums.

    alignn.safetensors, alignn.json            the graph network and its card
    alignn_2.safetensors, alignn_2.json, ...   trainings with other seeds, where their mean is shipped
    student.safetensors, student.json          the small network taught by the ensemble, where one is shipped
    dinov3.safetensors, dinov3.json            the vision network and its card, where one is shipped
    pair_with_labels.safetensors, ...          trees on composition that the ensemble gives a weight
    ensemble.json                              base models and their weights
    <model>_val_predictions.csv                validation predictions, to which the intervals in the cards are fitted
    known.csv, cautions.json                   measured compounds; limits beyond which a prediction is doubtful
    training.csv, training.safetensors         training set; its crystal vectors and nearest distances

A card lists its `networks` (weights, one file a training) and the sha256 of every file it needs; a file with another
digest is refused.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from gat_pipeline.model import load_network, model_of
from gat_pipeline.weights import find_weights
from prediction.models import MADE_BY, AlignnModel, BaseModel, SeedEnsemble, TreeModel, VisionModel
from prediction.novelty import Training, read_training
from prediction.trees import Trees, read_trees
from tc_common.checkpoints import load_checkpoint
from tc_common.devices import find_device
from tc_common.errors import UserError
from tc_common.files import read_csv, sha256
from tc_common.model_files import read_card

ModelName: TypeAlias = Literal["alignn", "dinov3", "ensemble", "student"]
TRAINING, VECTORS, KNOWN = "training.csv", "training.safetensors", "known.csv"
TRAINING_COLUMNS = ("material_id", "formula", "tc")
# Files that every model needs.
SHARED = (TRAINING, VECTORS, KNOWN)
# Models on composition alone: each is one file of trees.
TREES = ("pair", "pair_with_labels", "composition", "composition_with_labels")
ZERO_SHOT = "pretrained_alignn"
# Of an ensemble's card: intervals of the base models that have no card of their own.
MEMBER_INTERVALS = "member_intervals"
# Whose prediction a network that corrects one reads, if its card does not say.
PRIOR = "pair_with_labels"


def load_training(models_dir: Path) -> Training:
    """The training materials with what their distances need."""
    table = read_csv(models_dir / TRAINING, TRAINING_COLUMNS, MADE_BY)
    return read_training(table, models_dir / VECTORS)


def checked_card(models_dir: Path, model: str) -> dict[str, Any]:
    """The model's card, with every file that it lists present and of the digest that it states.

    Raises:
        UserError: the model is not shipped, a file is missing or another one, or the card lists no networks.
    """
    path = models_dir / f"{model}.json"
    if not path.is_file():
        raise UserError(f"no {model} model is shipped in {models_dir} ({path.name} is missing); {_remedy(model)}")
    card = read_card(path)
    files = card.get("files")
    if not isinstance(files, dict) or not files:
        raise UserError(f"{path} names no files; make it again with: {MADE_BY}")
    for name, digest in files.items():
        if Path(str(name)).name != name:
            raise UserError(f"{path} names a file of another folder, {str(name)[:80]!r}; fetch the folder again")
        file = models_dir / name
        if not file.is_file():
            raise UserError(f"{file} is missing, which {path.name} needs; fetch the folder again")
        if sha256(file) != digest:
            raise UserError(f"{file} is not the file that {path.name} describes; fetch the folder again")
    networks = networks_of(card, path)
    needed = {*networks, *(str(Path(name).with_suffix(".json")) for name in networks)} - {path.name}
    if missing := sorted(needed - {*files}):
        raise UserError(f"{path} lists no sha256 of {missing[0]}, which its networks need; make it again: {MADE_BY}")
    return card


def networks_of(card: dict[str, Any], path: Path) -> list[str]:
    """File names of the networks that the card `path` lists, one a training; none where its model needs none.

    Raises:
        UserError: it has no such list, as cards of older releases.
    """
    networks = card.get("networks")
    if not isinstance(networks, list) or not all(isinstance(name, str) and name for name in networks):
        raise UserError(
            f"{path} has no list of its networks (an older release wrote it); make it again with: {MADE_BY}"
        )
    return networks


def _remedy(model: str) -> str:
    if model == "dinov3":
        return (
            "train one with python -m dinov3_pipeline.train and name it: --checkpoint models/dino_best.pth, or use "
            "--model alignn"
        )
    return f"make it with {MADE_BY}, or name its folder with --models-dir"


def weights_of(card: dict[str, Any]) -> dict[str, float]:
    """Weights of an ensemble's base models; one of weight 0 is shown beside the mean.

    Raises:
        UserError: they are no weights.
    """
    try:
        weights = {str(name): float(weight) for name, weight in card["weights"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the ensemble's card has no weights ({error}); make it again with: {MADE_BY}") from error
    if not weights or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
        raise UserError(f"the ensemble's weights {weights} do not sum to 1; make them again with: {MADE_BY}")
    return weights


def load_base_model(models_dir: Path, name: str, card: dict[str, Any], device: str) -> BaseModel:
    """A base model by its name; `card` is that of the model or of the ensemble it belongs to.

    Raises:
        UserError: its files are damaged, or the name is unknown.
    """
    if name in TREES:
        return TreeModel(name, read_trees(models_dir / f"{name}.safetensors"))
    on = find_device(device)
    if name == "alignn":
        return load_seed_ensemble(models_dir, on)
    if name == "student":
        return load_student(models_dir, on)
    if name == "dinov3":
        return vision_model(name, models_dir / "dinov3.safetensors", on)
    if name == ZERO_SHOT:
        return AlignnModel(name, zero_shot_model(card).to(on))
    raise UserError(f"the ensemble's model {name} is unknown here; make it again with: {MADE_BY}")


def vision_model(name: str, path: Path, on: torch.device) -> VisionModel:
    """A vision network, shipped or of the user's own."""
    from dinov3_pipeline.model import load_model as load_vision  # timm and peft take a second to import

    return VisionModel(name, load_vision(path).to(on))


def load_own(checkpoint: Path, device: str) -> BaseModel:
    """A network of the user's own training: a checkpoint (.pth) of either pipeline, or shipped weights and their card.

    Its name says pipeline and file.

    Raises:
        UserError: no such file, or neither pipeline's.
    """
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} is missing; train first, or name another checkpoint")
    shipped = checkpoint.suffix == ".safetensors"
    stated = read_card(checkpoint) if shipped else load_checkpoint(checkpoint)["config"]
    on = find_device(device)
    if "graph" in stated:
        return AlignnModel(f"alignn:{checkpoint.name}", load_network(checkpoint).to(on))
    if ("network" if shipped else "backbone") in stated:
        return vision_model(f"dinov3:{checkpoint.name}", checkpoint, on)
    raise UserError(f"{checkpoint} is neither the graph network's nor the vision network's; name another checkpoint")


def load_seed_ensemble(models_dir: Path, on: torch.device) -> BaseModel:
    """The graph network, or the mean of all its trainings that its card lists.

    Raises:
        UserError: a file is damaged, or the trainings read different graphs.
    """
    path = models_dir / "alignn.json"
    card = read_card(path)
    paths = [models_dir / name for name in networks_of(card, path)]
    if not paths:
        raise UserError(f"{path} lists no network; make it again with: {MADE_BY}")
    loaded = [load_network(each).to(on) for each in paths]
    trees = load_prior(models_dir, card) if loaded[0].reads_prior else None
    networks = [AlignnModel("alignn", model, trees) for model in loaded]
    for each, network in zip(paths, networks, strict=True):
        if network.model.options != networks[0].model.options:
            raise UserError(f"{each} reads other graphs than {paths[0].name}; make them again with: {MADE_BY}")
    return SeedEnsemble("alignn", networks) if len(networks) > 1 else networks[0]


def load_student(models_dir: Path, on: torch.device) -> BaseModel:
    """The network taught by the ensemble, with the trees that it corrects, if it does."""
    network = load_network(models_dir / "student.safetensors").to(on)
    trees = load_prior(models_dir, read_card(models_dir / "student.json")) if network.reads_prior else None
    return AlignnModel("student", network, trees)


def load_prior(models_dir: Path, card: dict[str, Any]) -> Trees:
    """The trees that a network corrects, by the name that its card states."""
    name = card.get("prior", PRIOR)
    if name not in TREES:
        raise UserError(f"the graph network corrects {str(name)[:80]!r}, which is none of {', '.join(TREES)}")
    return read_trees(models_dir / f"{name}.safetensors")


def zero_shot_model(card: dict[str, Any]) -> Any:
    """The shipped pre-trained network, if it is the one that the ensemble was made with."""
    weights = find_weights("pretrained", Path("models/downloads"))
    assert weights is not None
    if weights.origin != card.get(ZERO_SHOT):
        raise UserError(f"the ensemble was made with {card.get(ZERO_SHOT)}, but {weights.origin} is shipped now")
    return model_of(weights)
