"""The vision model: created, loaded from a checkpoint or a shipped file, and written as a shipped file.

A shipped model is a .safetensors file and its card (.json), from which it is rebuilt strictly. Only networks that were
trained from scratch are shipped: they are small and complete. DINOv3's own weights are under Meta's licence and 80 MB
upwards.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from dinov3_pipeline.backbones import CRYSTALS, Shape, build, create_backbone, normalisation
from dinov3_pipeline.lora import Lora
from dinov3_pipeline.network import DinoTcModel, as_images, assemble, count_parameters, create_dino_model
from tc_common.checkpoints import load_checkpoint, load_weights
from tc_common.cli import current_settings
from tc_common.composition_branch import HeadFeatures
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.model_files import half_state, read_card, read_tensors, write_tensors
from tc_common.retrieval import retrieval_from
from tc_common.state_checks import mismatch, mistyped
from tc_common.targets import TargetTransform

__all__ = ["DinoTcModel", "as_images", "count_parameters", "create_dino_model", "load_model", "write_shipped"]

LARGEST_BYTES = 25_000_000
# Settings that rebuild the network; checkpoints and cards are untrusted.
SETTING_TYPES = {
    "backbone": "", "image_size": 0, "tune": "", "target": "", "head_dropout": 0.0, "lora_rank": 0, "lora_alpha": 0.0,
    "lora_dropout": 0.0, "lora_targets": [],
}  # fmt: skip
# Settings that files of before they could be chosen lack.
LATER_TYPES = {"palette": False, "head_features": "", "skip_empty_patches": False}
SHAPE_TYPES = {"patch_size": 0, "width": 0, "depth": 0, "heads": 0, "pool": "", "fourier_features": 0}
RETRIEVAL = "retrieval."
# Names of the whole state but `_extra_state`, which the card holds.
STATE = (
    "backbone.", "head.", "target.", "mean", "std", "feature_mean", "feature_std", "palette_branch.",
    "composition_branch.", RETRIEVAL,
)  # fmt: skip


def load_model(path: Path | str, init: str | None = None) -> DinoTcModel:
    """Rebuild a trained network from its checkpoint (.pth), or from a shipped file (.safetensors) and its card.

    It is ready to predict in fp32 (`adapt_to` changes that). A checkpoint names the weights of a frozen backbone
    instead of repeating them (unless they were random): they come from the Hugging Face cache or from the file that
    `--init` named, and their sha256 is checked.

    Args:
        init: new place of that file, if it has moved.

    Raises:
        UserError: missing, damaged or foreign file, or frozen weights that cannot be had.
    """
    path = Path(path)
    model = _from_shipped(path) if path.suffix == ".safetensors" else _from_checkpoint(path, init)
    return model.float().eval()


def _from_checkpoint(path: Path, init: str | None) -> DinoTcModel:
    checkpoint = load_checkpoint(path)
    frozen = checkpoint.get("frozen", {}).get("names", [])
    try:
        settings = checkpoint["config"]
        model = restore_model(settings, init=(init or settings["init"]) if frozen else None)
        if said := mismatch(checkpoint["model_state_dict"], {"_extra_state": {"rounded": False}}, "state"):
            raise ValueError(said)
        rounded: bool = checkpoint["model_state_dict"]["_extra_state"]["rounded"]
        model.init = checkpoint["init"]
        _give_retrieval(model, checkpoint["model_state_dict"], path)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no checkpoint of the vision model: bad setting {error}") from error
    if rounded:
        model.round_frozen()
    load_weights(model, checkpoint, path)
    return model


def _from_shipped(path: Path) -> DinoTcModel:
    card, tensors = current_settings(read_card(path), path), read_tensors(path)
    if card.get("sha256") != sha256(path):
        raise UserError(f"{path} is not the file that its card describes; fetch both again")
    try:
        model = restore_model(card["network"])
        _give_retrieval(model, tensors, path)
        state: dict[str, Any] = {**tensors, "_extra_state": {"render_options": card["render_options"]}}
        model.load_state_dict(state, strict=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} and its card do not fit: {' '.join(str(error).split())[:300]}") from error
    model.init = f"file:{path.name}@{card['sha256'][:12]}"
    return model


def _give_retrieval(model: DinoTcModel, state: Mapping[str, Any], path: Path) -> None:
    """The retrieval in a file's state, if there is one."""
    own = {name.removeprefix(RETRIEVAL): value for name, value in state.items() if name.startswith(RETRIEVAL)}
    model.retrieval = retrieval_from(own, model.head_width, str(path))


def restore_model(settings: Mapping[str, Any], init: str | None = None) -> DinoTcModel:
    """The network that a trainer's settings describe; the backbone's weights come from `init`, or are to be loaded."""
    if said := mismatch(settings, SETTING_TYPES, "config") or mistyped(settings, SHAPE_TYPES | LATER_TYPES, "config"):
        raise ValueError(said)
    name, image_size, tune = settings["backbone"], settings["image_size"], settings["tune"]
    lora, target = Lora.from_plain(settings), TargetTransform(settings["target"])
    palette: bool = settings.get("palette") or False
    head_features: Any = settings.get("head_features") or "none"
    if head_features not in get_args(HeadFeatures):
        raise ValueError(f"config.head_features is {head_features!r:.60}")
    shape = Shape.from_plain(settings)
    with torch.random.fork_rng(devices=[]):
        vit = create_backbone(name, image_size, init, shape)[0] if init else build(name, image_size, shape)
        dropout, normalise = settings["head_dropout"], normalisation(name)
        model = assemble(vit, tune, lora, dropout, target, normalise, image_size, palette, head_features)
    if settings.get("skip_empty_patches"):
        model.skip_empty_patches(name)
    return model


def write_shipped(checkpoint: Path, path: Path) -> dict[str, Any]:
    """Write a checkpoint's network to `path` (.safetensors); the part of its card that rebuilds it.

    Raises:
        UserError: it was pretrained, or takes more than 25 MB.
    """
    model, settings = load_model(checkpoint), load_checkpoint(checkpoint)["config"]
    if model.init != "random" and not model.init.startswith(f"pretrained:{CRYSTALS.stem}@"):
        raise UserError(
            f"{checkpoint} started from {model.init}; only networks that began as random or crystals are shipped"
        )
    write_tensors(path, half_state(model, STATE))
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(
            f"{checkpoint} takes {path.stat().st_size >> 20} MB; at most 25 are shipped: train a smaller one"
        )
    plain = {name: settings[name] for name in ("backbone", "image_size", "tune", "target", "head_dropout")}
    plain |= {name: settings[name] for name in LATER_TYPES if name in settings}
    nested = {**Lora.from_plain(settings).plain(), **vars(Shape.from_plain(settings))}
    return {"network": {**plain, **nested}, "render_options": model.get_extra_state()["render_options"]}
