"""Fitted trees as arrays: written by us, read and evaluated with numpy alone, equal to the libraries' to 1e-3 K.

A forest of extra trees votes, and boosted trees add up (`baselines.pair`). Of each kind one file holds, tree after
tree and every tree in preorder: one bit a node for a leaf, and by inner node the feature, the threshold and how far
ahead the right child is; the left child is the next node. So every step goes forward, and no file can make a loop.
Leaves are rows of a table of distinct values where 16 bits can number them.

Legend: n crystals, F features, C features that vary, T trees, N nodes, I inner nodes, L leaves.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tc_common.chemistry import FeatureKind, composition_features, feature_names
from tc_common.composition import Array
from tc_common.errors import UserError, one_line
from tc_common.files import atomic_write

if TYPE_CHECKING:
    from baselines.models import Forest
    from baselines.pair import Pair

Vote: TypeAlias = Literal["mean", "median"]
Arrays: TypeAlias = dict[str, NDArray[Any]]
FOREST, BOOSTING = "forest", "boosting"
PARTS = ("leaf", "feature", "threshold", "ahead", "value", "size")
# No tree of ours is deeper than 255, none says more than 13 (the root of a Tc) or 165 K.
DEEPEST, MOST_TREES, LARGEST_VALUE = 1_000, 10_000, 1_000.0
ROWS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """Nodes of T trees, one after the other, each tree in preorder."""

    roots: NDArray[np.int64]
    """(T,) first node of each tree."""
    feature: NDArray[np.int16]
    """(N,) column that an inner node compares; -1 in a leaf."""
    threshold: Array
    """(N,) an inner node goes left where the feature is at most this; a leaf's value."""
    ahead: NDArray[np.uint16]
    """(N,) how far ahead the right child is; the left one is the next node."""

    def leaves(self, rows: Array) -> Array:
        """Value (n, T) of the leaf that each row (n, C) ends in.

        Raises:
            UserError: a tree is deeper than any of ours.
        """
        n, trees = len(rows), len(self.roots)
        at, row = np.tile(self.roots, n), np.repeat(np.arange(n), trees)
        moving = np.arange(n * trees)
        for _ in range(DEEPEST):
            node = at[moving]
            inner = self.feature[node] >= 0
            moving, node = moving[inner], node[inner]
            if not len(moving):
                return self.threshold[at].reshape(n, trees)
            left = rows[row[moving], self.feature[node]] <= self.threshold[node]
            at[moving] = node + np.where(left, 1, self.ahead[node])
        raise UserError(f"a tree is deeper than {DEEPEST} nodes; fetch the models again")


@dataclass(frozen=True, eq=False)
class Trees:
    """A forest, alone or in the mean with boosted trees."""

    features: FeatureKind
    """Composition features that the trees read."""
    vote: Vote
    root: bool
    """Whether the trees learned the root of Tc."""
    columns: NDArray[np.unsignedinteger[Any]]
    """(C,) features that the trees were fitted on."""
    forest: TreeArrays
    boosting: TreeArrays | None = None

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Tc (n,) in K and the SD of the forest's votes, of composition features (n, F)."""
        parts = [self._predict(features[at : at + ROWS_AT_ONCE]) for at in range(0, len(features), ROWS_AT_ONCE)]
        parts = parts or [(np.empty(0), np.empty(0))]
        return np.concatenate([tc_K for tc_K, _ in parts]), np.concatenate([std_K for _, std_K in parts])

    def predict_formulas(self, formulas: Sequence[str]) -> tuple[Array, Array]:
        """The same of chemical formulas."""
        return self.predict(composition_features(formulas, self.features))

    def _predict(self, features: Array) -> tuple[Array, Array]:
        rows = features[:, self.columns]
        votes = self.forest.leaves(rows.astype(np.float32).astype(float))  # scikit-learn compares single precision
        votes_K = votes**2 if self.root else votes
        tc_K = np.median(votes_K, axis=1) if self.vote == "median" else votes_K.mean(axis=1)
        if self.boosting is not None:
            tc_K = (tc_K + np.maximum(self.boosting.leaves(rows).sum(axis=1), 0.0) ** 2) / 2
        return tc_K, votes_K.std(axis=1)


# ---- writing -----------------------------------------------------------------------------------------------------


def write_trees(path: Path, fitted: "Pair | Forest", features: FeatureKind, vote: Vote = "median") -> None:
    """Write fitted trees, whole or not at all.

    Args:
        features: kind of features that they were fitted on.
    """
    forest: Any = getattr(fitted, "forest", fitted)
    boosting = getattr(fitted, "boosting", None)
    arrays: Arrays = {"columns": np.flatnonzero(forest.columns).astype(np.uint16)}
    arrays |= packed(FOREST, [grown_nodes(each.tree_) for each in forest.model.estimators_], np.float32)
    if boosting is not None:
        info = boosting.dump_model()["tree_info"]
        arrays |= packed(BOOSTING, [boosted_nodes(tree["tree_structure"]) for tree in info], np.float64)
    described = {"features": features, "vote": vote, "root": forest.root}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(arrays, {"trees": json.dumps(described)}))


def grown_nodes(tree: Any) -> Arrays:
    """Nodes of a tree of scikit-learn, which keeps them in preorder."""
    number, leaf = np.arange(tree.node_count), tree.children_left < 0
    inner = ~leaf
    assert (tree.children_left[inner] == number[inner] + 1).all(), "nodes in preorder"
    threshold = tree.threshold[inner]
    single = threshold.astype(np.float32)
    # a number of single precision is at most the threshold if it is at most the threshold rounded down
    single = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    ahead = tree.children_right[inner] - number[inner]
    return {
        "leaf": leaf, "feature": tree.feature[inner], "threshold": single, "ahead": ahead,
        "value": tree.value[leaf, 0, 0], "size": np.array([len(leaf)]),
    }  # fmt: skip


