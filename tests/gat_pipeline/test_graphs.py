"""Crystal graphs: against brute force and against alignn, and that they see what physics says they must."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Element, Lattice, Structure

from gat_pipeline import graphs
from gat_pipeline.graphs import (
    ELEMENTS,
    Cell,
    CrystalGraph,
    GraphError,
    GraphOptions,
    atom_features,
    bond_cosines,
    bonds_of,
    build_graph,
    cgcnn_table,
    line_graph,
    occupancies,
)
from tests.gat_pipeline.crystals import OPTIONS, cuprate, edges, rotated, sample_graphs, sample_structures


def brute_force(structure: Structure, neighbours: int, tolerance_A: float) -> set[tuple[int, int, tuple[int, ...]]]:
    """Bonds by trying every atom of every near cell; the definition, not an algorithm."""
    reach = range(-4, 5)
    xyz, matrix = structure.cart_coords, structure.lattice.matrix
    kept = set()
    for source in range(len(structure)):
        near = []
        for target, image in product(range(len(structure)), product(reach, reach, reach)):
            length = float(np.linalg.norm(xyz[target] + np.array(image) @ matrix - xyz[source]))
            if target != source or any(image):
                near.append((length, target, image))
        farthest = sorted(near)[neighbours - 1][0]
        for length, target, image in near:
            if length <= farthest + tolerance_A:
                kept |= {(source, target, image), (target, source, tuple(-i for i in image))}
    return kept


def test_bonds_are_those_of_brute_force() -> None:
    small = [structure for structure in sample_structures() if len(structure) <= 8][:6]
    assert len(small) == 6
    for structure in small:
        source, target, image, length_A = bonds_of(Cell.of(structure), OPTIONS)
        ours = [(int(s), int(t), tuple(map(int, i))) for s, t, i in zip(source, target, image, strict=True)]
        assert len(set(ours)) == len(ours), "a bond twice"
        assert set(ours) == brute_force(structure, 12, 1e-5)


def test_every_bond_has_its_reverse_and_at_least_twelve_leave_an_atom() -> None:
    for graph in sample_graphs():
        vectors = np.round(graph.bond_A, 3) + 0.0
        forward = {
            (s, t, *v) for s, t, v in zip(graph.source.tolist(), graph.target.tolist(), vectors.tolist(), strict=True)
        }
        back = {
            (t, s, *v)
            for s, t, v in zip(graph.source.tolist(), graph.target.tolist(), (-vectors + 0.0).tolist(), strict=True)
        }
        assert forward == back and len(forward) == len(graph.source)
        assert np.bincount(graph.source).min() >= 12
        assert (np.diff(graph.target) >= 0).all()


def test_fcc_has_its_first_shell_and_no_more() -> None:
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
    graph = build_graph(copper, OPTIONS)
    assert len(graph.source) == 4 * 12 and graph.angles == 4 * 12 * 12
    assert np.linalg.norm(graph.bond_A, axis=1) == pytest.approx(3.61 / 2**0.5, abs=1e-5)


def test_a_rotated_crystal_gives_the_same_graph() -> None:
    for number, (structure, graph) in enumerate(zip(sample_structures(), sample_graphs(), strict=True)):
        turned = build_graph(rotated(structure, number), OPTIONS)
        assert edges(turned) == edges(graph)
        lengths = [np.sort(np.linalg.norm(one.bond_A, axis=1)) for one in (graph, turned)]
        assert lengths[0] == pytest.approx(lengths[1], abs=1e-4)


def alignn_edges(structure: Structure) -> list[tuple[int, int]]:
    """The bonds of alignn's own rule at the same cutoff; its elements do not matter here."""
    from alignn.graphs import nearest_neighbor_edges
    from jarvis.core.atoms import Atoms

    atoms = Atoms(
        lattice_mat=structure.lattice.matrix.tolist(),
        coords=structure.frac_coords.tolist(),
        elements=["H"] * len(structure),
    )
    found, _ = nearest_neighbor_edges(atoms=atoms, cutoff=8.0, max_neighbors=12, use_canonize=True)
    both = [pair for (one, two), images in found.items() for _ in images for pair in ((one, two), (two, one))]
    return sorted(both)


def test_control_alignns_own_rule_changes_under_rotation_and_ours_contains_it() -> None:
    pytest.importorskip("dgl")
    changed = contained = 0
    for number, (structure, graph) in enumerate(zip(sample_structures(), sample_graphs(), strict=True)):
        before, after = alignn_edges(structure), alignn_edges(rotated(structure, number))
        changed += before != after
        contained += set(before) <= set(edges(graph))
    assert changed >= 1, "the control no longer shows what our tolerance is for"
    assert contained == len(sample_graphs())


def test_a_shell_split_by_rounding_is_closed() -> None:
    slightly = Structure(Lattice.orthorhombic(4.0, 4.000004, 4.000008), ["Po"], [[0, 0, 0]])
    with_tolerance = build_graph(slightly, GraphOptions(neighbours=2))
    without = build_graph(slightly, GraphOptions(neighbours=2, shell_tolerance_A=0.0))
    assert len(with_tolerance.source) == 6 and len(without.source) < 6


@given(st.floats(0.01, 0.99), st.floats(0.01, 1.0))
@settings(max_examples=25, deadline=None)
def test_a_mixed_site_has_the_mixtures_features(share: float, total: float) -> None:
    site = Structure(Lattice.cubic(3.8), [{"O": share * total, "F": (1 - share) * total}], [[0, 0, 0]])
    expected = total * (share * cgcnn_table()[8] + (1 - share) * cgcnn_table()[9])
    assert atom_features(occupancies(site))[0] == pytest.approx(expected, abs=1e-5)


