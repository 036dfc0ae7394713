"""Pictures of a crystal to its Tc: a DINOv3 vision transformer, low-rank adapters, a small head.

Legend: B pictures in a batch, V views of one material, S side of a picture in pixels, D width of the backbone.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dinov3_pipeline.backbones import AS_PUBLISHED, Shape, build, create_backbone, normalisation
from dinov3_pipeline.lora import Lora, add_adapters, check_adapters_act
from dinov3_pipeline.pictures import Picture, resized
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from tc_common.checkpoints import load_checkpoint, load_weights
from tc_common.crystals import read_crystal
from tc_common.devices import Placement
from tc_common.errors import UserError
from tc_common.targets import TargetTransform

Tune: TypeAlias = Literal["lora", "head", "full"]
HEAD_WIDTHS = (512, 256)
DEFAULT_BACKBONE = "vit_base_patch16_dinov3"
# Without pretraining black is 0: "no atom" then says nothing, and atoms stand out. With ImageNet's mean and SD nine
# tenths of a picture shout the same number, and a random start does not get past the median within hundreds of steps.
RANDOM_NORMALISATION = ((0.0,) * 3, (0.25,) * 3)
# A trainer's settings, and so its checkpoints, hold each of these behind "lora_".
ADAPTERS = ("rank", "alpha", "dropout", "targets", "rank_stabilised", "dora")


class DinoTcModel(nn.Module):
    """A ViT with its head, from uint8 pictures to kelvin.

    Args:
        backbone: pictures (B, 3, S, S) to features (B, D).
        normalise: mean and SD of the RGB channels (0 to 1), those that the backbone was pretrained with if it was.
        image_size: S.
        init: where the backbone's weights came from.

    `render_options` say how the pictures were drawn that it was trained on; its state carries them.
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
        normalise: tuple[tuple[float, ...], tuple[float, ...]],
        image_size: int,
        tune: Tune,
        init: str,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.target = backbone, head, target
        self.image_size, self.tune, self.init = image_size, tune, init
        self.render_options = RenderOptions()
        self.bf16 = self.rounded = False
        for name, values in zip(("mean", "std"), normalise, strict=True):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1))
        width: int = backbone.num_features  # type: ignore[assignment]
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_std", torch.ones(width))

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Kelvin (B,) of `batch["images"]` uint8 (B, 3, S, S), or of their `batch["features"]` (B, D)."""
        return self.kelvin(batch["features"] if "features" in batch else self.features(batch["images"]))

    def kelvin(self, features: Tensor) -> Tensor:
        """Features (B, D) to kelvin (B,), in fp32: rounded to the 8 bits of bf16 they would be off by 0.4 %."""
        with torch.autocast(features.device.type, enabled=False):
            standardised = (features.float() - self.feature_mean) / self.feature_std
            return self.target.decode(self.head(standardised).squeeze(1))

    def features(self, images: Tensor) -> Tensor:
        """What the backbone sees: uint8 (B, 3, S, S) to (B, D); without gradients where only the head is trained."""
        assert images.dtype == torch.uint8 and images.ndim == 4, f"images are {images.dtype} {tuple(images.shape)}"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "head"):
            return self.see(images.float())

    def see(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) as numbers from 0 to 255 to features (B, D)."""
        with torch.autocast(pixels.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            features: Tensor = self.backbone((pixels - self.mean) / self.std)
        return features

    def standardise(self, features: Tensor) -> None:
        """Scale the head's input by the mean and SD of these features (M, D), as linear probes are (arXiv:2111.06377).

        A frozen backbone's features differ little between crystals beside what all pictures share.
        """
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.copy_(features.std(0).clamp(min=1e-6))

    def adapt_to(self, placement: Placement) -> None:
        """Prepare for bf16 or fp32 on a device.

        In bf16 frozen matrices are kept in bf16, as they are multiplied: half the memory, and nothing to convert. On a
        CPU in bf16 plain products are faster than the fused attention kernel, backwards above all.
        """
        self.bf16 = placement.bf16
        if placement.bf16:
            self.round_frozen()
        fused = not (placement.bf16 and placement.device.type == "cpu")
        for module in self.backbone.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused  # type: ignore[assignment]

    def round_frozen(self) -> None:
        """Turn frozen matrices into bf16."""
        self.rounded = True
        for parameter in self.backbone.parameters():
            if not parameter.requires_grad and parameter.ndim > 1:
                parameter.data = parameter.data.bfloat16()

    def predict(self, cif_path: Path | str, material_id: str | None = None) -> float:
        """Tc in kelvin, the mean over the standard views.

        Args:
            material_id: seeds the random views; the file's name without ending unless given.

        Raises:
            CrystalError: a CIF that cannot be used.
        """
        return float(self.predict_views(cif_path, material_id).mean())

    def predict_views(self, cif_path: Path | str, material_id: str | None = None) -> Tensor:
        """Tc in kelvin (V,) from each of the standard views; see `predict`."""
        path = Path(cif_path)
        drawn = views(read_crystal(path), material_id=material_id or path.stem, options=self.render_options)
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            kelvin = self({"images": as_images(drawn, self.image_size).to(self.mean.device)})
        self.train(was_training)
        return kelvin.cpu()

    def frozen(self) -> list[str]:
        """Names in the state of weights that never change and that `init` brings back."""
        if self.init == "random":
            return []
        return [f"backbone.{name}" for name, p in self.backbone.named_parameters() if not p.requires_grad]

    def get_extra_state(self) -> dict[str, Any]:
        """For the checkpoint: how the pictures were drawn, and whether frozen matrices are in bf16."""
        options = asdict(self.render_options)
        return {"render_options": {**options, "supercells": list(options["supercells"])}, "rounded": self.rounded}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_extra_state` gave."""
        options = state["render_options"]
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
) -> DinoTcModel:
    """Build the network: backbone with its weights, adapters, head.

    Args:
        backbone: a timm ViT; image_size: pixels, a multiple of its patch.
        tune: what is trained: adapters and head (`lora`), `head`, or `full`.
        init: `pretrained`, `random`, or a file of weights.
        shape: of a random start that is smaller than the published architecture.
        target: what is regressed; kelvin unless given.
        gradient_checkpointing: compute activations twice instead of keeping them.
        seed: of everything drawn here.

    Raises:
        UserError: see `create_backbone`, `add_adapters`, `check_adapters_act`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit, origin = create_backbone(backbone, image_size, init, shape)
        model = _assemble(
            vit, backbone, image_size, tune, lora, head_dropout, target or TargetTransform("kelvin"), origin
        )
    if tune == "lora":
        check_adapters_act(vit, image_size, lora)
    if gradient_checkpointing:
        vit.set_grad_checkpointing(True)  # type: ignore[operator]
    return model


def _assemble(
    vit: nn.Module,
    name: str,
    image_size: int,
    tune: Tune,
    lora: Lora,
    head_dropout: float,
    target: TargetTransform,
    origin: str,
) -> DinoTcModel:
    vit.requires_grad_(tune == "full")
    if tune == "lora":
        add_adapters(vit, lora)
    head = _head(int(vit.num_features), head_dropout)  # type: ignore[arg-type]
    normalise = RANDOM_NORMALISATION if origin == "random" else normalisation(name)
    return DinoTcModel(vit, head, target, normalise, image_size, tune, origin)


def _head(width: int, dropout: float) -> nn.Sequential:
    """D -> 512 -> 256 -> 1."""
    layers: list[nn.Module] = []
    for narrower in HEAD_WIDTHS:
        layers += [nn.Linear(width, narrower), nn.GELU(), nn.Dropout(dropout)]
        width = narrower
    return nn.Sequential(*layers, nn.Linear(width, 1))


def load_model(path: Path | str, init: str | None = None) -> DinoTcModel:
    """Rebuild a trained network from its checkpoint, ready to predict in fp32 (`adapt_to` changes that).

    A checkpoint names the weights of a frozen backbone instead of repeating them (unless they were random): they come
    from the Hugging Face cache or from the file that `--init` named, and their sha256 is checked.

    Args:
        init: where that file lies now, if it has moved.

    Raises:
        UserError: missing, damaged or foreign checkpoint, or frozen weights that cannot be had.
    """
    path = Path(path)
    checkpoint = load_checkpoint(path)
    frozen = checkpoint.get("frozen", {}).get("names", [])
    try:
        model = restore_model(checkpoint["config"], init=(init or checkpoint["config"]["init"]) if frozen else None)
        rounded: bool = checkpoint["model_state_dict"]["_extra_state"]["rounded"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no checkpoint of the vision model: its settings lack {error}") from error
    if rounded:
        model.round_frozen()
    load_weights(model, checkpoint, path)
    model.init = checkpoint["init"]
    return model.float().eval()


def restore_model(config: Mapping[str, Any], init: str | None = None) -> DinoTcModel:
    """The network that a trainer's settings describe; the backbone's weights come from `init`, or are to be loaded."""
    name, image_size, target = config["backbone"], config["image_size"], TargetTransform(config["target"])
    lora, head_dropout, tune = lora_of(config), config["head_dropout"], config["tune"]
    with torch.random.fork_rng(devices=[]):
        vit = create_backbone(name, image_size, init)[0] if init else build(name, image_size, shape_of(config))
        return _assemble(vit, name, image_size, tune, lora, head_dropout, target, init or "")


def lora_of(config: Mapping[str, Any]) -> Lora:
    """The adapters that a trainer's settings describe."""
    options = {name: config[f"lora_{name}"] for name in ADAPTERS}
    return Lora(**{**options, "targets": tuple(options["targets"])})


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The network's shape in a trainer's settings; those of before it could be chosen have the published one."""
    return Shape(**{field.name: config.get(field.name) for field in fields(Shape)})


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable parameters, and all of them."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)


def as_images(pictures: Picture, image_size: int) -> Tensor:
    """Pictures (V, H, H, 3) as the network takes them: (V, 3, S, S)."""
    sized = np.stack([resized(picture, image_size) for picture in pictures])
    return torch.from_numpy(np.ascontiguousarray(sized.transpose(0, 3, 1, 2)))
