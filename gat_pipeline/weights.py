"""Load initial weights (shipped, published or a file) and check that they fit the architecture."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from gat_pipeline.graphs import GraphOptions
from gat_pipeline.network import NetworkShape, shape_of
from gat_pipeline.published import PUBLISHED, fetch
from tc_common.checkpoints import load_torch
from tc_common.composition_branch import KINDS, HeadFeatures
from tc_common.errors import UserError, one_line
from tc_common.files import sha256
from tc_common.model_files import read_card, read_tensors

SHIPPED = Path(__file__).parent.parent / "models" / "pretrained" / "alignn_jarvis_supercon.safetensors"
LARGEST_CHECKPOINT_BYTES = 500_000_000
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
    """Kind, mean and SD of the target transform (`kelvin` where nothing is stated)."""
    composition_branch: dict[str, Tensor] = field(default_factory=dict)
    """Empty where there is none."""
    head_features: HeadFeatures = "none"
    """What that branch reads."""
    reads_prior: bool = False
    """Whether the head reads and corrects the pair's prediction."""
    retrieval: dict[str, Tensor] = field(default_factory=dict)
    """Empty where there is none."""
    training: dict[str, Any] | None = None
    """Tc and elements of the training set (`gat_pipeline.zero_shot.distribution`), where a card states them."""

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
    """Read a `.safetensors` with its card, a checkpoint of ours, or a checkpoint (or its zip) of alignn's.

    Raises:
        UserError: a missing, damaged or foreign file, or a removed setting that this version cannot honour.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; train first, run python -m gat_pipeline.pretrain, or name another file")
    named = f"{origin}@{sha256(path)[:12]}"
    if path.suffix == ".safetensors":
        return _from_safetensors(path, named)
    content = load_torch(_checkpoint_in_zip(path) if path.suffix == ".zip" else path, path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no weights but a {type(content).__name__}")
    if "model_state_dict" in content:
        return _from_checkpoint(content, path, named)
    return _from_alignn(_tensors(content.get("model", content), path), named)


def _tensors(stored: Any, path: Path) -> dict[str, Tensor]:
    """Tensors by name, which they must be: a file may be edited."""
    if not isinstance(stored, dict) or not stored:
        raise UserError(f"{path} holds no weights but a {type(stored).__name__}")
    for name, value in stored.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_complex():
            raise UserError(f"{path} holds no weights but, under {name!r:.80}, a {type(value).__name__}")
    return stored


def _from_safetensors(path: Path, origin: str) -> Weights:
    tensors, card = read_tensors(path), read_card(path)
    if card.get("sha256") not in (None, sha256(path)):
        raise UserError(f"{path} is not the file that its card describes; fetch both again")
    if missing := [name for name in ("graph", "target", "training") if not isinstance(card.get(name), dict)]:
        raise UserError(f"{path.with_suffix('.json')} is no card of {path.name}: it lacks {', '.join(missing)}")
    options, parts = GraphOptions.from_plain(card["graph"], str(path)), _parts(tensors, path)
    reads = _head_features(card, parts, origin)
    return Weights(
        origin, **parts, head_features=reads, options=options, target=card["target"], training=card["training"],
        reads_prior=card.get("reads_prior") is True,
    )  # fmt: skip


def _from_checkpoint(content: dict[str, Any], path: Path, origin: str) -> Weights:
    config, tensors = content.get("config"), _tensors(content["model_state_dict"], path)
    if not isinstance(config, dict) or not {"graph", "target"} <= set(config):
        raise UserError(f"{path} is no checkpoint of the graph pipeline: it lacks its graph or target settings")
    target = part(tensors, "target.")
    if set(target) != {"mean", "std"}:
        raise UserError(f"{path} is no checkpoint of the graph pipeline: it lacks target.mean or target.std")
    rest = {name: value for name, value in tensors.items() if not name.startswith("target.")}
    options, parts = GraphOptions.from_plain(config["graph"], str(path)), _parts(rest, path)
    reads = _head_features(config, parts, origin)
    return Weights(
        origin, **parts, head_features=reads, options=options, target={"kind": config["target"], **target},
        reads_prior=config.get("prior") is not None,
    )  # fmt: skip


def _head_features(stated: dict[str, Any], parts: dict[str, dict[str, Tensor]], origin: str) -> HeadFeatures:
    """What the composition branch reads; where nothing states it, the only kind that there was then.

    Raises:
        UserError: there is a branch of an unknown kind.
    """
    if not parts["composition_branch"]:
        return "none"
    found = stated.get("head_features", "composition")
    if not isinstance(found, str) or found not in KINDS:
        raise UserError(f"{origin}: head features {found!r} are none of {', '.join(KINDS)}")
    return cast(HeadFeatures, found)


PARTS = ("backbone", "head", "composition_branch", "retrieval")
# Beginnings of tensor names that were written by earlier versions.
RENAMED = {
    "statistics.": "composition_branch.",
    "neighbours.reach": "retrieval.bandwidth",
    "neighbours.share": "retrieval.mixing_weight",
    "neighbours.": "retrieval.",
}


def current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors by today's names, whichever version wrote them."""
    return {_current_name(name): value for name, value in tensors.items()}


def _current_name(name: str) -> str:
    old = next((old for old in RENAMED if name.startswith(old)), "")
    return RENAMED.get(old, "") + name.removeprefix(old)


def _parts(tensors: dict[str, Tensor], path: Path) -> dict[str, dict[str, Tensor]]:
    tensors = current_names(tensors)
    if foreign := [name for name in tensors if name.partition(".")[0] not in PARTS]:
        raise UserError(f"{path} is no model of the graph pipeline: it holds {', '.join(foreign[:3])}")
    return {name: part(tensors, f"{name}.") for name in PARTS}


def _from_alignn(tensors: dict[str, Tensor], origin: str) -> Weights:
    backbone = {name: value for name, value in tensors.items() if not name.startswith(NOT_BACKBONE)}
    return Weights(origin, backbone, part(tensors, "fc."), None, {"kind": "kelvin"})


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _checkpoint_in_zip(path: Path) -> io.BytesIO:
    """The best or last checkpoint in a published zip, in memory; nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            checkpoints = [info for info in archive.infolist() if info.filename.endswith((".pt", ".pth"))]
            checkpoints = [info for info in checkpoints if info.file_size <= LARGEST_CHECKPOINT_BYTES]
            if not checkpoints:
                raise UserError(f"{path} holds no checkpoint (*.pt)")
            best = [info for info in checkpoints if "best_model" in info.filename]
            return io.BytesIO(archive.read((best or sorted(checkpoints, key=_epoch))[-1]))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise UserError(f"{path} is no readable zip ({error}); delete it and fetch it again") from error


def _epoch(info: zipfile.ZipInfo) -> int:
    digits = "".join(character for character in Path(info.filename).stem if character.isdigit())
    return int(digits or 0)


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Load tensors into a module whose state they are exactly.

    Raises:
        UserError: a tensor is missing, unexpected or of another size.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise UserError(f"{origin} does not fit this network: {one_line(error)}") from error
