"""Train the graph network on the split files: ALIGNN with a new head, fine-tuned or from scratch.

    python -m gat_pipeline.train                                   # fine-tune the shipped weights: 1e-5, head 1e-3
    python -m gat_pipeline.train --init random --schedule onecycle # from scratch, one rate of 1e-3

The published network: 26 minutes of one core, test MAE 3.41 K on 3DSC (random split, seed 42; training median 9.31 K),
then 3.20 K with `python -m gat_pipeline.add_retrieval`:

    python -m gat_pipeline.train --init random --hidden 128 --alignn-layers 2 --gcn-layers 2 \\
        --graph.angle-cutoff-A 3.2 --target sqrt --head-features physics --batch-size 64 --lr-head 2e-3 \\
        --schedule onecycle --epochs 40 --patience 40 --augment-structure.strain 0.02 \\
        --augment-structure.shear 0.006 --augment-structure.displacement-A 0.02

The whole study: python -m tools.study --list.

Writes `models/alignn_{last,best}.pth` every epoch and `results/alignn_{predictions,val_predictions}.csv`,
`alignn_metrics.json`, `alignn_history.csv`, and predictions of the further tests (`tc_common.further`); started again,
it resumes. Other published networks and what was tried: README_alignn.md, Results.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.optim import AdamW

from gat_pipeline.allocator import tune_memory
from gat_pipeline.dataset import GraphDataset, bounded_micro_batches, bucketed_batches, collator
from gat_pipeline.graphs import GraphOptions
from gat_pipeline.model import AlignnTc, Engine, create_alignn_model
from gat_pipeline.network import NetworkShape
from gat_pipeline.weights import Weights, find_weights, load_strictly
from tc_common.chemistry import composition_features
from tc_common.cli import log, parse, run, set_up_log
from tc_common.composition_branch import HeadFeatures, pretrain
from tc_common.errors import UserError
from tc_common.extra_structures import facts_of_structures, read_extra_structures
from tc_common.further import learned_literature
from tc_common.labels import ExtraLabels, read_extra_labels, with_labels
from tc_common.prior import MADE_BY, Prior, read_prior
from tc_common.runs import run_training
from tc_common.splits import SPLITS, read_splits
from tc_common.structures import TrainingStructures, training_structures
from tc_common.targets import TargetTransform
from tc_common.task import MaterialDataset, ScheduleKind, Task, TrainConfig


@dataclass(frozen=True, kw_only=True)
class GraphTrainConfig(TrainConfig):
    """Settings of the graph pipeline."""

    init: str = "pretrained"
    """Weights of the backbone: pretrained (shipped, JARVIS superconductors), mp_e_form_alignn, jv_supercon_tc_alignn,
    tc_supercon_radius, alex_supercon_Tc (downloaded), a file, or random. The head is always new."""
    epochs: int = 200
    """Passes over the training set (>= 1)."""
    batch_size: int = 32
    """Crystals computed at once (>= 2: batch normalisation)."""
    patience: int = 20
    """Epochs without a better validation MAE before training stops (>= 1)."""
    lr_backbone: float = 1e-5
    """Learning rate of pretrained layers (> 0)."""
    lr_head: float = 1e-3
    """Learning rate of new layers: the head, or everything with --init random (> 0)."""
    weight_decay: float = 1e-2
    """AdamW's decay of matrices; biases and normalisations have none (>= 0)."""
    schedule: ScheduleKind = "plateau"
    """How learning rates change: plateau halves them when validation stalls, onecycle rises and falls once."""
    unfreeze_every: int = 0
    """Epochs between unfreezing one more block, head first (0 = everything learns from the start)."""
    engine: Engine = "torch"
    """torch runs anywhere; dgl is the original ALIGNN on DGL graphs, equal and slower."""
    head_features: HeadFeatures = "none"
    """A branch on composition features, concatenated to the head's input: the tree baseline's (composition), ones that
    a trace of another element does not make jump (continuous), or those with formal valences and ratios (physics)."""
    extra_labels: Path | None = None
    """Labels of `python -m data.supercon` for these split files: the composition branch learns from them, and from the
    training compositions, before the network does."""
    branch_epochs: int = 40
    """Passes of the branch over those labels (>= 1), about a second each."""
    prior: Path | None = None
    """The pair's prediction of every material (`python -m baselines.prior`): the network learns a correction of it."""
    hidden: int = 256
    """Width of the network (>= 1); pretrained weights have 256."""
    alignn_layers: int = 4
    """Layers on crystal graph and line graph (>= 1)."""
    gcn_layers: int = 4
    """Layers on the crystal graph alone (>= 1)."""
    graph: GraphOptions = field(default_factory=GraphOptions)
    """How a crystal becomes a graph."""
    angles_per_batch: int = 75_000
    """Bond angles computed at once (>= 1); bounds the memory, at about 25 kB each in bf16 and 45 kB in fp32."""
    cache_dir: Path = Path("data/cache/graphs")
    """Folder for built graphs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.lr_backbone, self.lr_head) <= 0 or min(self.weight_decay, self.unfreeze_every) < 0:
            raise ValueError("learning rates must be > 0, --weight-decay and --unfreeze-every >= 0")
        if self.batch_size < 2 or self.angles_per_batch < 1:
            raise ValueError("--batch-size must be at least 2 (batch normalisation), --angles-per-batch at least 1")
        if self.branch_epochs < 1:
            raise ValueError(f"--branch-epochs must be at least 1, got {self.branch_epochs}")
        if self.extra_labels is not None and self.head_features == "none":
            raise ValueError("--extra-labels teach the composition branch; add --head-features physics")
        if self.extra_structures and self.prior is not None:
            raise ValueError("--prior has none of the extra structures; leave out it or --extra-structures")
        if self.unfreeze_every and self.init == "random":
            raise ValueError("--unfreeze-every needs pretrained weights; random ones must all learn")

    @property
    def shape(self) -> NetworkShape:
        """Sizes of the network."""
        return NetworkShape(hidden=self.hidden, alignn_layers=self.alignn_layers, gcn_layers=self.gcn_layers)


def main(config: GraphTrainConfig) -> None:
    """Train or resume, and write the results."""
    set_up_log(config.log_file)
    run_training(prepare(config), config)


def prepare(config: GraphTrainConfig, parts: Sequence[str] = SPLITS) -> Task:
    """The training task of these settings, with datasets of these splits.

    Raises:
        UserError: data or weights cannot be used.
    """
    tune_memory()
    splits = read_splits(config.data_dir, config.limit)
    prior = None if config.prior is None else read_prior(config.prior, config.data_dir)
    labels = None if config.extra_labels is None else read_extra_labels(config.extra_labels, config.data_dir)
    facts = facts_of(prior, labels)
    weights = find_weights(config.init, config.models_dir / "downloads")
    model = build_model(config, weights, splits["train"])
    extra = read_extra_structures(config.data_dir, config.extra_structures, config.limit)
    structures = training_structures(config.data_dir, splits, config.structures, config.seed, extra)
    tables = {**splits, "train": structures}
    datasets = {name: dataset_of(config, name, tables[name], prior) for name in SPLITS if name in parts}
    if labels is not None:
        pretrain_branch(config, model, with_labels(splits["train"], labels))
    elif (branch := model.composition_branch) is not None:
        branch.standardise(datasets["train"].composition_features(branch.kind))
    log.info(describe(config, model, datasets))
    task = task_of(config, model, weights, splits, datasets, prior)
    learned = (prior.learned if prior else frozenset()).union(
        *(learned_literature(splits, x) for x in (labels, extra))
    )
    return replace(task, facts=facts | facts_of_structures(extra), learned=learned)


def facts_of(prior: Prior | None, labels: ExtraLabels | None) -> dict[str, Any]:
    """What metrics and checkpoints say of the prior and the extra labels.

    Raises:
        UserError: they keep another distance from the held-out materials.
    """
    said = [{} if prior is None else prior.facts, {} if labels is None else labels.metadata()]
    if prior is not None and labels is not None and said[0].get("extra_labels_exclude", said) != labels.exclude:
        raise UserError(
            f"{prior.path} was made with --exclude {said[0].get('extra_labels_exclude')}, the extra labels with "
            f"{labels.exclude}; make it with the same: {MADE_BY} --extra-labels FILE"
        )
    return said[0] | said[1]


def pretrain_branch(config: GraphTrainConfig, model: AlignnTc, learned_from: pd.DataFrame) -> None:
    """The composition branch learns Tc (K) of formulas; what it began from depends on the seed alone."""
    branch = model.composition_branch
    assert branch is not None
    features = composition_features(learned_from["formula"].tolist(), branch.kind).astype(np.float32)
    pretrain(branch, features, learned_from["tc"], model.target, config.branch_epochs, config.seed)
    log.info(f"the composition branch has learned from {len(features)} compositions, {config.branch_epochs} epochs")


def dataset_of(
    config: GraphTrainConfig, split: str, materials: pd.DataFrame | TrainingStructures, prior: Prior | None = None
) -> GraphDataset:
    """Graphs of one split; only training crystals are augmented."""
    augmentation = config.augment_structure if split == "train" and config.augment_structure.changes else None
    return GraphDataset(materials, config.graph, config.cache_dir, augmentation, config.seed, prior)


def build_model(config: GraphTrainConfig, weights: Weights | None, train: pd.DataFrame) -> AlignnTc:
    """The network with its first weights.

    Raises:
        UserError: the weights belong to a network of other sizes or to other graphs.
    """
    target = TargetTransform(config.target, torch.tensor(train["tc"].to_numpy()))
    shape = config.shape if weights is None else fitting_shape(config, weights)
    model = create_alignn_model(
        shape=shape, options=config.graph, engine=config.engine, head_features=config.head_features, target=target,
        reads_prior=config.prior is not None, seed=config.seed,
    )  # fmt: skip
    if weights is not None:
        load_strictly(model.backbone, weights.backbone, weights.origin)
    return model


def fitting_shape(config: GraphTrainConfig, weights: Weights) -> NetworkShape:
    """The weights' sizes, which must be those of the flags; so must the graphs."""
    theirs, options = weights.shape, weights.options
    for flag in ("hidden", "alignn_layers", "gcn_layers"):
        if getattr(theirs, flag) != getattr(config, flag):
            named = flag.replace("_", "-")
            raise UserError(
                f"{weights.origin} has {flag} {getattr(theirs, flag)}; add --{named} {getattr(theirs, flag)}"
            )
    if options is not None and _bonds(options) != _bonds(config.graph):
        raise UserError(f"{weights.origin} was trained on other graphs; add {_flags(options)}")
    return replace(theirs, atom_features=config.shape.atom_features)


