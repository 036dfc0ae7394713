"""The network: images of a crystal to its Tc by a DINOv3 vision transformer, low-rank adapters and a small head.

Legend: B images in a batch, V views of one material, S side of an image in pixels, D width of the backbone, K colours
of a palette, F composition features, W width of the head's input: D and the branches' outputs.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor, nn

from dinov3_pipeline.backbones import AS_PUBLISHED, Shape, create_backbone, crystals_file, normalisation
from dinov3_pipeline.images import ImageArray, resized
from dinov3_pipeline.lit_patches import features_of_lit, lit_patches, require_plain_vit
from dinov3_pipeline.lora import Lora, add_adapters, check_adapters_act
from dinov3_pipeline.palette import PALETTE, PaletteBranch, palette_of
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from tc_common.chemistry import composition_features
from tc_common.composition import fractions_formula
from tc_common.composition_branch import CompositionBranch, HeadFeatures, create_branch
from tc_common.crystals import read_crystal
from tc_common.devices import Placement
from tc_common.retrieval import KNNRegressor
from tc_common.state_checks import mistyped
from tc_common.targets import TargetTransform

Tune: TypeAlias = Literal["lora", "head", "full"]
HEAD_WIDTHS = (512, 256)
RENDER_OPTION_TYPES = {
    "image_size": 0, "seed": 0, "bonds": "", "views": "", "random_views": 0, "supercells": [], "depth_cue": False,
    "radius_scale": 0.0,
}  # fmt: skip
Normalisation: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
DEFAULT_BACKBONE = "vit_base_patch16_dinov3"
# From scratch black is 0, so that "no atom" carries no signal. With ImageNet's statistics 90 % of the pixels would
# have the same large negative value, and training would not get past the median within hundreds of steps.
RANDOM_NORMALISATION = ((0.0,) * 3, (0.25,) * 3)


class DinoTcModel(nn.Module):
    """ViT and head, from uint8 images to kelvin.

    Args:
        backbone: images (B, 3, S, S) to features (B, D).
        normalise: mean and SD of the RGB channels (0 to 1), as in pretraining if there was one.
        image_size: S.
        palette_branch: reads the crystal's palette (`dinov3_pipeline.palette`), beside the backbone.
        composition_branch: reads features of the crystal's composition.

    `init` says where the backbone's weights came from, `lit_only` whether it skips empty patches.
    `render_options`, with which the training images were rendered, are part of its state.
    """

    mean: Tensor
    std: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        target: TargetTransform,
        normalise: Normalisation,
        image_size: int,
        tune: Tune,
        palette_branch: PaletteBranch | None = None,
        composition_branch: CompositionBranch | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.target = backbone, head, target
        self.palette_branch, self.composition_branch = palette_branch, composition_branch
        self.retrieval: KNNRegressor | None = None
        self.image_size, self.tune, self.init = image_size, tune, "random"
        self.render_options = RenderOptions()
        self.bf16 = self.rounded = self.lit_only = False
        for name, values in zip(("mean", "std"), normalise, strict=True):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1))
        width: int = backbone.num_features  # type: ignore[assignment]
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_std", torch.ones(width))

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Kelvin (B,) of `batch["images"]` uint8 (B, 3, S, S), or of their `batch["features"]` (B, D).

        With a palette branch, images without `batch["palette"]` (B or 1, K, 4) are the views of one crystal. With a
        composition branch the batch needs what `composition_inputs` returns, for every image or once for all.
        """
        return self.forward_head(self.head_inputs(batch))

    def head_inputs(self, batch: Mapping[str, Any]) -> Tensor:
        """The head's input (B, W): standardised features of the backbone, then the branches' outputs."""
        features = batch["features"] if "features" in batch else self.features(batch["images"])
        with torch.autocast(features.device.type, enabled=False):
            parts = [(features.float() - self.feature_mean) / self.feature_std]
            if self.palette_branch is not None:
                palettes = batch if PALETTE in batch else self.palette_input(batch["images"])
                parts.append(self.palette_branch(palettes[PALETTE]).expand(len(features), -1))
            if self.composition_branch is not None:
                parts.append(self.composition_branch(dict(batch)).expand(len(features), -1))
            return torch.cat(parts, dim=1)

    def forward_head(self, inputs: Tensor) -> Tensor:
        """The head's input (B, W) to kelvin (B,), in fp32: rounded to the 8 bits of bf16 it would be off by 0.4 %.

        Interpolated with that of retrieved materials if there are any.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            kelvin = self.target.decode(self.head(inputs).squeeze(1))
            return kelvin if self.retrieval is None else self.retrieval(inputs, kelvin)

    @property
    def reads(self) -> list[str]:
        """What the head reads beside the backbone's features, by its name in a batch."""
        composition = [] if self.composition_branch is None else [self.composition_branch.kind]
        return [PALETTE] * (self.palette_branch is not None) + [*composition]

    @property
    def head_width(self) -> int:
        """W, the width of the head's input."""
        return next(layer.in_features for layer in self.head.modules() if isinstance(layer, nn.Linear))

    def palette_input(self, images: Tensor) -> dict[str, Tensor]:
        """The palette (1, K, 4) of one crystal's views, uint8 (V, 3, S, S), by its name; empty without that branch."""
        return {} if self.palette_branch is None else {PALETTE: palette_of(images)}

    def crystal_inputs(self, crystal: Structure) -> dict[str, Tensor]:
        """A batch of one crystal's standard views (V, 3, S, S) and of whatever else the network reads of it."""
        images = as_images(views(crystal, options=self.render_options), self.image_size).to(self.mean.device)
        composition = self.composition_inputs([fractions_formula(crystal)])
        return {"images": images, **self.palette_input(images), **composition}

    def composition_inputs(self, formulas: Sequence[str]) -> dict[str, Tensor]:
        """What a batch of n crystals needs beside its images: (n, F) by its name; nothing without that branch."""
        if self.composition_branch is None:
            return {}
        kind = self.composition_branch.kind
        return {kind: torch.from_numpy(composition_features(formulas, kind)).float().to(self.mean.device)}

    def features(self, images: Tensor) -> Tensor:
        """Feature extraction, uint8 (B, 3, S, S) to (B, D); without gradients where only the head is trained.

        Outside training equal images are computed once: views that symmetry makes equal (a cubic crystal's axes).
        """
        assert images.dtype == torch.uint8 and images.ndim == 4, f"images are {images.dtype} {tuple(images.shape)}"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "head"):
            if self.training:
                return self.forward_backbone(images)
            distinct, which = distinct_images(images)
            return self.forward_backbone(images[distinct])[which]

    def forward_backbone(self, pixels: Tensor, lit: Tensor | None = None) -> Tensor:
        """Pixels (B, 3, S, S) as numbers from 0 to 255 to features (B, D).

        Args:
            lit: patches (B, P) that are read when empty ones are skipped; default: those that show anything.
        """
        with torch.autocast(pixels.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            lit = self.read_patches(pixels) if lit is None else lit
            if lit is not None:
                return features_of_lit(self.backbone, pixels, lit, self.mean, self.std)
            features: Tensor = self.backbone((pixels.float() - self.mean) / self.std)
        return features

    def read_patches(self, images: Tensor) -> Tensor | None:
        """The patches (B, P) of images (B, 3, S, S) that the backbone reads; None: all."""
        side: int = self.backbone.patch_embed.patch_size[0]  # type: ignore[union-attr, index, assignment]
        return lit_patches(images, side) if self.lit_only else None

    def skip_empty_patches(self, name: str) -> None:
        """Read lit patches only from now on (`dinov3_pipeline.lit_patches`); `name` is the backbone's.

        Raises:
            UserError: a backbone for which that is not built.
        """
        require_plain_vit(self.backbone, name)
        self.lit_only = True
        self._choose_attention(fused=True)

    def standardise(self, features: Tensor) -> None:
        """Scale the head's input by the mean and SD of these features (M, D), as linear probes are (arXiv:2111.06377).

        A frozen backbone's features differ little between crystals, compared with their common mean.
        """
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.copy_(features.std(0).clamp(min=1e-6))

    def adapt_to(self, placement: Placement) -> None:
        """Prepare for bf16 or fp32 on a device.

        In bf16 frozen matrices are stored in bf16: half the memory, and nothing to convert. On a CPU in bf16 plain
        products are faster than the fused attention kernel, the backward pass above all (`lit_patches` has its own).
        """
        self.bf16 = placement.bf16
        if placement.bf16:
            self.round_frozen()
        self._choose_attention(fused=self.lit_only or not (placement.bf16 and placement.device.type == "cpu"))

    def _choose_attention(self, fused: bool) -> None:
        for module in self.backbone.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused  # type: ignore[assignment]

    def round_frozen(self) -> None:
        """Turn frozen matrices into bf16."""
        self.rounded = True
        for parameter in self.backbone.parameters():
            if not parameter.requires_grad and parameter.ndim > 1:
                parameter.data = parameter.data.bfloat16()

    def predict(self, cif_path: Path | str) -> float:
        """Tc in kelvin, the mean over the standard views, cut at 0 K.

        Raises:
            CrystalError: a CIF that cannot be used.
        """
        return max(0.0, float(self.predict_views(cif_path).mean()))

    def predict_views(self, cif_path: Path | str) -> Tensor:
        """Tc in kelvin (V,) from each of the standard views; see `predict`."""
        inputs = self.crystal_inputs(read_crystal(Path(cif_path)))
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            kelvin = self(inputs)
        self.train(was_training)
        return kelvin.cpu()

    def frozen(self) -> list[str]:
        """Names in the state of weights that never change and that `init` brings back."""
        if self.init == "random":
            return []
        return [f"backbone.{name}" for name, p in self.backbone.named_parameters() if not p.requires_grad]

    def get_extra_state(self) -> dict[str, Any]:
        """For the checkpoint: render options, and whether frozen matrices are in bf16."""
        options = asdict(self.render_options)
        return {"render_options": {**options, "supercells": list(options["supercells"])}, "rounded": self.rounded}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` gave."""
        options = state["render_options"]
        if said := mistyped(options, RENDER_OPTION_TYPES, "render_options"):
            raise ValueError(said)
        self.render_options = RenderOptions(**{**options, "supercells": tuple(options["supercells"])})


def create_dino_model(
    *,
    backbone: str = DEFAULT_BACKBONE,
    image_size: int = 224,
    tune: Tune = "lora",
    init: str = "pretrained",
    shape: Shape = AS_PUBLISHED,
    lora: Lora = Lora(),  # noqa: B008 - frozen
    head_dropout: float = 0.1,
    target: TargetTransform | None = None,
    gradient_checkpointing: bool = False,
    seed: int = 42,
    palette: bool = False,
    head_features: HeadFeatures = "none",
    skip_empty_patches: bool = False,
) -> DinoTcModel:
    """Build the network: backbone with its weights, adapters, head.

    Args:
        backbone: a timm ViT; image_size: pixels, a multiple of its patch.
        tune: what is trained: adapters and head (`lora`), `head`, or `full`.
        init: `pretrained`, `crystals`, `random`, or a file of weights.
        shape: of a network from scratch.
        target: what is regressed (default: kelvin).
        gradient_checkpointing: compute activations twice instead of keeping them.
        seed: of the random weights.
        palette: give the head the crystal's palette; head_features: and features of its composition.
        skip_empty_patches: read lit patches only.

    Raises:
        UserError: see `create_backbone`, `add_adapters`, `check_adapters_act`, `require_plain_vit`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit, origin = create_backbone(backbone, image_size, init, shape)
        ours = origin == "random" or crystals_file(init) is not None
        normalise = RANDOM_NORMALISATION if ours else normalisation(backbone)
        target = target or TargetTransform("kelvin")
        model = assemble(vit, tune, lora, head_dropout, target, normalise, image_size, palette, head_features)
    model.init = origin
    if skip_empty_patches:
        model.skip_empty_patches(backbone)
    if tune == "lora":
        check_adapters_act(vit, image_size, lora)
    if gradient_checkpointing:
        vit.set_grad_checkpointing(True)  # type: ignore[operator]
    return model


def assemble(
    vit: nn.Module,
    tune: Tune,
    lora: Lora,
    head_dropout: float,
    target: TargetTransform,
    normalise: Normalisation,
    image_size: int,
    palette: bool = False,
    head_features: HeadFeatures = "none",
) -> DinoTcModel:
    """Backbone, adapters, branches and head in one network."""
    vit.requires_grad_(tune == "full")
    if tune == "lora":
        add_adapters(vit, lora)
    branches = PaletteBranch() if palette else None, create_branch(head_features)
    width = int(vit.num_features) + sum(branch.num_features for branch in branches if branch)  # type: ignore[arg-type]
    return DinoTcModel(vit, _head(width, head_dropout), target, normalise, image_size, tune, *branches)


def _head(width: int, dropout: float) -> nn.Sequential:
    """D -> 512 -> 256 -> 1."""
    layers: list[nn.Module] = []
    for narrower in HEAD_WIDTHS:
        layers += [nn.Linear(width, narrower), nn.GELU(), nn.Dropout(dropout)]
        width = narrower
    return nn.Sequential(*layers, nn.Linear(width, 1))


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable parameters, and all of them."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)


def distinct_images(images: Tensor) -> tuple[list[int], list[int]]:
    """Numbers of the images (B, …) that equal no earlier one, to the last bit, and for each image its place there."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(image.tobytes(), len(places)) for image in images.cpu().numpy()]
    return [which.index(place) for place in range(len(places))], which


def as_images(images: ImageArray, image_size: int) -> Tensor:
    """Rendered views (V, H, H, 3) as input of the network, (V, 3, S, S)."""
    sized = np.stack([resized(image, image_size) for image in images])
    return torch.from_numpy(np.ascontiguousarray(sized.transpose(0, 3, 1, 2)))
