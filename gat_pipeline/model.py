"""The graph pipeline's model: ALIGNN, a new head, and kelvins at the end.

Legend: B crystals, D width of the backbone's output.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from gat_pipeline.composition import CompositionBranch, HeadFeatures, composition_branch
from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.network import Alignn, NetworkShape, shape_of
from gat_pipeline.retrieval import KNNRegressor, neighbours_of
from gat_pipeline.weights import Weights, load_strictly, part, read_weights
from tc_common.checkpoints import load_checkpoint, load_weights
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.model_files import half_state, write_tensors
from tc_common.targets import TargetTransform

Engine: TypeAlias = Literal["torch", "dgl"]
HeadKind: TypeAlias = Literal["mlp", "linear"]


class AlignnTc(nn.Module):
    """Critical temperature of a batch of crystal graphs."""

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        target: TargetTransform,
        options: GraphOptions,
        statistics: CompositionBranch | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.target, self.statistics = backbone, head, target, statistics
        self.neighbours: KNNRegressor | None = None
        self.options = options

    def features(self, batch: dict[str, Any]) -> Tensor:
        """What the head is given of each crystal: (B, D), and the composition's part behind it where there is one."""
        features: Tensor = self.backbone(batch)
        if self.statistics is None:
            return features
        return torch.cat([features.float(), self.statistics(batch)], dim=1)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Batch of `gat_pipeline.dataset.join` to Tc in kelvin (B,)."""
        return self.read_out(self.features(batch))

    def read_out(self, features: Tensor) -> Tensor:
        """Tc in kelvin (B,) from what the head is given, blended with the neighbours' where there are any."""
        kelvin = self.target.decode(self.head(features).squeeze(1))
        return kelvin if self.neighbours is None else self.neighbours(features, kelvin)

    def train(self, mode: bool = True) -> "AlignnTc":
        """As every module; blocks that are frozen keep their normalisation's statistics too."""
        super().train(mode)
        for block in self.blocks():
            if not any(parameter.requires_grad for parameter in block.parameters()):
                block.eval()
        return self

    def blocks(self) -> list[nn.Module]:
        """Parts of the backbone, from the head's side to the input's: the order of gradual unfreezing."""
        body = self.backbone
        layers = [*cast(nn.ModuleList, body.gcn_layers)][::-1] + [*cast(nn.ModuleList, body.alignn_layers)][::-1]
        return [*layers, *(cast(nn.Module, getattr(body, f"{kind}_embedding")) for kind in ("atom", "edge", "angle"))]

    @torch.inference_mode()
    def predict(self, cif_path: Path | str) -> float:
        """Tc in kelvin of the crystal in one CIF.

        Raises:
            UserError: the CIF cannot be read, or its crystal has no graph.
        """
        path = Path(cif_path)
        try:
            graph = build_graph(read_crystal(path), self.options)
        except UserError as error:
            raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        device = next(self.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in join([graph], self.options.angle_cutoff_A).items()}
        training = self.training
        kelvin = self.eval()(batch)
        self.train(training)
        return float(kelvin)


def create_alignn_model(
    *,
    shape: NetworkShape | None = None,
    options: GraphOptions | None = None,
    engine: Engine = "torch",
    head: HeadKind = "mlp",
    head_features: HeadFeatures = "none",
    target: TargetTransform | None = None,
    seed: int = 42,
) -> AlignnTc:
    """A model with random weights that depend on the seed alone.

    The defaults are the published ALIGNN with the study's head 256 → 256 → 128 → 1: 4,125,313 parameters.
    """
    options = options or GraphOptions()
    shape = shape or NetworkShape(atom_features=options.atom_features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _backbone(engine)(shape)
        statistics = composition_branch(head_features)
        width = shape.hidden + (statistics.num_features if statistics else 0)
        return AlignnTc(backbone, _head(head, width), target or TargetTransform("kelvin"), options, statistics)


def _backbone(engine: Engine) -> Callable[[NetworkShape], nn.Module]:
    if engine == "torch":
        return Alignn
    from gat_pipeline.dgl_engine import DglAlignn  # DGL writes to the home folder when imported: only on request

    return DglAlignn


def _head(kind: HeadKind, width: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(width, 1)
    return nn.Sequential(nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, 128), nn.SiLU(), nn.Linear(128, 1))


def head_width(model: AlignnTc) -> int:
    """How many numbers the head is given of a crystal."""
    return next(layer.in_features for layer in model.head.modules() if isinstance(layer, nn.Linear))


def load_model(path: Path | str) -> AlignnTc:
    """Rebuild a trained model from its checkpoint, or from shipped weights and their card, ready to predict.

    Raises:
        UserError: no checkpoint of the graph pipeline.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return model_of(read_weights(path, f"file:{path.name}"))
    content = load_checkpoint(path)
    config = cast(dict[str, Any], content["config"])
    try:
        model = create_alignn_model(
            shape=shape_of(part(content["model_state_dict"], "backbone.")),
            options=GraphOptions(**config["graph"]),
            head_features=config["head_features"],
            target=TargetTransform(config["target"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no checkpoint of the graph pipeline ({error})") from error
    kept = part(content["model_state_dict"], "neighbours.")
    model.neighbours = neighbours_of(kept, head_width(model), str(path))
    load_weights(model, content, path)
    return model.eval()


def model_of(weights: Weights) -> AlignnTc:
    """A whole trained model from weights that include a head, ready to predict.

    Raises:
        UserError: there is no head, or the network is another one.
    """
    if not weights.head:
        raise UserError(f"{weights.origin} has no head; it can be trained further, but predicts nothing")
    model = create_alignn_model(
        shape=weights.shape,
        options=weights.options,
        head="linear" if "weight" in weights.head else "mlp",
        head_features=weights.head_features,
        target=TargetTransform(weights.target["kind"]),
    )
    load_strictly(model.backbone, weights.backbone, weights.origin)
    load_strictly(model.head, weights.head, weights.origin)
    if model.statistics is not None:
        load_strictly(model.statistics, weights.statistics, weights.origin)
    model.neighbours = neighbours_of(weights.neighbours, head_width(model), weights.origin)
    for name in ("mean", "std"):
        if name in weights.target:
            model.target.get_buffer(name).fill_(float(weights.target[name]))
    return model.eval()


PARTS = ("backbone.", "head.", "statistics.", "neighbours.")


def write_weights(path: Path, model: AlignnTc) -> None:
    """Backbone, head, statistics and neighbours as safetensors, matrices in half precision: 8 MB instead of 17."""
    write_tensors(path, half_state(model, PARTS))


def architecture_metadata(model: AlignnTc) -> dict[str, Any]:
    """What `gat_pipeline.weights.read_weights` reads from the card, besides what the weights learned from."""
    return {
        "graph": model.options.plain(),
        "shape": shape_of(model.backbone.state_dict()).plain(),
        "target": {"kind": model.target.kind, "mean": float(model.target.mean), "std": float(model.target.std)},
        "head_features": "none" if model.statistics is None else model.statistics.head_features,
    }
