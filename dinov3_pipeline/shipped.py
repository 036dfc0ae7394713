"""The vision model as the project ships it: safetensors and a card from which it is rebuilt strictly.

Only networks that started from random weights are shipped: they are whole in their checkpoint and small. DINOv3's
own weights are under Meta's licence and 80 MB upwards.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

from dinov3_pipeline.backbones import Shape
from dinov3_pipeline.model import ADAPTERS, DinoTcModel, load_model, restore_model
from tc_common.checkpoints import load_checkpoint
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.model_files import half_state, read_card, read_tensors, write_tensors

SETTINGS = ("backbone", "image_size", "tune", "target", "head_dropout", *(f"lora_{name}" for name in ADAPTERS))
SHAPE = tuple(field.name for field in fields(Shape))
LARGEST_BYTES = 25_000_000
# the names of everything but `_extra_state`, which the card holds in words
PARTS = ("backbone.", "head.", "target.", "mean", "std", "feature_mean", "feature_std")


def write_shipped(checkpoint: Path, path: Path) -> dict[str, Any]:
    """Write a checkpoint's network to `path` (.safetensors); what its card must say to rebuild it.

    Raises:
        UserError: it was pretrained, or takes more than 25 MB.
    """
    model, config = load_model(checkpoint), load_checkpoint(checkpoint)["config"]
    if model.init != "random":
        raise UserError(
            f"{checkpoint} started from {model.init}; only networks trained from --init random are shipped"
        )
    write_tensors(path, half_state(model, PARTS))
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(
            f"{checkpoint} takes {path.stat().st_size >> 20} MB; at most 25 are shipped: train a smaller one"
        )
    settings = {**{name: config[name] for name in SETTINGS}, **{name: config.get(name) for name in SHAPE}}
    return {"network": settings, "pictures": model.get_extra_state()["render_options"]}


def load_shipped(path: Path) -> DinoTcModel:
    """Rebuild the network of `path` (.safetensors) and its card, ready to predict in fp32.

    Raises:
        UserError: file or card is missing or damaged, or they do not fit each other.
    """
    card, tensors = read_card(path), read_tensors(path)
    if card.get("sha256") != sha256(path):
        raise UserError(f"{path} is not the file that its card describes; fetch both again")
    try:
        model = restore_model({name: card["network"][name] for name in (*SETTINGS, *SHAPE)})
        state: dict[str, Any] = {**tensors, "_extra_state": {"render_options": card["pictures"]}}
        model.load_state_dict(state, strict=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} and its card do not fit: {' '.join(str(error).split())[:300]}") from error
    model.init = f"file:{path.name}@{card['sha256'][:12]}"
    return model.float().eval()
