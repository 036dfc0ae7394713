"""Atomic checkpoints (temporary file, checksum, rename), and the progress and random states that they store."""

import hashlib
import json
import math
import os
import pickle
import random
import warnings
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tc_common.cli import current_settings
from tc_common.errors import UserError, one_line
from tc_common.files import atomic_write, sync
from tc_common.integrity import is_intact, require_undamaged, seal
from tc_common.splits import splits_sha256
from tc_common.state_checks import is_number, kind_of, mismatch

REQUIRED = ("epoch", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "rng_state", "val_loss")
# What else a checkpoint states, wherever it does, and of which type it is; what a resumed run needs is checked there.
STATED: dict[str, Any] = {
    "epoch": 0, "val_loss": 0.0, "model_state_dict": {}, "config": {}, "identity": {}, "versions": {}, "init": "",
    "frozen": {"names": [], "sha256": ""}, "learned": [],
}  # fmt: skip


class _HashingStream:
    """A file opened for writing, with the digest of what was written."""

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
        seal(temporary, hashing.digest.hexdigest())
        sync(temporary)
        _forget_cached(temporary)
        with temporary.open("rb") as written:
            intact = is_intact(written, hashing.digest.hexdigest())
        if not intact:
            raise UserError(f"{path}: the disk returned other bytes than were written; the old checkpoint is kept")


def _serialise(content: dict[str, Any], stream: _HashingStream) -> None:
    try:
        torch.save(content, cast(IO[bytes], stream))
    except RuntimeError as error:  # torch hides the disk's own error behind one of its writer
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _forget_cached(path: Path) -> None:
    """Drop the page cache of a file (Linux), so that it is read back from the disk."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of ours, with its settings as this version has them (`current_settings`).

    Raises:
        UserError: see `load_torch`, another file, or a removed setting that this version cannot honour.
    """
    content = load_torch(path, path, device)
    missing = [key for key in REQUIRED if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path} is no checkpoint of this project: it lacks {', '.join(missing)}")
    if said := mismatch(content, {name: like for name, like in STATED.items() if name in content}, "it"):
        raise UserError(f"{path} is no checkpoint of this project: {said}")
    for key in ("config", "identity"):
        if key in content:
            content[key] = current_settings(content[key], path)
    samples = content.get("identity", {}).get("samples")
    if isinstance(samples, str) and samples.startswith("{"):  # graph options as JSON
        content["identity"]["samples"] = _current_samples(samples, path)
    return content


def _current_samples(samples: str, path: Path) -> str:
    try:
        options = json.loads(samples)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: what its samples were made with cannot be read ({one_line(error, 200)})") from error
    return json.dumps(current_settings(options, path), sort_keys=True)


def load_torch(source: Path | IO[bytes], path: Path, device: str = "cpu") -> Any:
    """Read a file of torch's (`path` names it in messages): tensors and plain values, never code.

    Raises:
        UserError: missing or damaged (`require_undamaged`), or it would need to run code to be read.
    """
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
            require_undamaged(stream, path)
            with warnings.catch_warnings():  # of a foreign pickle protocol, which is read or refused right after
                warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
                return torch.load(stream, map_location=device, weights_only=True)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; train first, or name another checkpoint") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors and plain values ({_reason(error)})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise UserError(f"{path} cannot be read: {reason}; the file is cut or damaged") from error


def _reason(error: pickle.UnpicklingError) -> str:
    """The line of torch's long message that names what was found."""
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation")
    found = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(advice)]
    return found[0][:200] if found else "not a torch file"


def remove_stale(folder: Path, stem: str) -> None:
    """Delete the temporary files that a killed run of `stem` left behind."""
    for left_over in folder.glob(f".{stem}*.tmp"):
        left_over.unlink(missing_ok=True)


def frozen_identity(model: nn.Module, names: Collection[str]) -> dict[str, Any]:
    """Names of frozen weights and the sha256 over their bytes, which a checkpoint holds instead of them."""
    weights = model.state_dict()
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\t{weights[name].dtype}\t{tuple(weights[name].shape)}\n".encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {"names": sorted(names), "sha256": digest.hexdigest() if names else ""}


