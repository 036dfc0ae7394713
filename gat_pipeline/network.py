"""ALIGNN in plain PyTorch, with alignn's parameter names, so that published weights load strictly.

Architecture: Choudhary & DeCost 2021 (doi 10.1038/s41524-021-00650-1). Sums over neighbours are `index_add_`, so it
runs wherever PyTorch does. Computations without a reader are left out: the angle update of the last line-graph layer
and the bond update of the last crystal-graph layer.

The embedding of an angle is a function of its cosine alone. Trained in bf16 on a processor, it is computed for
`COSINE_LEVELS` cosines instead of every angle, rounded to the nearest: a rounding no larger than that of bf16 itself.

Legend: N atoms, E bonds, A angles, B crystals, D width of a hidden feature, R rows of a table.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tc_common.errors import UserError

# The basis functions of a cosine change by at most 3.8 a unit (e^-0.5 sqrt(2 gamma), gamma 19.5): half a step of this
# grid changes them by 1.9e-3, rounding to bf16 by 2.0e-3 (between 0.5 and 1).
COSINE_LEVELS = 2049


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Sizes of an ALIGNN; the defaults are the published ones."""

    alignn_layers: int = 4
    """Layers on crystal graph and line graph (>= 1)."""
    gcn_layers: int = 4
    """Layers on the crystal graph alone (>= 1)."""
    atom_features: int = 92
    """Features of an atom."""
    bond_bins: int = 80
    """Radial basis functions of a bond length, 0 to 8 Å."""
    angle_bins: int = 40
    """Basis functions of a bond cosine, -1 to 1."""
    embedding: int = 64
    """Width of the first embedding of bonds and angles."""
    hidden: int = 256
    """Width D of every other layer."""
    norm: Literal["batch", "layer"] = "batch"
    """Normalisation: of a batch (ALIGNN) or of each feature vector (ALIGNN 2.0)."""

    def __post_init__(self) -> None:
        if min(value for value in asdict(self).values() if isinstance(value, int)) < 1:
            raise ValueError("every size of the network must be at least 1")

    def plain(self) -> dict[str, Any]:
        """The sizes as JSON-ready values; `NetworkShape(**plain)` gives them back."""
        return asdict(self)


def shape_of(weights: dict[str, Tensor]) -> NetworkShape:
    """Sizes of the network that these weights belong to.

    Raises:
        UserError: they are no ALIGNN's.
    """
    try:
        hidden, atom_features = weights["atom_embedding.layer.0.weight"].shape
        embedding, bond_bins = weights["edge_embedding.1.layer.0.weight"].shape
        angle_bins = weights["angle_embedding.1.layer.0.weight"].shape[1]
    except KeyError as error:
        raise UserError(f"these weights are no ALIGNN's: {error.args[0]} is missing") from error
    except (ValueError, IndexError) as error:
        raise UserError("these weights are no ALIGNN's: an embedding is no matrix") from error
    return NetworkShape(
        alignn_layers=_layers(weights, "alignn_layers"),
        gcn_layers=_layers(weights, "gcn_layers"),
        atom_features=atom_features,
        bond_bins=bond_bins,
        angle_bins=angle_bins,
        embedding=embedding,
        hidden=hidden,
        norm="batch" if "atom_embedding.layer.1.running_mean" in weights else "layer",
    )


def _layers(weights: dict[str, Tensor], name: str) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith(f"{name}.")})


def normalisation(shape: NetworkShape, width: int) -> nn.Module:
    """The layer that alignn calls `bn_…`, whichever it is."""
    return nn.BatchNorm1d(width) if shape.norm == "batch" else nn.LayerNorm(width)


class RadialBasis(nn.Module):
    """Gaussians at evenly spaced centres; their width is the square root of the spacing, as in alignn."""

    centers: Tensor

    def __init__(self, least: float, most: float, bins: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(least, most, bins))
        self.gamma = (bins - 1) / (most - least)

    def forward(self, values: Tensor) -> Tensor:
        """(E,) to (E, bins)."""
        return torch.exp(-self.gamma * (values.unsqueeze(1) - self.centers) ** 2)


