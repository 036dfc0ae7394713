"""Vision transformers from timm, and where their weights come from.

The DINOv3 names are `vit_{small,small_plus,base,large}_patch16_dinov3`; their weights are on the Hugging Face hub
(timm's mirror, not gated, under Meta's DINOv3 licence). Any other ViT of timm works by name.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import httpx2
import huggingface_hub
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common.checkpoints import load_torch
from tc_common.errors import UserError, one_line
from tc_common.files import sha256
from tc_common.model_files import read_card, read_tensors
from tc_common.state_checks import mismatch

WEIGHTS_FILE = "model.safetensors"
# What `--init crystals` brings (python -m dinov3_pipeline.pretrain).
CRYSTALS = Path(__file__).resolve().parents[1] / "models" / "pretrained" / "dino_crystals.safetensors"
PRETRAINED_HERE = "self-distillation on rendered crystals"
SMALLEST_SPREAD = 0.05
"""Least `feature_spread` of a network that tells crystals apart; below it the pre-training has collapsed."""
HUB_TIMEOUT_S = 4.0
LAYER_SCALES = ("gamma_1", "gamma_2", ".gamma")
Pool: TypeAlias = Literal["token", "avg"]


# The largest ViT of timm has 56 blocks of width 5,120: an edited checkpoint cannot ask for more than memory holds.
LARGEST_SHAPE, DEEPEST = 5_120, 64


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Network of another shape than the published one (only with --init random; default: as published)."""

    patch_size: int | None = None
    """Side of a patch in pixels (>= 1)."""
    width: int | None = None
    """Width of a token, a multiple of 4 x --heads; goes with --heads."""
    depth: int | None = None
    """Blocks (1 to 64)."""
    heads: int | None = None
    """Attention heads in a block (>= 1); goes with --width."""
    pool: Pool | None = None
    """What the head reads: the class token, or the mean of the patches (in DINOv3 the mean)."""
    fourier_features: int | None = None
    """Random Fourier features of a pixel's colour, added to its three channels (>= 1; default: none)."""

    def __post_init__(self) -> None:
        if self.pool is not None and self.pool not in get_args(Pool):
            raise ValueError(f"--pool {self.pool!r:.40} is none of {', '.join(get_args(Pool))}")
        for name, value in vars(self).items():
            if name != "pool" and value is not None and not 1 <= value <= LARGEST_SHAPE:
                raise ValueError(f"--{name.replace('_', '-')} must be from 1 to {LARGEST_SHAPE}, got {value}")
        if (self.depth or 0) > DEEPEST:
            raise ValueError(f"--depth must be at most {DEEPEST}, got {self.depth}")
        if (self.width is None) != (self.heads is None):
            raise ValueError("--width and --heads go together")
        if self.width and self.heads and self.width % (4 * self.heads):
            raise ValueError(f"--width {self.width}: a multiple of 4 x --heads, {4 * self.heads}")

    def timm_options(self) -> dict[str, Any]:
        """The same under timm's names."""
        names = {"width": "embed_dim", "heads": "num_heads", "pool": "global_pool"}
        channels = self.fourier_features and 3 + self.fourier_features
        given = {**asdict(self), "fourier_features": None, "in_chans": channels}
        return {names.get(name, name): value for name, value in given.items() if value is not None}

    @classmethod
    def from_plain(cls, settings: Mapping[str, Any]) -> "Shape":
        """The shape in a trainer's settings; those of before it could be chosen have the published one."""
        return cls(**{name: settings.get(name) for name in cls.__dataclass_fields__})


AS_PUBLISHED = Shape()
SHAPE_FLAGS = ", ".join(f"--{field.name.replace('_', '-')}" for field in fields(Shape))


def create_backbone(name: str, image_size: int, init: str, shape: Shape = AS_PUBLISHED) -> tuple[nn.Module, str]:
    """Build a ViT without classifier, and say where its weights came from.

    Args:
        name: architecture in timm, with or without a tag (`vit_base_patch16_dinov3.lvd1689m`).
        image_size: side of the square images in pixels, a multiple of the patch.
        init: `pretrained`, `crystals` (made here), `random`, or a file (safetensors or .pth of the timm layout).
        shape: a smaller network of the same kind; weights from the hub fit the published shape alone.

    Returns:
        The network, images (B, 3, S, S) -> features (B, D), and `pretrained:<name>@<sha256>`,
        `file:<name>@<sha256>` (first 12 digits of the file's digest) or `random`.

    Raises:
        UserError: unknown name, wrong size, weights that cannot be had or do not fit.
    """
    if init == "random":
        return _without_layer_scale(build(name, image_size, shape)), "random"
    if (path := crystals_file(init)) is not None:
        origin = f"pretrained:{path.stem}" if init == "crystals" else f"file:{path.name}"
        return _load_crystals(name, image_size, path, shape), f"{origin}@{sha256(path)[:12]}"
    if shape != AS_PUBLISHED:
        raise UserError(f"--init {init} brings weights of the published shape; {SHAPE_FLAGS} need --init random")
    if init == "pretrained":
        path = download(name)
        return load(name, image_size, path), f"pretrained:{_tagged(name)}@{sha256(path)[:12]}"
    path = Path(init)
    if not path.is_file():
        raise UserError(f"--init {init} is none of pretrained, crystals and random, and no file; name one of the four")
    return load(name, image_size, path), f"file:{path.name}@{sha256(path)[:12]}"