def test_doping_changes_nodes_and_composition_but_no_bond() -> None:
    parent, doped = build_graph(cuprate(0.0), OPTIONS), build_graph(cuprate(0.1), OPTIONS)
    assert edges(parent) == edges(doped)
    assert abs(parent.atom_features - doped.atom_features).max() > 0.05
    assert doped.composition[38] == pytest.approx(0.1 / 5)
    assert doped.composition.sum() == pytest.approx(1)


def test_the_table_is_bit_for_bit_the_one_alignn_reads() -> None:
    pytest.importorskip("jarvis", reason="the original element table needs jarvis-tools")
    from jarvis.core.specie import get_node_attributes

    for number in range(1, 101):
        theirs = get_node_attributes(Element.from_Z(number).symbol, "cgcnn")
        assert cgcnn_table()[number].tolist() == theirs, number
    assert cgcnn_table().shape == (101, 92) and not cgcnn_table()[0].any()


def test_the_table_is_one_hot_and_says_where_it_is_from() -> None:
    """Group, period, electronegativity, radius, valence, ionisation, affinity, block, volume: at most one bin each."""
    widths = (19, 7, 10, 10, 12, 10, 10, 4, 10)
    bins = np.split(cgcnn_table()[1:], np.cumsum(widths)[:-1], axis=1)
    assert all(part.sum(axis=1).max() == 1 for part in bins)
    assert bins[0][28].argmax() == bins[0][46].argmax() == bins[0][78].argmax(), "Cu, Ag and Au are one group"
    said = json.loads(ELEMENTS.read_text(encoding="utf-8"))
    assert "MIT" in said["licence"] and "10.1103/PhysRevLett.120.145301" in said["source"]


# ---- angles ------------------------------------------------------------------------------------------------------


def test_line_graph_and_cosines_are_dgls_with_the_straight_ones_of_periodic_bonds() -> None:
    """DGL leaves out a bond to an atom's own image followed by itself, which a supercell would contain."""
    pytest.importorskip("dgl")
    for graph in sample_graphs()[:6]:
        first, second = line_graph(graph.source, graph.target, len(graph.atom_features))
        cosines = bond_cosines(graph.bond_A, first, second)
        ours = {(f, s): c for f, s, c in zip(first.tolist(), second.tolist(), cosines.tolist(), strict=True)}
        theirs = dgl_line_graph(graph)
        straight = {(bond, bond) for bond in np.flatnonzero(graph.source == graph.target).tolist()}
        assert len(ours) == len(first) == graph.angles
        assert ours.keys() == theirs.keys() | straight and not theirs.keys() & straight
        assert max(abs(ours[pair] - theirs[pair]) for pair in theirs) < 1e-5
        assert all(ours[pair] == pytest.approx(-1) for pair in straight)


def dgl_line_graph(graph: CrystalGraph) -> dict[tuple[int, int], float]:
    """Cosine of every pair of bonds as alignn computes it."""
    import dgl
    import torch
    from alignn.graphs import compute_bond_cosines

    reference = dgl.graph((torch.tensor(graph.source), torch.tensor(graph.target)))
    reference.edata["r"] = torch.tensor(graph.bond_A)
    line = reference.line_graph(shared=True)
    line.apply_edges(compute_bond_cosines)
    first, second = (end.tolist() for end in line.edges())
    return dict(zip(zip(first, second, strict=True), line.edata["h"].tolist(), strict=True))


def test_angles_of_a_square_net() -> None:
    bonds = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0]], np.float32)
    cosines = bond_cosines(bonds, np.array([0, 0, 0]), np.array([0, 1, 2]))
    assert cosines.tolist() == [-1, 0, 1]  # straight on, a right angle, back


# ---- what is refused ---------------------------------------------------------------------------------------------


def refused(structure: Structure, options: GraphOptions = OPTIONS) -> str:
    with pytest.raises(GraphError) as refusal:
        build_graph(structure, options)
    return str(refusal.value)


def test_an_isolated_atom_is_refused() -> None:
    assert "isolated" in refused(Structure(Lattice.cubic(9.0), ["Cu"], [[0, 0, 0]]))
    assert "isolated" in refused(Structure(Lattice.cubic(9.0), ["Cu"], [[0, 0, 0]]), GraphOptions(rule="radius"))
    build_graph(Structure(Lattice.cubic(7.9), ["Cu"], [[0, 0, 0]]), OPTIONS)


def test_atoms_that_nearly_coincide_are_refused() -> None:
    def pair(gap_A: float) -> Structure:
        return Structure(Lattice.cubic(5.0), ["Cu", "O"], [[0.0, 0.0, 0.0], [gap_A / 5, 0.0, 0.0]])

    assert "sites 0 and 1 are 0.490 Å apart" in refused(pair(0.49))
    build_graph(pair(0.51), OPTIONS)


@pytest.mark.parametrize("species", ["Lr", DummySpecies("X")])
def test_an_element_without_features_is_refused(species: Any) -> None:
    assert "without CGCNN features" in refused(Structure(Lattice.cubic(3.0), [species], [[0, 0, 0]]))


def test_too_many_angles_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LARGEST_LINE_GRAPH", 100)
    assert "bond angles; at most 100" in refused(cuprate())


@pytest.mark.parametrize("wrong", [{"cutoff_A": 0.1}, {"neighbours": 0}, {"shell_tolerance_A": -1.0}])
def test_options_that_make_no_graph_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a graph needs"):
        GraphOptions(**wrong)
