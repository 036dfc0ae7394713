"""Weights as the project ships them: safetensors with matrices in half precision, and a card (.json) beside them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tc_common.errors import UserError
from tc_common.files import atomic_write


def half_state(module: nn.Module, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The state below these prefixes; matrices that are learnt in half precision, half the bytes."""
    state = {name: value for name, value in module.state_dict(keep_vars=True).items() if name.startswith(prefixes)}
    return {name: _half(value).detach().cpu().contiguous() for name, value in state.items()}


def _half(value: Tensor) -> Tensor:
    # biases and the statistics of normalisation are small, and the statistics may exceed the range
    return value.half() if isinstance(value, nn.Parameter) and value.ndim > 1 else value


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write safetensors whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors))  # save_file makes files that only their owner may read


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name; those in half precision in single precision again.

    Raises:
        UserError: the file is missing, cut or no safetensors.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def read_card(path: Path) -> dict[str, Any]:
    """The card beside the weights `path`.

    Raises:
        UserError: it is missing or no JSON object.
    """
    card = path.with_suffix(".json")
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{card} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{card} is no card but a {type(content).__name__}")
    return content