def crystals_file(init: str) -> Path | None:
    """The weights of `python -m dinov3_pipeline.pretrain` that `init` names, if it names such."""
    path = CRYSTALS if init == "crystals" else Path(init)
    has_card = path.suffix == ".safetensors" and path.with_suffix(".json").is_file()
    made_here = has_card and read_card(path).get("kind") == PRETRAINED_HERE
    return path if made_here or init == "crystals" else None


def shape_from(init: str, shape: Shape) -> Shape:
    """`shape`, or that of the weights pre-trained on crystals which `init` names; only `pool` may differ from theirs.

    Raises:
        UserError: no such weights, or they have another shape.
    """
    path = crystals_file(init)
    if path is None:
        return shape
    learnt = Shape.from_plain(crystals_card(path)["network"])
    for name, value in vars(shape).items():
        if name != "pool" and value not in (None, getattr(learnt, name)):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"--init {init} has {flag} {getattr(learnt, name)}, not {value}; leave {flag} out")
    return replace(learnt, pool=shape.pool or learnt.pool)


def crystals_card(path: Path) -> dict[str, Any]:
    """The card of weights pre-trained on crystals, checked against the file.

    Raises:
        UserError: one of the two is missing, they do not belong together, or the run had collapsed.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; make it with: python -m dinov3_pipeline.pretrain, or use --init random")
    card = read_card(path)
    if card.get("sha256") != sha256(path):
        raise UserError(f"{path} is not the file that its card describes; fetch both again")
    if said := mismatch(card, {"network": {"backbone": "", "image_size": 0}, "feature_spread": 0.0}, "it"):
        raise UserError(f"{path.with_suffix('.json')} is no card of pre-trained weights: {said}")
    if not card["feature_spread"] >= SMALLEST_SPREAD:
        raise UserError(
            f"{path} is of a collapsed run, which describes all crystals alike (feature spread "
            f"{card['feature_spread']:.3f}, at least {SMALLEST_SPREAD} is needed); pre-train again"
        )
    return card


DRAWN = ("bonds", "radius_scale", "depth_cue")


def drawn_otherwise(init: str, options: Mapping[str, Any]) -> str:
    """How images of these render options differ from those that weights pre-trained on crystals learnt from."""
    path = crystals_file(init)
    learnt = {} if path is None else crystals_card(path).get("render_options", {})
    differing = [name for name in DRAWN if name in learnt and learnt[name] != options[name]]
    return ", ".join(f"{name} {options[name]} instead of {learnt[name]}" for name in differing)


def _load_crystals(name: str, image_size: int, path: Path, shape: Shape) -> nn.Module:
    network = crystals_card(path)["network"]
    if (network["backbone"], network["image_size"]) != (name, image_size):
        raise UserError(
            f"{path.name} holds {network['backbone']} for images of {network['image_size']} pixels, not {name} for "
            f"{image_size}; give --backbone {network['backbone']} --image-size {network['image_size']}"
        )
    backbone = build(name, image_size, shape_from(str(path), shape))
    try:
        backbone.load_state_dict(read_tensors(path), strict=True)
    except RuntimeError as error:
        raise UserError(f"{path} and its card do not fit: {one_line(error, 300)}") from error
    return backbone


def build(name: str, image_size: int, shape: Shape = AS_PUBLISHED, **options: Any) -> nn.Module:
    """Build the architecture; its weights come from torch's generator unless `options` bring some."""
    timm = _timm()
    if not timm.is_model(name.partition(".")[0]):
        raise UserError(f"--backbone {name} is unknown to timm; for example {_examples()}")
    _pretrained_cfg(name)
    try:
        backbone = timm.create_model(
            name, img_size=image_size, **{"num_classes": 0, **shape.timm_options(), **options}
        )
    except TypeError as error:  # convolutional networks take no img_size
        raise UserError(f"--backbone {name} is no vision transformer; for example {_examples()}") from error
    if not hasattr(backbone, "blocks"):
        raise UserError(f"--backbone {name} is no plain vision transformer; for example {_examples()}")
    patch = backbone.patch_embed.patch_size[0]
    if image_size % patch:
        raise UserError(f"--image-size {image_size} is no multiple of the patch of {name}, {patch} pixels")
    if shape.fourier_features:
        backbone.patch_embed.proj = nn.Sequential(FourierFeatures(shape.fourier_features), backbone.patch_embed.proj)
    return cast(nn.Module, backbone)


