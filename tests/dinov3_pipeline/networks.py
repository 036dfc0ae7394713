"""Small networks that the tests of this room share."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dinov3_pipeline.backbones import Shape
from dinov3_pipeline.model import DinoTcModel, create_dino_model
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.train import VisionConfig
from tc_common.checkpoints import save_checkpoint

# A ViT of 0.3 million parameters; DINOv3's own smallest has 21.6 million.
TINY = "test_vit"
SIZE = 32
# DINOv3's architecture with a few thousand parameters; its rotary positions take images of any size.
DINO = "vit_small_patch16_dinov3"
SMALL_DINO = Shape(patch_size=8, width=16, depth=1, heads=2, fourier_features=4)


def tiny_model(**options: Any) -> DinoTcModel:
    """A ViT of 0.3 million random parameters for images of 32 pixels."""
    return create_dino_model(**{"backbone": TINY, "image_size": SIZE, "init": "random", **options})


def noise(images: int = 4, size: int = SIZE, seed: int = 0) -> Tensor:
    """Random images (B, 3, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, generator=generator)


def batch(images: int = 4) -> dict[str, Any]:
    """Random images with a Tc each."""
    return {
        "images": noise(images),
        "tc": torch.arange(images).float(),
        "material_id": list("abcdefgh"[:images]),
    }


UNIT_CELLS = RenderOptions(image_size=64, bonds="none", views="axes", supercells=("1x1x1",))


def save_whole(path: Path, init: str = "random", **shape: Any) -> DinoTcModel:
    """A whole network as a training leaves it; `shape` as in `Shape`."""
    model = tiny_model(tune="full", seed=4, shape=Shape(**shape))
    model.render_options = UNIT_CELLS
    model.standardise(torch.randn(8, len(model.feature_mean)))
    settings = VisionConfig(
        init="random", tune="full", backbone=TINY, image_size=SIZE, target="kelvin", shape=Shape(**shape)
    ).plain()
    parts = dict.fromkeys(("optimizer_state_dict", "scheduler_state_dict", "rng_state"), None)
    content = {"epoch": 1, "val_loss": 1.0, **parts, "config": settings, "init": init}
    save_checkpoint(path, {**content, "model_state_dict": model.state_dict()})
    return model.eval()


class Calls(TorchDispatchMode):
    """Records every operator that runs inside it, with the shapes of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, list[torch.Size]]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made.append((str(operator), [value.shape for value in args if isinstance(value, Tensor)]))
        return operator(*args, **(kwargs or {}))