def load_weights(model: nn.Module, content: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into `model`, which must already hold the frozen ones.

    Raises:
        UserError: a weight is missing, unknown or of another shape, or the frozen weights are not those of the run.
    """
    frozen = content.get("frozen", {"names": [], "sha256": ""})
    ours = model.state_dict()
    try:
        differs = frozen_identity(model, frozen["names"])["sha256"] != frozen["sha256"]
        if not differs:
            kept: dict[str, Tensor] = {name: ours[name] for name in frozen["names"]}
            _require_kinds(content["model_state_dict"], ours)
            model.load_state_dict({**content["model_state_dict"], **kept}, strict=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} does not fit this model: {one_line(error)}") from error
    if differs:
        origin = content.get("init", "unknown weights")
        raise UserError(
            f"{path} was trained on other frozen weights ({origin}, sha256 {frozen['sha256'][:12]}) than --init "
            "brings now; give it the same weights"
        )


def _require_kinds(found: dict[str, Any], ours: dict[str, Any]) -> None:
    """torch copies integers into a weight, and complex numbers too, without a word.

    Raises:
        ValueError: a tensor is of another kind than the model's.
    """
    for name, value in found.items():
        mine = ours.get(name)
        if isinstance(value, Tensor) and isinstance(mine, Tensor) and kind_of(value) != kind_of(mine):
            raise ValueError(f"{name} holds {value.dtype}, not {mine.dtype}")


HISTORY_COLUMNS = ("epoch", "train_loss", "val_loss", "val_mae_K", "lr")


@dataclass
class Progress:
    """Training progress (epoch, step, best validation error, history), stored in every checkpoint."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Optimiser steps of the current epoch."""
    total_steps: int = 0
    """Optimiser steps since the training began."""
    loss_sum: float = 0.0
    """Sum over this epoch's steps of their loss."""
    unaugmented: int = 0
    """Samples of this epoch shown as they are, because their augmented copy is no crystal or has no graph."""
    val_loss: float = math.inf
    val_mae: float = math.inf
    """Kelvin."""
    best_val_loss: float = math.inf
    best_val_mae: float = math.inf
    """Kelvin."""
    patience_counter: int = 0
    """Epochs since the validation MAE was best."""
    train_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def take_step(self, loss: float, seconds: float, unaugmented: int = 0) -> None:
        """Record an optimiser step."""
        self.loss_sum += loss
        self.unaugmented += unaugmented
        self.train_seconds += seconds
        self.step, self.total_steps = self.step + 1, self.total_steps + 1

    def end_epoch(self, val_loss: float, val_mae_K: float, learning_rate: float, augmented: bool = False) -> bool:
        """Record an epoch; returns whether its validation MAE is the best so far.

        Args:
            augmented: crystals are augmented, so the history states how many were not.
        """
        improved = val_mae_K < self.best_val_mae
        self.val_loss, self.val_mae = val_loss, val_mae_K
        self.best_val_loss = min(val_loss, self.best_val_loss)
        self.best_val_mae = min(val_mae_K, self.best_val_mae)
        self.patience_counter = 0 if improved else self.patience_counter + 1
        row = (self.epoch + 1, self.loss_sum / self.step, val_loss, val_mae_K, learning_rate)
        counted = {"unaugmented": self.unaugmented} if augmented else {}
        self.history.append(dict(zip(HISTORY_COLUMNS, row, strict=True)) | counted)
        self.epoch, self.step, self.loss_sum, self.unaugmented = self.epoch + 1, 0, 0.0, 0
        return improved


def progress_mismatch(state: dict[str, Any]) -> str:
    """Where a stored progress cannot be that of a training, as a phrase; empty if nowhere."""
    if said := mismatch({**state, "history": []}, asdict(Progress()), "it"):
        return said
    history = state.get("history")
    if not isinstance(history, list) or not all(_is_row(row) for row in history):
        return "history is no list of epochs with numbers"
    if min(state[name] for name in ("epoch", "step", "total_steps", "unaugmented", "patience_counter")) < 0:
        return "epoch, step, total_steps, unaugmented or patience_counter is negative"
    return "" if len(history) == state["epoch"] else f"history has {len(history)} epochs, not {state['epoch']}"


def _is_row(row: Any) -> bool:
    return not mismatch(row, dict.fromkeys(HISTORY_COLUMNS, 0.0), "row") and all(map(is_number, row.values()))


def seed_everything(seed: int) -> None:
    """Seed every generator that a training may draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a library may draw from it
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """State of every generator that a training may draw from, as values that load without code."""
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
    """Restore every generator to what `random_state` returned.

    Raises:
        UserError: it is no state of these generators.
    """
    if said := mismatch(state, {**random_state(), "cuda": [], "mps": []}, "rng_state"):
        raise UserError(said)
    try:
        _restore_random_state(state)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"rng_state is no state of its generators ({one_line(error, 200)})") from error


def _restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"][0])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


def checkpoint_of(path: Path, data_dir: Path, splits: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Content of the checkpoint of a network that was trained on these splits.

    Raises:
        UserError: it was trained on other materials, so that some of its own might be tested.
    """
    content = load_checkpoint(path)
    if missing := [key for key in ("config", "identity", "init", "train_seconds") if key not in content]:
        raise UserError(f"{path} is no checkpoint of a training: it lacks {', '.join(missing)}")
    if content["identity"].get("splits_sha256") != splits_sha256(splits):
        raise UserError(
            f"{path} was trained on other splits than those of {data_dir}; name its own with --data-dir (and --limit)"
        )
    return content
