"""The graph pipeline's model: ALIGNN, optional composition branch, head, target transform, optional retrieval.

Legend: B crystals, W width of the features (the backbone's output and the composition branch's).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.network import Alignn, NetworkShape, shape_of
from gat_pipeline.weights import PARTS, Weights, current_names, load_strictly, read_weights
from tc_common.composition_branch import CompositionBranch, HeadFeatures, create_branch
from tc_common.crystals import read_crystal
from tc_common.errors import UserError, one_line
from tc_common.model_files import half_state, write_tensors
from tc_common.retrieval import KNNRegressor, retrieval_from
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
        composition_branch: CompositionBranch | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.target, self.composition_branch = backbone, head, target, composition_branch
        self.retrieval: KNNRegressor | None = None
        self.options = options

    def features(self, batch: dict[str, Any]) -> Tensor:
        """The head's input (B, W): the backbone's output, then the composition branch's where there is one."""
        features: Tensor = self.backbone(batch)
        if self.composition_branch is None:
            return features
        return torch.cat([features.float(), self.composition_branch(batch)], dim=1)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Batch of `gat_pipeline.dataset.join` to Tc in kelvin (B,)."""
        return self.forward_head(self.features(batch))

    def forward_head(self, features: Tensor) -> Tensor:
        """Tc in kelvin (B,) from `features`, interpolated with that of retrieved materials if there are any."""
        kelvin = self.target.decode(self.head(features).squeeze(1))
        return kelvin if self.retrieval is None else self.retrieval(features, kelvin)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of every module, also for the tensor names of earlier versions (a training that is resumed)."""
        return super().load_state_dict(current_names(state_dict), strict, assign)

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
    shape = shape or NetworkShape()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _backbone(engine)(shape)
        branch = create_branch(head_features)
        width = shape.hidden + (branch.num_features if branch else 0)
        return AlignnTc(backbone, _head(head, width), target or TargetTransform("kelvin"), options, branch)


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
    """W, the width of the head's input."""
    return next(layer.in_features for layer in model.head.modules() if isinstance(layer, nn.Linear))


def load_model(path: Path | str) -> AlignnTc:
    """Rebuild a trained model from its checkpoint (.pth), or from shipped weights (.safetensors) and their card.

    Raises:
        UserError: no whole model of the graph pipeline, or one that does not fit its own settings.
    """
    path = Path(path)
    weights = read_weights(path, f"file:{path.name}")
    if weights.options is None:
        raise UserError(f"{path} is no checkpoint of the graph pipeline: it does not state its graph options")
    return model_of(weights)


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
        target=TargetTransform(weights.target.get("kind", "kelvin")),
    )
    load_strictly(model.backbone, weights.backbone, weights.origin)
    load_strictly(model.head, weights.head, weights.origin)
    if model.composition_branch is not None:
        load_strictly(model.composition_branch, weights.composition_branch, weights.origin)
    model.retrieval = retrieval_from(weights.retrieval, head_width(model), weights.origin)
    _set_target(model.target, weights)
    return model.eval()


def _set_target(target: TargetTransform, weights: Weights) -> None:
    try:
        for name in {"mean", "std"} & set(weights.target):
            target.get_buffer(name).fill_(float(weights.target[name]))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{weights.origin}: mean and std of its target are no numbers ({one_line(error)})") from error


def write_weights(path: Path, model: AlignnTc) -> None:
    """Write a whole model as safetensors, matrices in half precision: 8 MB instead of 17."""
    write_tensors(path, half_state(model, tuple(f"{part}." for part in PARTS)))


def architecture_metadata(model: AlignnTc) -> dict[str, Any]:
    """The part of a card that `gat_pipeline.weights.read_weights` needs, without the training distribution."""
    return {
        "graph": model.options.plain(),
        "shape": shape_of(model.backbone.state_dict()).plain(),
        "target": {"kind": model.target.kind, "mean": float(model.target.mean), "std": float(model.target.std)},
        "head_features": "none" if model.composition_branch is None else model.composition_branch.head_features,
    }
