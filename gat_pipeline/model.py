"""The graph pipeline's model: ALIGNN, optional composition branch and prior, head, target, optional retrieval.

A network that reads a prior (the pair's prediction, `tc_common.prior`) learns a correction of it: its head reads the
prior in the target's space, and adds it to its output, which begins at zero.

Legend: B crystals, W width of the features (the backbone's output, the composition branch's, the prior).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.network import Alignn, NetworkShape, shape_of
from gat_pipeline.weights import PARTS, Weights, current_names, load_strictly, read_weights
from tc_common.chemistry import FeatureKind
from tc_common.composition_branch import CompositionBranch, HeadFeatures, create_branch
from tc_common.crystals import read_crystal
from tc_common.devices import to_device
from tc_common.errors import UserError, one_line
from tc_common.model_files import half_state, read_card, write_tensors
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
        reads_prior: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.target, self.composition_branch = backbone, head, target, composition_branch
        self.retrieval: KNNRegressor | None = None
        self.options, self.reads_prior = options, reads_prior
        self.other_trainings: list[AlignnTc] = []  # of the mean that `load_model` reads; no part of the state

    @property
    def feature_kind(self) -> FeatureKind | None:
        """Kind of composition features that a batch must have."""
        return None if self.composition_branch is None else self.composition_branch.kind

    def features(self, batch: dict[str, Any]) -> Tensor:
        """The head's input (B, W): the backbone's output, then the composition branch's and the prior, if it has them.

        Raises:
            UserError: it reads the prior, and the batch has none.
        """
        parts: list[Tensor] = [self.backbone(batch)]
        if self.composition_branch is not None:
            parts.append(self.composition_branch(batch))
        if self.reads_prior:
            parts.append(self.target.encode(prior_of(batch)).unsqueeze(1))
        return parts[0] if len(parts) == 1 else torch.cat([part.float() for part in parts], dim=1)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Batch of `gat_pipeline.dataset.join` to Tc in kelvin (B,)."""
        return self.forward_head(self.features(batch))

    def forward_head(self, features: Tensor) -> Tensor:
        """Tc in kelvin (B,) from `features`, interpolated with that of retrieved materials if there are any."""
        output = self.head(features).squeeze(1).float()
        kelvin = self.target.decode(output + features[:, -1] if self.reads_prior else output)
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
    def predict(self, cif_path: Path | str, prior_K: float | None = None) -> float:
        """Tc in kelvin, cut at 0 K, of the crystal in one CIF, for which the pair predicts `prior_K`.

        Raises:
            UserError: the CIF cannot be read, its crystal has no graph, or the prior is missing.
        """
        path = Path(cif_path)
        try:
            graph = build_graph(read_crystal(path), self.options)
        except UserError as error:
            raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        known_K = None if prior_K is None else [prior_K]
        batch = join([graph], self.options.angle_cutoff_A, self.feature_kind, known_K)
        return max(0.0, fmean(model.kelvin_of(batch) for model in (self, *self.other_trainings)))

    def kelvin_of(self, batch: dict[str, Any]) -> float:
        """Tc in kelvin of a batch of one crystal, by this training alone."""
        training = self.training
        kelvin = self.eval()(to_device(batch, next(self.parameters()).device))
        self.train(training)
        return float(kelvin)


def prior_of(batch: Mapping[str, Any]) -> Tensor:
    """The prior (B,) in K of a batch.

    Raises:
        UserError: there is none.
    """
    if "prior_K" not in batch:
        raise UserError(
            "this network corrects the pair's prediction, which is missing here; give --prior FILE, made with: "
            "python -m baselines.prior"
        )
    prior_K: Tensor = batch["prior_K"]
    return prior_K


def create_alignn_model(
    *,
    shape: NetworkShape | None = None,
    options: GraphOptions | None = None,
    engine: Engine = "torch",
    head: HeadKind = "mlp",
    head_features: HeadFeatures = "none",
    reads_prior: bool = False,
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
        width = shape.hidden + (branch.num_features if branch else 0) + reads_prior
        layers = _head(head, width)
        if reads_prior:
            _begin_at_zero(layers)
        target = target or TargetTransform("kelvin")
        return AlignnTc(backbone, layers, target, options, branch, reads_prior)


def _backbone(engine: Engine) -> Callable[[NetworkShape], nn.Module]:
    if engine == "torch":
        return Alignn
    from gat_pipeline.dgl_engine import DglAlignn  # DGL writes to the home folder when imported: only on request

    return DglAlignn


def _head(kind: HeadKind, width: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(width, 1)
    return nn.Sequential(nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, 128), nn.SiLU(), nn.Linear(128, 1))


def _begin_at_zero(head: nn.Module) -> None:
    """The last layer's output is zero until it learns: the network begins as the prior itself."""
    last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def head_width(model: AlignnTc) -> int:
    """W, the width of the head's input."""
    return next(layer.in_features for layer in model.head.modules() if isinstance(layer, nn.Linear))


def load_model(path: Path | str) -> AlignnTc:
    """Rebuild a trained model from its checkpoint (.pth), or from shipped weights (.safetensors) and their card.

    Where the card lists the networks of several seeds, `predict` gives their mean, as the shipped predictor does.

    Raises:
        UserError: no whole model of the graph pipeline, or one that does not fit its own settings.
    """
    path = Path(path)
    model = load_network(path)
    card = read_card(path) if path.suffix == ".safetensors" else {}
    listed = card.get("networks", [])
    if isinstance(listed, list) and path.name in listed:
        others = [str(name) for name in listed if name != path.name]
        if any(Path(name).name != name for name in others):
            raise UserError(f"{path.with_suffix('.json')} names a file of another folder; fetch the folder again")
        model.other_trainings = [load_network(path.with_name(name)) for name in others]
    return model


def load_network(path: Path) -> AlignnTc:
    """One training's network, as `load_model`; without those of other seeds.

    Raises:
        UserError: no whole model of the graph pipeline, or one that does not fit its own settings.
    """
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
        reads_prior=weights.reads_prior,
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
        "reads_prior": model.reads_prior,
    }
