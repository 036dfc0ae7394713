"""Where a network's first weights come from, and what they fit."""

import io
import json
import pickle
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gat_pipeline.graphs import GraphOptions
from gat_pipeline.network import NetworkShape, shape_of
from gat_pipeline.published import PUBLISHED, fetch
from tc_common.checkpoints import load_plain
from tc_common.errors import UserError
from tc_common.files import sha256

SHIPPED = Path(__file__).parent.parent / "models" / "pretrained" / "alignn_jarvis_supercon.safetensors"
LARGEST_MEMBER_BYTES = 500_000_000
# In published files, but no part of the network below the head.
NOT_BACKBONE = ("fc.", "fc_atomwise.", "fc_additional_output.", "_species_table")


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a trained ALIGNN, by alignn's names."""

    origin: str
    """`pretrained:<name>@<sha256>` or `file:<name>@<sha256>`, the digest cut to 12 digits."""
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    """Of a whole model: `0.weight`, …; of a published one: `weight`, `bias`; empty where there is none."""
    options: GraphOptions | None
    """Graphs it was trained on, where known."""
    target: dict[str, Any]
    """Kind, mean and SD of the target transform (`kelvin` where nothing else is said)."""
    statistics: dict[str, Tensor] = field(default_factory=dict)
    """Of the composition's part of the head; empty where there is none."""
    neighbours: dict[str, Tensor] = field(default_factory=dict)
    """Of `gat_pipeline.retrieval`; empty where there are none."""
    training: dict[str, Any] | None = None
    """Tc and elements of what it learned from (`gat_pipeline.zero_shot.distribution`), where a card says it."""

    @property
    def shape(self) -> NetworkShape:
        """Sizes of the network."""
        return shape_of(self.backbone)


def find_weights(init: str, download_dir: Path) -> Weights | None:
    """Weights that `--init` names: `pretrained`, a published name, a file; None for `random`.

    Raises:
        UserError: no such file or name, a download that fails, or a file that is no ALIGNN.
    """
    if init == "random":
        return None
    if init == "pretrained":
        return read_weights(SHIPPED, f"pretrained:{SHIPPED.stem}")
    if init in PUBLISHED:
        weights = read_weights(fetch(init, download_dir), f"pretrained:{init}")
        return replace(weights, options=PUBLISHED[init].options)
    path = Path(init)
    if not path.is_file():
        known = ", ".join(("pretrained", "random", *PUBLISHED))
        raise UserError(f"--init {init}: no such file, and none of {known}")
    return read_weights(path, f"file:{path.name}")


def read_weights(path: Path, origin: str) -> Weights:
    """Read a `.safetensors` with its card, a checkpoint of ours, or a checkpoint (or its zip) of alignn's."""
    if not path.is_file():
        raise UserError(f"{path} is missing; make it with python -m gat_pipeline.pretrain, or use another --init")
    named = f"{origin}@{sha256(path)[:12]}"
    if path.suffix == ".safetensors":
        return _from_safetensors(path, named)
    content = _load(_checkpoint_in_zip(path) if path.suffix == ".zip" else path, path)
    if "model_state_dict" in content:
        return _from_checkpoint(content, named)
    return _from_alignn(content.get("model", content), named)


def _from_safetensors(path: Path, origin: str) -> Weights:
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        options, target, training = GraphOptions(**card["graph"]), dict(card["target"]), card["training"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} or its card (.json beside it) cannot be read: {error}") from error
    return Weights(origin, **_parts(tensors), options=options, target=target, training=training)


def _from_checkpoint(content: dict[str, Any], origin: str) -> Weights:
    tensors, config = content["model_state_dict"], content.get("config", {})
    target = {"kind": config.get("target", "kelvin"), **part(tensors, "target.")}
    options = GraphOptions(**config["graph"]) if "graph" in config else None
    return Weights(origin, **_parts(tensors), options=options, target=target)


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {name: part(tensors, f"{name}.") for name in ("backbone", "head", "statistics", "neighbours")}


def _from_alignn(tensors: dict[str, Tensor], origin: str) -> Weights:
    backbone = {name: value for name, value in tensors.items() if not name.startswith(NOT_BACKBONE)}
    return Weights(origin, backbone, part(tensors, "fc."), None, {"kind": "kelvin"})


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load(source: Path | io.BytesIO, path: Path) -> dict[str, Any]:
    try:
        content = load_plain(source)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read as weights: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no weights but a {type(content).__name__}")
    return content


def _checkpoint_in_zip(path: Path) -> io.BytesIO:
    """The best or last checkpoint in a published zip, in memory; nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith((".pt", ".pth"))]
            members = [info for info in members if info.file_size <= LARGEST_MEMBER_BYTES]
            if not members:
                raise UserError(f"{path} holds no checkpoint (*.pt)")
            best = [info for info in members if "best_model" in info.filename]
            return io.BytesIO(archive.read((best or sorted(members, key=_epoch))[-1]))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise UserError(f"{path} is no readable zip ({error}); delete it and fetch it again") from error


def _epoch(info: zipfile.ZipInfo) -> int:
    digits = "".join(character for character in Path(info.filename).stem if character.isdigit())
    return int(digits or 0)


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Load all of the tensors into a module that wants exactly these.

    Raises:
        UserError: a tensor is missing, unexpected or of another size.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise UserError(f"{origin} does not fit this network: {' '.join(str(error).split())[:300]}") from error


def widen_atom_features(backbone: dict[str, Tensor], atom_features: int) -> dict[str, Tensor]:
    """Weights for more atom features than they were trained with; the new ones start without effect."""
    name = "atom_embedding.layer.0.weight"
    missing = atom_features - backbone[name].shape[1]
    return {**backbone, name: nn.functional.pad(backbone[name], (0, missing))} if missing > 0 else backbone