def boosted_nodes(tree: dict[str, Any]) -> Arrays:
    """Nodes of a tree of LightGBM."""
    leaf: list[bool] = []
    feature, threshold, value, inner = [], [], [], []
    right = {}
    waiting = [(tree, -1)]
    while waiting:
        node, parent = waiting.pop()
        number = len(leaf)
        right[parent] = number  # of the two children the right one comes later
        leaf.append("leaf_value" in node)
        if leaf[-1]:
            value.append(node["leaf_value"])
            continue
        assert node["decision_type"] == "<=", "no categories"
        inner.append(number)
        feature.append(node["split_feature"])
        threshold.append(node["threshold"])
        waiting += [(node["right_child"], number), (node["left_child"], number)]
    return {
        "leaf": np.array(leaf), "feature": np.array(feature, int), "threshold": np.array(threshold, float),
        "ahead": np.array([right[number] - number for number in inner], int), "value": np.array(value),
        "size": np.array([len(leaf)]),
    }  # fmt: skip


def packed(name: str, trees: Sequence[Arrays], precision: type[np.floating[Any]]) -> Arrays:
    """Arrays of many trees by the names in the file; thresholds in this precision."""
    joined = {part: np.concatenate([tree[part] for tree in trees]) for part in PARTS}
    assert joined["ahead"].max(initial=0) < 2**16, "a tree of more than 65,535 nodes"
    distinct, index = np.unique(joined["value"], return_inverse=True)
    values: Arrays = {"value": joined["value"].astype(np.float32)}
    if len(distinct) <= 2**16:
        values = {"value": index.astype(np.uint16), "distinct": distinct.astype(np.float64)}
    arrays: Arrays = {
        "leaf": np.packbits(joined["leaf"]), "feature": joined["feature"].astype(np.uint16),
        "threshold": joined["threshold"].astype(precision), "ahead": joined["ahead"].astype(np.uint16),
        "size": joined["size"].astype(np.uint32), **values,
    }  # fmt: skip
    return {f"{name}.{part}": array for part, array in arrays.items()}


# ---- reading -----------------------------------------------------------------------------------------------------


def read_trees(path: Path) -> Trees:
    """Trees that `write_trees` wrote.

    Raises:
        UserError: the file is missing, cut, or its arrays make no trees.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            described = json.loads((file.metadata() or {})["trees"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _trees(described, arrays)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as trees ({one_line(error, 200)}); fetch the folder again") from error


def _trees(described: dict[str, Any], arrays: Arrays) -> Trees:
    """Check everything that a prediction relies on."""
    features, vote, root = described["features"], described["vote"], described["root"]
    _require(
        features in get_args(FeatureKind) and vote in get_args(Vote) and isinstance(root, bool), "its description"
    )
    columns = _integers(arrays, "columns")
    _require((columns < len(feature_names(features))).all() and len(columns) < 2**15, "its columns")
    forest = _unpacked(arrays, FOREST, len(columns))
    boosting = _unpacked(arrays, BOOSTING, len(columns)) if f"{BOOSTING}.leaf" in arrays else None
    return Trees(features, vote, root, columns, forest, boosting)


def _unpacked(arrays: Arrays, name: str, columns: int) -> TreeArrays:
    """Nodes of all trees of a kind."""
    size, ahead, feature = (_integers(arrays, f"{name}.{part}") for part in ("size", "ahead", "feature"))
    value, threshold = _values(arrays, name), _numbers(arrays[f"{name}.threshold"])
    ends = np.cumsum(size, dtype=np.int64)
    _require(0 < len(size) <= MOST_TREES and (size > 0).all(), f"{name}.size")
    bits = arrays[f"{name}.leaf"]
    _require(bits.dtype == np.uint8 and len(bits) == -(-ends[-1] // 8), f"{name}.leaf")
    leaf = np.unpackbits(bits, count=ends[-1]).astype(bool)
    inner = np.flatnonzero(~leaf)
    _require(len(value) == leaf.sum() and len(threshold) == len(feature) == len(ahead) == len(inner), f"{name}.leaf")
    end = np.repeat(ends, size)[inner]
    _require(ahead.dtype == np.uint16 and (ahead >= 2).all() and (inner + ahead < end).all(), f"{name}.ahead")
    _require((feature < columns).all(), f"{name}.feature")
    n = len(leaf)
    nodes = TreeArrays(ends - size, np.full(n, -1, np.int16), np.empty(n), np.zeros(n, np.uint16))
    nodes.feature[inner], nodes.ahead[inner] = feature, ahead
    nodes.threshold[inner], nodes.threshold[leaf] = threshold, value
    return nodes


def _values(arrays: Arrays, name: str) -> Array:
    """Value (L,) of each leaf."""
    value = arrays[f"{name}.value"]
    numbered = value.dtype == np.uint16
    distinct = _numbers(arrays[f"{name}.distinct"] if numbered else value)
    _require((np.abs(distinct) <= LARGEST_VALUE).all(), f"{name}.value")
    if not numbered:
        return distinct
    _require(value.ndim == 1 and (value < len(distinct)).all(), f"{name}.value")
    return distinct[value]


def _numbers(array: NDArray[Any]) -> Array:
    _require(array.ndim == 1 and array.dtype.kind == "f" and bool(np.isfinite(array).all()), "a list of numbers")
    return array


def _integers(arrays: Arrays, name: str) -> NDArray[np.unsignedinteger[Any]]:
    array = arrays[name]
    _require(array.ndim == 1 and array.dtype.kind == "u", name)
    return array


def _require(fits: Any, what: str) -> None:
    if not fits:
        raise ValueError(f"{what} does not fit the trees")
