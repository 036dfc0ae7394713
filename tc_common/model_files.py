"""Shipped weights: safetensors with matrices in half precision, and a card (.json, same name)."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tc_common.errors import UserError, one_line
from tc_common.files import atomic_write, read_json


def half_state(module: nn.Module, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The state below these prefixes, with trained matrices in half precision (half the bytes)."""
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
        raise UserError(f"{path} cannot be read as weights: {one_line(error, 200)}") from error
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def read_card(path: Path) -> dict[str, Any]:
    """The card of the weights `path`.

    Raises:
        UserError: it is missing or no JSON object.
    """
    return read_json(path.with_suffix(".json"))
