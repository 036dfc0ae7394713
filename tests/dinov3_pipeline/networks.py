"""Small networks that the tests of this room share."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dinov3_pipeline.model import DinoTcModel, create_dino_model

# A ViT of 0.3 million parameters; DINOv3's own smallest has 21.6 million.
TINY = "test_vit"
SIZE = 32


def tiny_model(**options: Any) -> DinoTcModel:
    """A ViT of 0.3 million random parameters for pictures of 32 pixels."""
    return create_dino_model(**{"backbone": TINY, "image_size": SIZE, "init": "random", **options})


def noise(pictures: int = 4, size: int = SIZE, seed: int = 0) -> Tensor:
    """Random pictures (B, 3, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (pictures, 3, size, size), dtype=torch.uint8, generator=generator)


def batch(pictures: int = 4) -> dict[str, Any]:
    """Random pictures with a Tc each."""
    return {
        "images": noise(pictures),
        "tc": torch.arange(pictures).float(),
        "material_id": list("abcdefgh"[:pictures]),
    }


class Calls(TorchDispatchMode):
    """Records every operator that runs inside it, with the shapes of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, list[torch.Size]]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made.append((str(operator), [value.shape for value in args if isinstance(value, Tensor)]))
        return operator(*args, **(kwargs or {}))