def load(name: str, image_size: int, path: Path) -> nn.Module:
    """Build the architecture with the weights of a file; every key and every shape must fit.

    Position embeddings learnt for another image size are resampled, as timm does; a classifier is dropped.
    """
    weights = read_weights(path)
    classes = len(weights["head.weight"]) if "head.weight" in weights else 0
    source = {"state_dict": weights, "num_classes": classes}
    try:
        backbone: Any = build(name, image_size, pretrained=True, num_classes=classes, pretrained_cfg_overlay=source)
    except (RuntimeError, KeyError) as error:
        raise UserError(f"{path} does not fit --backbone {name}: {one_line(error)}") from error
    backbone.reset_classifier(0)
    return cast(nn.Module, backbone)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from safetensors, or from a .pth without running anything in it.

    Raises:
        UserError: unreadable file, or one that holds anything but tensors.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)
    weights = load_torch(path, path)
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} is no file of weights by name; save the state_dict() of the timm model alone")
    return weights


def download(name: str) -> Path:
    """Fetch the pretrained weights into the Hugging Face cache (with a progress bar), or find them there.

    Raises:
        UserError: timm knows no pretrained weights of that name, or the hub cannot be reached or refuses.
    """
    repo = _pretrained_cfg(name).hf_hub_id
    if not repo:
        raise UserError(f"timm knows no pretrained weights for --backbone {name}; use --init random or --init PATH")
    cached = huggingface_hub.try_to_load_from_cache(repo, WEIGHTS_FILE)
    if isinstance(cached, str):
        return Path(cached)  # the same weights as last time, and no wait for the network
    try:
        # hf_hub_download would retry an unreachable hub for 40 s; this asks once
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, WEIGHTS_FILE), timeout=HUB_TIMEOUT_S)
        return Path(huggingface_hub.hf_hub_download(repo, WEIGHTS_FILE))
    except (OSError, ValueError, httpx2.HTTPError) as error:  # no network, no such file, no permission
        raise UserError(
            f"the weights {repo} are not in the cache {constants.HF_HUB_CACHE} and cannot be downloaded "
            f"({type(error).__name__}); connect and check that HF_HUB_OFFLINE is not set, copy a filled cache there, "
            "give --init PATH with the weights, or start from --init random"
        ) from error


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and SD of the RGB channels (0 to 1) that the weights of this name were trained with."""
    source = _pretrained_cfg(name)
    return (source.mean, source.std)


def _pretrained_cfg(name: str) -> Any:
    """What timm knows about the weights of that name (its default tag, unless one is given)."""
    try:
        return _timm().models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise UserError(f"--backbone {name}: {error} For example {_examples()}") from error


def _examples() -> str:
    return ", ".join(_timm().list_models("vit_*_patch16_dinov3"))


def _tagged(name: str) -> str:
    source = _pretrained_cfg(name)
    return f"{source.architecture}.{source.tag}"


def _timm() -> Any:
    """The library, imported once its own import of torchvision can succeed."""
    declare_missing_operators()
    import timm

    return timm


def _without_layer_scale(backbone: nn.Module) -> nn.Module:
    """Set LayerScale to 1: at its 1e-5, meant for long pretraining, a short run would hardly use the blocks."""
    for name, parameter in backbone.named_parameters():
        if name.endswith(LAYER_SCALES):
            nn.init.ones_(parameter)
    return backbone


# SD of a feature's radians per unit of a normalised channel (255 levels are 4 units): colours 6 levels apart
# decorrelate.
FREQUENCY_SD = 10.0


class FourierFeatures(nn.Module):
    """Random Fourier features of a pixel's colour (Tancik et al. 2020, arXiv:2006.10739), for training from scratch.

    Pixels (B, 3, S, S) to (B, 3 + W, S, S): the pixel, then W cosines of random directions in colour, less their value
    for black, which stays 0 in every channel. Directions and phases are buffers, so a checkpoint has them.
    """

    directions: Tensor
    phases: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("directions", FREQUENCY_SD * torch.randn(count, 3, 1, 1))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(count))

    def forward(self, pixels: Tensor) -> Tensor:
        """In fp32 whatever the autocast: an angle of 60 radians in bf16 would be off by an eighth."""
        with torch.autocast(pixels.device.type, enabled=False):
            angles = nn.functional.conv2d(pixels.float(), self.directions, self.phases)
            return torch.cat([pixels.float(), angles.cos() - self.phases.cos().view(-1, 1, 1)], 1)
