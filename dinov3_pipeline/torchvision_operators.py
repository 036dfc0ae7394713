"""Make timm and PEFT importable where torchvision is installed but its compiled operators do not load.

Both import torchvision. PyPI's torchvision for Linux is compiled against CUDA; with a CPU build of torch its import
dies with "operator torchvision::nms does not exist".
"""

import functools
import importlib.util
from pathlib import Path

import torch


@functools.cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare `torchvision::nms` and `::qnms` where torchvision is installed but its compiled operators do not load.

    Call this before importing timm or PEFT, which need neither operator. Only the names are declared: calling one
    raises torch's NotImplementedError.

    Returns:
        The library that holds the declarations as long as it lives (the cache keeps it), or None where nothing is
        missing: no torchvision, or one whose operators load.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None or _operators_load(Path(package.origin).parent):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _operators_load(package: Path) -> bool:
    """Load torchvision's compiled operators, as its own import does."""
    for compiled in sorted(package.glob("_C.*")):
        try:
            torch.ops.load_library(compiled)
            return True
        except OSError:  # a symbol or a CUDA library that this torch does not bring
            continue
    return False