class Embedding(nn.Module):
    """Linear layer, normalisation, SiLU."""

    def __init__(self, shape: NetworkShape, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(inputs, outputs), normalisation(shape, outputs), nn.SiLU())

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return self.layer(features)

    def of_counted(self, features: Tensor, count: Tensor) -> Tensor:
        """The same where row r of `features` (R, inputs) is that of `count[r]` samples of the batch: (R, outputs)."""
        linear, norm, activation = self.layer
        features = linear(features)
        if isinstance(norm, nn.BatchNorm1d) and norm.training:
            return activation(batch_norm_of_counted(norm, features.float(), count))
        return activation(norm(features))


def batch_norm_of_counted(norm: nn.BatchNorm1d, features: Tensor, count: Tensor) -> Tensor:
    """Batch normalisation, running statistics included, of a batch with `count[r]` samples (R,) like row r (R, D)."""
    total = count.sum()
    weight = (count / total).unsqueeze(1)
    mean = (weight * features).sum(0)  # no matrix product: autocast would make it one in bf16
    variance = (weight * (features - mean) ** 2).sum(0)
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (total / (total - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
    return (features - mean) * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


def rows_of(table: Tensor, row: Tensor | None) -> Tensor:
    """The features of every sample: rows (A,) of a table (R, D), or the table itself where each sample has its own."""
    return table if row is None else table.index_select(0, row)


class EdgeGatedConvolution(nn.Module):
    """Edge-gated graph convolution (arXiv:1711.07553) on any graph; `nodes` may be atoms or bonds."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        width = shape.hidden
        self.src_gate = nn.Linear(width, width)
        self.dst_gate = nn.Linear(width, width)
        self.edge_gate = nn.Linear(width, width)
        self.bn_edges = normalisation(shape, width)
        self.src_update = nn.Linear(width, width)
        self.dst_update = nn.Linear(width, width)
        self.bn_nodes = normalisation(shape, width)

    def forward(
        self,
        nodes: Tensor,
        edges: Tensor,
        source: Tensor,
        target: Tensor,
        keep_edges: bool = True,
        row: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Update nodes (N, D) and edges (E, D); without `keep_edges` the new edges are not computed.

        Args:
            row: row of `edges` that each edge has (E,), where `edges` is a table of fewer.
        """
        from_source, from_target, message, own = self._node_products(nodes)
        gate_input = rows_of(self.edge_gate(edges), row)
        gate_input = gate_input + from_source.index_select(0, source) + from_target.index_select(0, target)
        gate = torch.sigmoid(gate_input)
        gathered = torch.zeros_like(own).index_add_(0, target, gate * message.index_select(0, source))
        weight = torch.zeros_like(own).index_add_(0, target, gate)
        new_nodes = nodes + functional.silu(self.bn_nodes(own + gathered / (weight + 1e-6)))
        return new_nodes, rows_of(edges, row) + functional.silu(self.bn_edges(gate_input)) if keep_edges else None

    def _node_products(self, nodes: Tensor) -> tuple[Tensor, ...]:
        """The four linear maps of the nodes as one product: reads the nodes once instead of four times."""
        maps = (self.src_gate, self.dst_gate, self.dst_update, self.src_update)
        weight = torch.cat([linear.weight for linear in maps])
        bias = torch.cat([linear.bias for linear in maps])
        return functional.linear(nodes, weight, bias).chunk(4, dim=1)


class LineGraphLayer(nn.Module):
    """One convolution over bonds between atoms, then one over angles between bonds."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.node_update = EdgeGatedConvolution(shape)
        self.edge_update = EdgeGatedConvolution(shape)

    def forward(
        self,
        atoms: Tensor,
        bonds: Tensor,
        angles: Tensor,
        batch: dict[str, Any],
        keep_angles: bool,
        row: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Update atoms (N, D), bonds (E, D) and angles (A, D), or a table of angles (R, D) and each angle's row."""
        atoms, bonds = self.node_update(atoms, bonds, batch["source"], batch["target"])
        bonds, angles = self.edge_update(bonds, angles, batch["first_bond"], batch["second_bond"], keep_angles, row)
        return atoms, bonds, angles


class Alignn(nn.Module):
    """ALIGNN up to the mean over atoms: a batch of graphs to one vector (B, D) per crystal."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.num_features = shape.hidden
        self.atom_embedding = Embedding(shape, shape.atom_features, shape.hidden)
        self.edge_embedding = _two_step_embedding(shape, RadialBasis(0.0, 8.0, shape.bond_bins))
        self.angle_embedding = _two_step_embedding(shape, RadialBasis(-1.0, 1.0, shape.angle_bins))
        over_angles = [LineGraphLayer(shape) for _ in range(shape.alignn_layers)]
        over_bonds = [EdgeGatedConvolution(shape) for _ in range(shape.gcn_layers)]
        for unread in (over_angles[-1].edge_update.bn_edges, over_bonds[-1].bn_edges):
            unread.requires_grad_(False)  # kept for their names in published weights; their result is never read
        self.alignn_layers, self.gcn_layers = nn.ModuleList(over_angles), nn.ModuleList(over_bonds)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Batch of `gat_pipeline.dataset.collate` to (B, D)."""
        _check(batch, self.shape)
        source, target = batch["source"], batch["target"]
        atoms = self.atom_embedding(batch["atom_features"])
        bonds = self.edge_embedding(batch["bond_A"].norm(dim=1))
        angles, row = self._angles(batch["angle_cosine"])
        for number, layer in enumerate(self.alignn_layers, start=1):
            read = number < len(self.alignn_layers)
            atoms, bonds, angles = layer(atoms, bonds, angles, batch, read, row)
            row = None
        for number, layer in enumerate(self.gcn_layers, start=1):
            atoms, bonds = layer(atoms, bonds, source, target, keep_edges=number < len(self.gcn_layers))
        return mean_over_atoms(atoms, batch["crystal"], batch["atoms"])

    def _angles(self, cosine: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embedded angles (A, D), or where cosines are rounded a table (R, D) of them and each angle's row (A,)."""
        device = cosine.device.type
        # CUDA sums the gradients of a row in bf16, which a row of thousands of angles does not bear
        rounds = self.training and device == "cpu" and torch.is_autocast_enabled(device)
        if not rounds or len(cosine) < 2 * COSINE_LEVELS:
            return self.angle_embedding(cosine), None
        row = ((cosine + 1) * ((COSINE_LEVELS - 1) / 2)).round().long()
        count = row.bincount(minlength=COSINE_LEVELS).to(cosine.dtype)
        basis, first, second = cast(Any, self.angle_embedding)
        levels = basis(torch.linspace(-1, 1, COSINE_LEVELS, device=cosine.device))
        return second.of_counted(first.of_counted(levels, count), count).bfloat16(), row


def _two_step_embedding(shape: NetworkShape, basis: RadialBasis) -> nn.Sequential:
    return nn.Sequential(
        basis, Embedding(shape, len(basis.centers), shape.embedding), Embedding(shape, shape.embedding, shape.hidden)
    )


def mean_over_atoms(atoms: Tensor, crystal: Tensor, count: Tensor) -> Tensor:
    """Mean of the atoms (N, D) of each crystal, in float32; `crystal` (N,) is an atom's crystal, `count` (B,)."""
    sums = atoms.new_zeros((len(count), atoms.shape[1]), dtype=torch.float32)
    return sums.index_add_(0, crystal, atoms.float()) / count.unsqueeze(1)


def _check(batch: dict[str, Any], shape: NetworkShape) -> None:
    """Check shapes where data enters."""
    bonds, angles = batch["bond_A"].shape, batch["angle_cosine"].shape
    assert batch["atom_features"].shape[1] == shape.atom_features, "graphs and network differ in atom features"
    assert bonds == (len(batch["source"]), 3) and len(batch["source"]) == len(batch["target"])
    assert len(angles) == 1 and len(batch["first_bond"]) == len(batch["second_bond"]) == angles[0]
    assert len(batch["crystal"]) == len(batch["atom_features"]) and batch["atoms"].ndim == 1
