"""Sheets of the images that the vision model sees, as PNG: a row for each supercell, a column for each direction.

Legend: V views, S side of an image in pixels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import views

SHOWN_PX = 224
HEAT_OPACITY = 0.6
Images = NDArray[np.uint8]


def standard_views(structure: Structure) -> bytes:
    """PNG of the 18 views of the image files.

    Raises:
        CrystalError: see `views`.
    """
    return sheet(views(structure))


def column_count(names: tuple[str, ...]) -> int:
    """Directions of each supercell."""
    return len({name.partition("_")[2] for name in names})


def sheet(images: Images, columns: int | None = None) -> bytes:
    """PNG of (V, S, S, 3) images, row by row; small ones enlarged without smoothing."""
    columns = columns or column_count(view_names(RenderOptions()))
    rows = [np.concatenate(list(images[at : at + columns]), axis=1) for at in range(0, len(images), columns)]
    whole = np.concatenate(rows)
    factor = max(1, round(SHOWN_PX / images.shape[1]))
    whole = whole.repeat(factor, axis=0).repeat(factor, axis=1)
    return bytes(cv2.imencode(".png", whole[..., ::-1])[1].tobytes())


def overlaid(images: Images, weight: NDArray[np.float32]) -> Images:
    """(V, S, S, 3) images under heat from violet (none) to yellow (the most in its view) of `weight` (V, S, S)."""
    most = np.maximum(weight.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    levels = np.rint(255 * weight / most).astype(np.uint8)
    heat = np.stack([cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1] for level in levels])
    mixed: Images = np.rint(HEAT_OPACITY * heat + (1 - HEAT_OPACITY) * images).astype(np.uint8)
    return mixed
