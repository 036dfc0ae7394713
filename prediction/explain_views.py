"""What the vision network looks at: attention and kelvins of every view's pixels, and of the sites that they show.

Legend: V views of one crystal, S side of an image in pixels, n sites.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dinov3_pipeline.attribution import (
    attention_rollout,
    black_K,
    by_site,
    converged_gradients,
    site_maps,
    without_retrieval,
)
from dinov3_pipeline.images import resized
from dinov3_pipeline.render.options import view_names
from dinov3_pipeline.render.rendering import views
from prediction.inputs import crystal_of
from prediction.load import load_base_model
from prediction.models import VisionModel
from tc_common.errors import UserError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from prediction.predictor import Predictor

MOST_STEPS, IMAGES_AT_ONCE = 128, 8


@dataclass(frozen=True, eq=False)
class ViewGradients:
    """Kelvins by site: `reference_K + site_K.sum() + bonds_K + background_K + gap_K` is the prediction."""

    tc_K: float
    """Mean over the views, before it is cut at 0 K."""
    reference_K: float
    """Prediction for a black image, with the palette, composition and retrieved materials of the crystal."""
    site_K: NDArray[np.float64]
    """(n,)"""
    bonds_K: float
    background_K: float

    @property
    def gap_K(self) -> float:
        """What the integral misses."""
        return self.tc_K - self.reference_K - float(self.site_K.sum()) - self.bonds_K - self.background_K


@dataclass(frozen=True, eq=False)
class ViewAttribution:
    """One crystal through the eyes of the vision network."""

    model: str
    tc_K: float
    views: tuple[str, ...]
    """(V,) names."""
    images: NDArray[np.uint8]
    """(V, S, S, 3) as the network sees them."""
    attention: NDArray[np.float32]
    """(V, S, S), attention rollout; each view sums to 1."""
    gradients: ViewGradients | None
    """None where only the attention was asked for."""

    @property
    def site_K(self) -> NDArray[np.float64] | None:
        """(n,) kelvins of each site."""
        return self.gradients.site_K if self.gradients else None

    @property
    def reference_K(self) -> float | None:
        """Prediction for a black image."""
        return self.gradients.reference_K if self.gradients else None

    @property
    def bonds_K(self) -> float | None:
        """Kelvins of the pixels that show bonds."""
        return self.gradients.bonds_K if self.gradients else None

    @property
    def background_K(self) -> float | None:
        """Kelvins of the black pixels."""
        return self.gradients.background_K if self.gradients else None

    @property
    def gap_K(self) -> float | None:
        """What the integral misses."""
        return self.gradients.gap_K if self.gradients else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, without the pictures."""
        return {
            "model": self.model,
            "tc_K": self.tc_K,
            "views": [*self.views],
            "site_K": None if self.site_K is None else self.site_K.tolist(),
            "reference_K": self.reference_K,
            "bonds_K": self.bonds_K,
            "background_K": self.background_K,
            "gap_K": self.gap_K,
        }


def view_attribution(predictor: "Predictor", x: Any, attention_only: bool = False) -> ViewAttribution:
    """Explain one crystal by the vision network: the predictor's own, or the one in its folder.

    Raises:
        UserError: no vision network is shipped, or the crystal cannot be read.
    """
    structure = crystal_of(x)
    model = next((each for each in predictor.base_models if isinstance(each, VisionModel)), None)
    if model is None:
        if not (predictor.folder / "dinov3.safetensors").is_file():
            raise UserError(f"no vision network is shipped in {predictor.folder}, so there are no views to explain")
        found = load_base_model(predictor.folder, "dinov3", {}, "cpu")
        assert isinstance(found, VisionModel)
        model = found
    network = model.model
    drawn = views(structure, options=network.render_options)
    inputs = network.crystal_inputs(structure)
    with torch.inference_mode():
        tc_K = float(network(inputs).double().mean())
    return ViewAttribution(
        model=model.name,
        tc_K=tc_K,
        views=tuple(view_names(network.render_options)),
        images=np.stack([resized(image, network.image_size) for image in drawn]),
        attention=attention_rollout(network, inputs["images"]),
        gradients=None if attention_only else view_gradients(model, structure),
    )


def view_gradients(model: VisionModel, structure: "Structure") -> ViewGradients:
    """Integrated gradients from a black image, summed by site, mean over the views.

    Whatever it reads beside the images (palette, composition, retrieved materials) stays that of the crystal.
    """
    network, inputs = model.model, model.prepare(structure)
    images = inputs["images"]
    added_K, _ = converged_gradients(network, images, MOST_STEPS, IMAGES_AT_ONCE, inputs)
    sites = site_maps(structure, network.render_options, network.image_size)
    sums_K = by_site(added_K, sites, len(structure)) / len(images)
    own = 1.0 if network.retrieval is None else 1.0 - float(network.retrieval.mixing_weight)
    with torch.inference_mode():
        tc_K = float(network(inputs).double().mean())
        with without_retrieval(network):
            shown_K = float(network(inputs).double().mean())
            dark_K = float(black_K(network, images, inputs).double().mean())
    sums_K *= own
    return ViewGradients(tc_K, tc_K - own * (shown_K - dark_K), sums_K[:-2], float(sums_K[-2]), float(sums_K[-1]))
