"""The plain engine is the original network: same names, same numbers, same gradients."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gat_pipeline import network
from gat_pipeline.dataset import join
from gat_pipeline.graphs import GraphOptions, build_graph
from gat_pipeline.network import COSINE_LEVELS, Alignn, NetworkShape, shape_of
from tc_common.errors import UserError
from tests.gat_pipeline.crystals import sample_graphs, sample_structures, settle

SMALL = NetworkShape(hidden=32, embedding=16, alignn_layers=2, gcn_layers=2)


def pair_of_engines(shape: NetworkShape, batch: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    pytest.importorskip("dgl")
    from gat_pipeline.dgl_engine import DglAlignn

    torch.manual_seed(0)
    reference = DglAlignn(shape)
    settle(reference, batch)
    plain = Alignn(shape)
    plain.load_state_dict(reference.state_dict(), strict=True)
    return plain.eval(), reference


def test_both_engines_agree_on_twenty_crystals() -> None:
    graphs = sorted(sample_graphs(), key=lambda graph: graph.angles)[:20]
    plain, reference = pair_of_engines(NetworkShape(), join(graphs[:10]))
    with torch.no_grad():
        ours, theirs = plain(join(graphs)), reference(join(graphs))
    assert ours.shape == (20, 256) and theirs.std(dim=0).mean() > 0.01, "nothing to compare"
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("training", [False, True])
def test_both_engines_have_the_same_gradients(training: bool) -> None:
    batch = join(sample_graphs()[:8])
    engines = pair_of_engines(SMALL, batch)
    gradients = []
    for engine in engines:
        engine.train(training)
        engine(batch).square().mean().backward()
        gradients.append({name: value.grad for name, value in engine.named_parameters() if value.grad is not None})
    ours, theirs = gradients
    assert ours.keys() == theirs.keys() and max(value.abs().max() for value in theirs.values()) > 0.01
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).abs().max() < 1e-4, name


def trained_once(batch: dict[str, Any], bf16: bool) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one training pass of the same network."""
    torch.manual_seed(0)
    net = Alignn(SMALL).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = net(batch)
    (output.float() * torch.linspace(-1, 1, output.shape[1])).sum(1).square().mean().backward()
    gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
    return {"output": output.detach(), **gradients, **dict(net.named_buffers())}


def errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> NDArray[np.float64]:
    """Relative error of everything but what is 0 but for rounding (gradients of biases before a normalisation)."""
    norms = {name: float(value.float().norm()) for name, value in exact.items()}
    return np.array([float((found[n] - exact[n]).float().norm()) / norm for n, norm in norms.items() if norm > 1e-3])


def test_rounding_cosines_costs_no_more_than_bf16_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = join(sample_graphs()[:12])
    assert len(batch["angle_cosine"]) > 2 * COSINE_LEVELS
    exact, rounded = trained_once(batch, bf16=False), trained_once(batch, bf16=True)
    monkeypatch.setattr(network, "COSINE_LEVELS", 10**6)
    unrounded = trained_once(batch, bf16=True)
    assert not torch.equal(rounded["output"], unrounded["output"]), "nothing was rounded"
    with_rounding, without = errors(rounded, exact), errors(unrounded, exact)
    changed = without > 1e-6
    ratios = with_rounding[changed] / without[changed]
    assert rounded.keys() == exact.keys() and len(ratios) > 40
    assert ratios.mean() < 1.1 and ratios.max() < 2, "129 cosines give 1.08 and 3.0, 33 give 1.3 and 7"


