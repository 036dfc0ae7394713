"""The original ALIGNN of the alignn package on DGL graphs: the reference for the plain engine.

DGL writes a settings file to the home folder when it is imported without a backend named; this module names it, and
is itself imported only on request.

Legend: N atoms, E bonds, A angles, B crystals, D width.
"""

import os
from typing import Any

os.environ.setdefault("DGLBACKEND", "pytorch")

import dgl  # noqa: E402
from alignn.models.alignn import ALIGNN, ALIGNNConfig  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gat_pipeline.network import NetworkShape  # noqa: E402
from tc_common.errors import UserError  # noqa: E402


class DglAlignn(ALIGNN):
    """alignn's network without its last layer, fed from our batches; weights are interchangeable with `Alignn`."""

    def __init__(self, shape: NetworkShape) -> None:
        if shape.norm != "batch":
            raise UserError("--engine dgl runs the original ALIGNN, which knows batch normalisation only; use torch")
        super().__init__(
            ALIGNNConfig(
                name="alignn",
                alignn_layers=shape.alignn_layers,
                gcn_layers=shape.gcn_layers,
                atom_input_features=shape.atom_features,
                edge_input_features=shape.bond_bins,
                triplet_input_features=shape.angle_bins,
                embedding_features=shape.embedding,
                hidden_features=shape.hidden,
            )
        )
        self.shape = shape
        self.num_features = shape.hidden
        self.fc = nn.Identity()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Batch of `gat_pipeline.dataset.join` to (B, D)."""
        # alignn squeezes, which takes the batch dimension from a lone crystal
        return super().forward((*dgl_graphs(batch), batch["lattice"])).reshape(-1, self.num_features)


def dgl_graphs(batch: dict[str, Any]) -> tuple[dgl.DGLGraph, dgl.DGLGraph]:
    """Crystal graph and line graph of a batch as DGL graphs with the fields that alignn reads."""
    bonds_of_crystal = batch["crystal"][batch["source"]].bincount(minlength=len(batch["atoms"]))
    crystal_graph = dgl.graph((batch["source"], batch["target"]), num_nodes=len(batch["crystal"]))
    crystal_graph.set_batch_num_nodes(batch["atoms"])
    crystal_graph.set_batch_num_edges(bonds_of_crystal)
    crystal_graph.ndata["atom_features"] = batch["atom_features"]
    crystal_graph.edata["r"] = batch["bond_A"]
    line = dgl.graph((batch["first_bond"], batch["second_bond"]), num_nodes=len(batch["source"]))
    line.edata["h"] = batch["angle_cosine"]
    return crystal_graph, line
