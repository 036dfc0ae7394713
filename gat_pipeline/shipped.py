"""How a trained ALIGNN becomes the file that the project ships, and what its card must say to rebuild it."""

from pathlib import Path
from typing import Any

from gat_pipeline.model import AlignnTc
from gat_pipeline.network import shape_of
from tc_common.tensors import half_state, write_tensors

PARTS = ("backbone.", "head.", "statistics.", "neighbours.")


def write_weights(path: Path, model: AlignnTc) -> None:
    """Backbone, head, statistics and neighbours as safetensors, matrices in half precision: 8 MB instead of 17."""
    write_tensors(path, half_state(model, PARTS))


def rebuilding_facts(model: AlignnTc) -> dict[str, Any]:
    """What `gat_pipeline.weights.read_weights` reads from the card, besides what the weights learned from."""
    return {
        "graph": model.options.plain(),
        "shape": shape_of(model.backbone.state_dict()).plain(),
        "target": {"kind": model.target.kind, "mean": float(model.target.mean), "std": float(model.target.std)},
        "head_features": "none" if model.statistics is None else "composition",
    }