def _bonds(options: GraphOptions) -> tuple[object, ...]:
    return (
        options.rule,
        options.cutoff_A,
        options.neighbours if options.rule == "nearest" else 0,
        options.angle_cutoff_A,
    )


def _flags(options: GraphOptions) -> str:
    flags = (
        f"--graph.rule {options.rule} --graph.cutoff-A {options.cutoff_A:g} --graph.neighbours {options.neighbours}"
    )
    return f"{flags} --graph.angle-cutoff-A {options.angle_cutoff_A}"


def task_of(
    config: GraphTrainConfig,
    model: AlignnTc,
    weights: Weights | None,
    splits: dict[str, pd.DataFrame],
    datasets: dict[str, GraphDataset],
    prior: Prior | None = None,
) -> Task:
    """The task for the training loop."""

    def micro_batches(dataset: MaterialDataset, indices: Sequence[int]) -> list[list[int]]:
        assert isinstance(dataset, GraphDataset)
        return bounded_micro_batches(dataset.angles, indices, config.batch_size, config.angles_per_batch)

    def batches(epoch: int) -> list[list[int]]:
        return bucketed_batches(train.angles_in(epoch), batch, config.seed)(epoch)

    train, batch = datasets["train"], config.batch_size * config.grad_accumulation
    return Task(
        name=config.name or "alignn",
        stem="alignn",
        model=model,
        optimizer=optimizer_of(config, model, weights is not None),
        datasets=datasets,
        splits=splits,
        collate=collator(config.graph, model.feature_kind),
        schedule=config.schedule,
        init=weights.origin if weights else "random",
        fingerprint=json.dumps(config.graph.plain(), sort_keys=True),
        structures_sha256=train.structures.fingerprint(),
        batches=batches,
        micro_batches=micro_batches,
        further=lambda materials: GraphDataset(materials, config.graph, config.cache_dir, prior=prior),
        before_epoch=unfreezer(model, config.unfreeze_every),
    )


