"""Show which pixels and atoms a prediction of the vision model rests on, for one crystal.

    python -m dinov3_pipeline.explain --checkpoint models/dino_best.pth data/sample/cifs/MgB2-AlB2.cif
    python -m dinov3_pipeline.explain --checkpoint models/3dsc/dinov3.safetensors data/sample/cifs/MgB2-AlB2.cif

Writes `<out>/<name>_views.png` (a row for each view: the image, attention rollout, integrated gradients) and
`<out>/<name>_atoms.csv`: for every site of the cell, for bonds and background, the fraction of attention, the fraction
of the absolute gradient attribution, and the kelvins that its pixels add to the prediction for a black image (mean
over the views). `--before crystals` puts the attention of the pre-trained backbone, before fine-tuning, beside that of
the network. Attributions describe the network, not the physics.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from tyro.conf import Positional

from dinov3_pipeline.attribution import attention_rollout, by_site, converged_gradients, site_maps
from dinov3_pipeline.backbones import CRYSTALS, crystals_card, crystals_file
from dinov3_pipeline.images import ImageArray, resized
from dinov3_pipeline.model import DinoTcModel, create_dino_model, load_model
from dinov3_pipeline.render.rendering import views
from tc_common.cli import parse, run
from tc_common.crystals import read_crystal
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.files import atomic_write, write_csv

HEAT_OPACITY = 0.6
"""Weight of the heat map laid over an image."""
SMALLEST_PX = 224
"""Side to which smaller images are enlarged in the written file."""
Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """What to explain, and how finely."""

    cif: Positional[Path]
    """Crystal structure."""
    checkpoint: Path = Path("models/dino_best.pth")
    """Trained vision model: a checkpoint (.pth) or a shipped file (.safetensors, its card in the same folder)."""
    init: str | None = None
    """File with the frozen backbone's weights, if it was moved after training."""
    before: str | None = None
    """Backbone whose attention is shown too, as it was before fine-tuning: crystals, or a file of
    python -m dinov3_pipeline.pretrain (default: crystals where the network began with them)."""
    out: Path = Path("results/explain")
    """Folder for image and table."""
    steps: int = 512
    """Most steps of the integral from black to the image (>= 2); it takes 16 or more, until a view's sum is right."""
    batch_size: int = 8
    """Images computed at once (>= 1)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        if self.steps < 2 or self.batch_size < 1:
            raise ValueError("--steps must be at least 2, --batch-size at least 1")


def main(config: ExplainConfig) -> None:
    """Predict, attribute, write."""
    structure = read_crystal(config.cif)
    model = load_model(config.checkpoint, config.init).to(place(config.device, "fp32").device)
    rendered = views(structure, options=model.render_options)
    inputs = model.crystal_inputs(structure)
    before = config.before or ("crystals" if model.init.startswith(f"pretrained:{CRYSTALS.stem}@") else None)
    earlier = attention_rollout(backbone_before(before, model), inputs["images"]) if before else None
    rollout = attention_rollout(model, inputs["images"])
    added_K, gap_K = converged_gradients(model, inputs["images"], config.steps, config.batch_size, inputs)
    table = attribution_table(structure, model, rollout, added_K, earlier)
    with torch.inference_mode():
        predicted_K = model(inputs).mean().item()
    maps = [rollout, np.abs(added_K)] if earlier is None else [earlier, rollout, np.abs(added_K)]
    rows = zip((resized(image, model.image_size) for image in rendered), *maps, strict=True)
    sheet = np.concatenate([_row(*row) for row in rows])
    stem = config.cif.stem
    write_csv(config.out / f"{stem}_atoms.csv", table)
    with atomic_write(config.out / f"{stem}_views.png") as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    print(f"{config.cif}: {predicted_K:.2f} K\n{table.to_string(index=False, float_format='%.3f')}")
    print(f"gradient_K adds up to the prediction less that of a black image, to within {gap_K:.2f} K a view")
    print(f"wrote {stem}_views.png and {stem}_atoms.csv to {config.out}")


def backbone_before(init: str, model: DinoTcModel) -> DinoTcModel:
    """The pre-trained backbone that `init` names, for the images of `model`.

    Raises:
        UserError: it is none of `python -m dinov3_pipeline.pretrain`, or learnt from images of another size.
    """
    path = crystals_file(init)
    if path is None:
        raise UserError(f"--before {init} is neither crystals nor a file of python -m dinov3_pipeline.pretrain")
    network = crystals_card(path)["network"]
    if network["image_size"] != model.image_size:
        raise UserError(
            f"--before {init} learnt from images of {network['image_size']} pixels, not {model.image_size}"
        )
    before = create_dino_model(backbone=network["backbone"], image_size=model.image_size, init=init, tune="head")
    return before.to(model.mean.device).eval()


def attribution_table(
    structure: Structure, model: DinoTcModel, rollout: Map, added_K: Map, before: Map | None = None
) -> pd.DataFrame:
    """One row for each site, then one for the bonds and one for the background.

    Columns `element, site, attention_fraction, gradient_fraction` (each sums to 1) and `gradient_K`; with the rollout
    `before` fine-tuning also `attention_before_fraction`.
    """
    sites = site_maps(structure, model.render_options, model.image_size)
    attention, gradient, kelvin = (
        by_site(values, sites, len(structure)) for values in (rollout, np.abs(added_K), added_K)
    )
    table = pd.DataFrame(
        {
            "element": [*(site.species_string for site in structure), "bonds", "background"],
            "site": [*(str(number) for number in range(len(structure))), "", ""],
            "attention_fraction": attention / attention.sum(),
            "gradient_fraction": gradient / max(gradient.sum(), np.finfo(float).tiny),
            "gradient_K": kelvin / len(sites),
        }
    )
    if before is not None:
        earlier = by_site(before, sites, len(structure))
        table.insert(2, "attention_before_fraction", earlier / earlier.sum())
    return table


def _row(image: ImageArray, *maps: Map) -> ImageArray:
    """The image, then with each map (attention, the gradients' absolute size); small ones enlarged for the eye."""
    panels = [image, *(_overlaid(image, values) for values in maps)]
    return np.concatenate([resized(panel, max(SMALLEST_PX, len(image))) for panel in panels], axis=1)


def _overlaid(image: ImageArray, values: Map) -> ImageArray:
    """Heat from blue (none) to red (the most in this view)."""
    scaled = np.rint(255 * values / max(float(values.max()), np.finfo(float).tiny)).astype(np.uint8)
    heat = cv2.applyColorMap(scaled, cv2.COLORMAP_JET)[..., ::-1]
    return np.rint(HEAT_OPACITY * heat + (1 - HEAT_OPACITY) * image).astype(np.uint8)


if __name__ == "__main__":
    run(lambda: main(parse(ExplainConfig, prog="python -m dinov3_pipeline.explain", description=__doc__ or "")))
