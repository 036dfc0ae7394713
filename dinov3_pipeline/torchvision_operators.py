"""A CUDA build of torchvision beside a CPU build of torch: `import timm` works all the same.

PyPI's torchvision for Linux is compiled against CUDA, so beside a CPU torch its compiled operators cannot be loaded.
Its Python half attaches to `torchvision::nms` and `torchvision::qnms` at import all the same, and dies with
"operator torchvision::nms does not exist". This project needs neither operator, only the import.
"""

import functools
import importlib.util
from pathlib import Path

import torch

NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare `torchvision::nms` and `::qnms` where torchvision is installed but its operators cannot be loaded.

    Call it before importing timm. Only the names are declared: calling one raises torch's NotImplementedError.

    Returns:
        The library that holds the declarations as long as it lives (the cache keeps it), or None where there is
        nothing to mend: no torchvision, or one whose operators load.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None or _operators_load(Path(package.origin).parent):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + NMS_SCHEMA)
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