def optimizer_of(config: GraphTrainConfig, model: AlignnTc, pretrained: bool) -> AdamW:
    """AdamW with one rate for the backbone and one for the head, each with and without weight decay."""
    new = [parameter for name, parameter in model.named_parameters() if not name.startswith("backbone.")]
    rates = (
        (list(model.backbone.parameters()), config.lr_backbone if pretrained else config.lr_head),
        (new, config.lr_head),
    )
    groups = []
    for parameters, lr in rates:
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]
        groups += [{"params": matrices, "lr": lr}, {"params": vectors, "lr": lr, "weight_decay": 0.0}]
    return AdamW(groups, weight_decay=config.weight_decay)


def unfreezer(model: AlignnTc, every: int) -> Callable[[int], None]:
    """Function of the epoch that unfreezes one more block, head first, every so many epochs (0 = all at once)."""
    unread = {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}

    def before_epoch(epoch: int) -> None:
        blocks = model.blocks()
        learning = epoch // every if every else len(blocks)
        for number, block in enumerate(blocks):
            for parameter in block.parameters():
                parameter.requires_grad_(number < learning and id(parameter) not in unread)

    return before_epoch


def describe(config: GraphTrainConfig, model: AlignnTc, datasets: dict[str, GraphDataset]) -> str:
    """One line about the network and its data."""
    sizes = ", ".join(f"{len(dataset)} {name}" for name, dataset in datasets.items())
    angles = datasets["train"].angles.mean()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"ALIGNN, {parameters:,} parameters, engine {config.engine}; {sizes} crystals, {angles:.0f} angles each"


if __name__ == "__main__":
    run(lambda: main(parse(GraphTrainConfig, prog="python -m gat_pipeline.train", description=__doc__ or "")))