def test_cosines_on_the_grid_give_what_they_give_one_by_one() -> None:
    generator = torch.Generator().manual_seed(1)
    row = torch.randint(0, COSINE_LEVELS, (3 * COSINE_LEVELS,), generator=generator)
    row[: COSINE_LEVELS // 2] = COSINE_LEVELS - 1  # most cosines of a crystal are 1: a bond and its reverse
    levels, count = torch.linspace(-1, 1, COSINE_LEVELS), row.bincount(minlength=COSINE_LEVELS).float()
    found = []
    for counted in (False, True):
        torch.manual_seed(0)
        basis, first, second = cast(Any, Alignn(SMALL).train().angle_embedding)
        if counted:
            features = second.of_counted(first.of_counted(basis(levels), count), count)[row]
        else:
            features = second(first(basis(levels[row])))
        (features * torch.linspace(-1, 1, 32)).sum(1).square().mean().backward()
        parts = [*first.named_parameters(), *second.named_parameters()]
        values = [value.grad for _, value in parts] + [*first.buffers(), *second.buffers()]
        found.append([features.detach(), *[value for value in values if value is not None]])
    assert len(found[0]) == len(found[1]) == 1 + 8 + 6
    for one_by_one, together in zip(*found, strict=True):
        apart = float((one_by_one - together).float().norm())
        assert apart < 1e-3 * float(one_by_one.float().norm()) + 1e-3, "of a bias before normalisation both are 0"


def test_names_are_alignns() -> None:
    pytest.importorskip("dgl")
    from alignn.models.alignn import ALIGNN, ALIGNNConfig

    original = ALIGNN(ALIGNNConfig(name="alignn")).state_dict()
    ours = Alignn(NetworkShape()).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in original.items() if not name.startswith("fc.")
    }


def test_layer_normalisation_is_alignn_two() -> None:
    """Against alignn's own DGL-free network, on radius graphs with its angle cutoff, from its own builder."""
    pytest.importorskip("alignn")
    from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
    from alignn.torch_graph_builder import build_pure_torch_graph
    from jarvis.core.atoms import Atoms

    theirs = ALIGNNAtomWisePure(
        ALIGNNAtomWisePureConfig(
            name="alignn_atomwise_pure", atom_input_features=92, hidden_features=32, embedding_features=16,
            calculate_gradient=False, use_penalty=False, energy_mult_natoms=False,
        )
    ).eval()  # fmt: skip
    theirs.fc = nn.Identity()
    ours = Alignn(NetworkShape(hidden=32, embedding=16, alignn_layers=2, gcn_layers=2, norm="layer")).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "_species_table"}, strict=True)
    options = GraphOptions(rule="radius", cutoff_A=5.0, angle_cutoff_A=3.5)
    for structure in [structure for structure in sample_structures() if structure.is_ordered][:4]:
        atoms = Atoms(
            lattice_mat=structure.lattice.matrix.tolist(), coords=structure.frac_coords.tolist(),
            elements=[site.specie.symbol for site in structure],
        )  # fmt: skip
        crystal, line = build_pure_torch_graph(atoms, two_body_cutoff=5.0, three_body_cutoff=3.5)
        with torch.no_grad():
            expected = theirs((crystal, line, None))["out"]
            found = ours(join([build_graph(structure, options)], options.angle_cutoff_A))
        assert found == pytest.approx(np.asarray(expected), abs=2e-5)


def test_the_shape_is_read_off_the_weights() -> None:
    shape = NetworkShape(hidden=48, embedding=24, alignn_layers=3, gcn_layers=1, atom_features=94, norm="layer")
    assert shape_of(Alignn(shape).state_dict()) == shape
    assert shape_of(Alignn(SMALL).state_dict()) == SMALL
    with pytest.raises(UserError, match="no ALIGNN's: atom_embedding"):
        shape_of({"conv1.weight": torch.zeros(3, 3)})


def test_bfloat16_is_close() -> None:
    batch = join(sample_graphs()[:8])
    network = Alignn(SMALL)
    settle(network, batch)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = network(batch)
    with torch.no_grad():
        exact = network(batch)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_unread_parameters_do_not_learn_and_all_others_do() -> None:
    network = Alignn(SMALL)
    network(join(sample_graphs()[:4])).square().sum().backward()
    idle = {name for name, value in network.named_parameters() if value.grad is None}
    assert idle == {name for name, value in network.named_parameters() if not value.requires_grad}
    assert idle == {
        f"{layer}.bn_edges.{kind}"
        for layer in ("alignn_layers.1.edge_update", "gcn_layers.1")
        for kind in ("weight", "bias")
    }


def test_a_batch_of_one_crystal_trains() -> None:
    features: Tensor = Alignn(SMALL)(join(sample_graphs()[3:4]))
    assert features.shape == (1, 32) and torch.isfinite(features).all()


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"alignn_layers": 0}, {"gcn_layers": -1}])
def test_a_network_of_no_size_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NetworkShape(**wrong)  # type: ignore[arg-type]
