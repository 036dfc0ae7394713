"""Checkpoints that survive: written beside, read back, compared, and only then put in place."""

import hashlib
import os
import pickle
import random
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from tc_common.errors import UserError
from tc_common.files import atomic_write, sha256, sync

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
            _serialise(content, hashing)
        sync(temporary)
        _forget_cached(temporary)
        if sha256(temporary) != hashing.digest.hexdigest():
            raise UserError(f"{path}: the disk returned other bytes than were written; the old checkpoint is kept")


def _serialise(content: dict[str, Any], stream: _HashingStream) -> None:
    try:
        torch.save(content, cast(IO[bytes], stream))
    except RuntimeError as error:  # torch hides the disk's own error behind one of its writer
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _forget_cached(path: Path) -> None:
    """Ask the system (Linux) to drop its copy of a file, so that reading it back really asks the disk."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_plain(source: Path | IO[bytes], device: str = "cpu") -> Any:
    """`torch.load` of tensors and plain values, never code; raises what torch raises.

    Torch warns of a pickle of another protocol before it reads or refuses it; one of the two is enough.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        return torch.load(source, map_location=device, weights_only=True)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of ours: tensors and plain values, never code.

    Raises:
        UserError: missing, cut or foreign file, or one that would need to run code to be read.
    """
    try:
        content = load_plain(path, device)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; train first, or name another checkpoint") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors and plain values ({_reason(error)})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise UserError(f"{path} cannot be read: {reason}; the file is cut or damaged") from error
    missing = [key for key in REQUIRED if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path} is no checkpoint of this project: it lacks {', '.join(missing)}")
    return content


def _reason(error: pickle.UnpicklingError) -> str:
    """The one line of torch's page of advice that says what it met."""
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation")
    met = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(advice)]
    return met[0][:200] if met else "not a torch file"


def remove_stale(folder: Path, stem: str) -> None:
    """Delete the temporary files that a killed writer of `stem` left behind."""
    for left_over in folder.glob(f".{stem}*.tmp"):
        left_over.unlink(missing_ok=True)


def frozen_identity(model: nn.Module, names: Collection[str]) -> dict[str, Any]:
    """What a checkpoint says about weights that it does not repeat: their names and the sha256 over their bytes."""
    weights = model.state_dict()
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\t{weights[name].dtype}\t{tuple(weights[name].shape)}\n".encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {"names": sorted(names), "sha256": digest.hexdigest() if names else ""}


def load_weights(model: nn.Module, content: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into `model`, which must already hold those that the checkpoint does not repeat.

    Raises:
        UserError: a weight is missing, unknown or of another shape, or the frozen weights are not those of the run.
    """
    frozen = content.get("frozen", {"names": [], "sha256": ""})
    ours = model.state_dict()
    try:
        differs = frozen_identity(model, frozen["names"])["sha256"] != frozen["sha256"]
        if not differs:
            kept: dict[str, Tensor] = {name: ours[name] for name in frozen["names"]}
            model.load_state_dict({**content["model_state_dict"], **kept}, strict=True)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit this model: {reason}") from error
    if differs:
        origin = content.get("init", "unknown weights")
        raise UserError(
            f"{path} was trained on other frozen weights ({origin}, sha256 {frozen['sha256'][:12]}) than --init "
            "brings now; give it the same weights"
        )


def seed_everything(seed: int) -> None:
    """Put every generator that a training may draw from at a beginning that depends on `seed` alone."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a library may draw from it
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Every generator that a training may draw from, as values that load without code."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - saved, never drawn from
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
        "python": random.getstate(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator back where `random_state` saw it."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"][0])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
