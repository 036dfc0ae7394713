"""Checkpoints that survive: written beside, read back, compared, and only then put in place."""

import hashlib
import pickle
import random
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from tc_common.errors import UserError
from tc_common.files import atomic_write, sha256

REQUIRED = ("epoch", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "rng_state", "val_loss")


class _HashingStream:
    """A file opened for writing that knows the digest of what went through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        return self.stream.write(block)

    def flush(self) -> None:
        self.stream.flush()


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` whole or not at all; the old file stays until the new one has been read back and agrees.

    Raises:
        UserError: the folder cannot be written, the disk is full, or the disk returns other bytes than it was given.
    """
    with atomic_write(path) as temporary:
        with temporary.open("wb") as stream:
            hashing = _HashingStream(stream)
            torch.save(content, cast(IO[bytes], hashing))
        if sha256(temporary) != hashing.digest.hexdigest():
            raise UserError(f"{path}: the disk returned other bytes than were written; the old checkpoint is kept")


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of ours: tensors and plain values, never code.

    Raises:
        UserError: missing, cut or foreign file, or one that would need to run code to be read.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; train first, or name another checkpoint") from error
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "rror:" in line), "not a torch file").strip()
        raise UserError(f"{path} is refused: it is no plain checkpoint of this project ({reason})") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}; the file is cut or damaged") from error
    missing = [key for key in REQUIRED if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path} is no checkpoint of this project: it lacks {', '.join(missing)}")
    return content


def remove_stale(folder: Path, stem: str) -> None:
    """Delete the temporary files that a killed writer of `stem` left behind."""
    for left_over in folder.glob(f".{stem}*.tmp"):
        left_over.unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """Every generator that a training may draw from, as values that load without code."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - saved, never drawn from
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).copy()), int(position), int(has_gauss), float(cached)),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator back where `random_state` saw it."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))  # noqa: NPY002
