"""Trees as arrays: equal to the libraries' on crystals they were not fitted on, and no file of theirs can do harm."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from baselines.models import published_forest
from baselines.pair import Pair, fitted_pair
from prediction.trees import DEEPEST, Trees, boosted_nodes, packed, read_trees, write_trees
from tc_common.chemistry import composition_features
from tc_common.errors import UserError

ELEMENTS = ["La", "Sr", "Cu", "O", "Nb", "Sn", "Fe", "As", "Mg", "B", "Y", "Ba"]
Array = np.ndarray[Any, Any]


def formulas(count: int, seed: int) -> list[str]:
    """Random compositions of four elements."""
    random = np.random.default_rng(seed)
    chosen = [random.choice(ELEMENTS, 4, replace=False) for _ in range(count)]
    return ["".join(f"{e}{random.uniform(0.1, 4):.3f}" for e in elements) for elements in chosen]


def tc_of(names: list[str]) -> Array:
    """A Tc (K) that depends on the composition, 0 for some."""
    features = composition_features(names)
    value = features[:, 0] - np.median(features[:, 0]) + 40 * features[:, -103 + 28]
    return np.maximum(value, 0.0) * 3


@pytest.fixture(scope="module")
def learned() -> tuple[list[str], Array]:
    names = formulas(300, seed=1)
    return names, tc_of(names)


@pytest.fixture(scope="module")
def pair(learned: tuple[list[str], Array]) -> Pair:
    return fitted_pair(composition_features(learned[0], "physics"), learned[1], 3)


@pytest.fixture(scope="module")
def file(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trees") / "pair.safetensors"
    write_trees(path, pair, "physics")
    return path


def test_the_pair_is_the_libraries_on_new_compositions(pair: Pair, file: Path) -> None:
    new = formulas(150, seed=2)
    features = composition_features(new, "physics")
    (theirs_K, their_std_K), (ours_K, our_std_K) = pair.predict(features), read_trees(file).predict_formulas(new)
    assert np.ptp(theirs_K) > 20
    assert ours_K == pytest.approx(theirs_K, abs=1e-3) and our_std_K == pytest.approx(their_std_K, abs=1e-3)


@pytest.mark.parametrize("vote", ["mean", "median"])
def test_the_published_trees_vote_as_scikit_learns(
    learned: tuple[list[str], Array], tmp_path: Path, vote: Any
) -> None:
    forest = published_forest(composition_features(learned[0]), learned[1], 3, trees=40)
    write_trees(tmp_path / "t.safetensors", forest, "statistics", vote)
    new = formulas(80, seed=4)
    theirs, ours = getattr(forest, vote)(composition_features(new)), read_trees(tmp_path / "t.safetensors")
    assert ours.predict_formulas(new)[0] == pytest.approx(theirs[0], abs=1e-3)
    other = forest.mean if vote == "median" else forest.median
    assert not np.allclose(other(composition_features(new))[0], theirs[0], atol=0.1), "the votes differ"


def test_fewer_published_trees_are_the_first_of_more(learned: tuple[list[str], Array]) -> None:
    features = composition_features(learned[0])
    more, fewer = (published_forest(features, learned[1], 3, trees=count) for count in (12, 5))
    assert np.array_equal(more.votes(features)[:5], fewer.votes(features))


def test_features_on_a_threshold_of_single_precision_go_as_in_scikit_learn(pair: Pair, file: Path) -> None:
    trees, grown = read_trees(file), pair.forest.model.estimators_
    features = composition_features(formulas(len(grown), seed=5), "physics")
    for row, tree in enumerate(each.tree_ for each in grown):  # the nearest number may be above the root's threshold
        features[row, trees.columns[tree.feature[0]]] = np.float32(tree.threshold[0])
    theirs, ours = pair.predict(features), trees.predict(features)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-3) and ours[1] == pytest.approx(theirs[1], abs=1e-3)


def test_one_crystal_is_predicted_as_in_any_batch(file: Path) -> None:
    trees, features = read_trees(file), composition_features(formulas(150, seed=6), "physics")
    whole = trees.predict(features)
    for row in (0, 63, 64, 149):
        alone = trees.predict(features[row : row + 1])
        assert (alone[0][0], alone[1][0]) == (whole[0][row], whole[1][row])
    assert len(trees.predict(features[:0])[0]) == 0


def test_a_file_takes_ten_bytes_for_a_leaf_of_the_forest(pair: Pair, file: Path) -> None:
    leaves = sum(tree.tree_.n_leaves for tree in pair.forest.model.estimators_)
    forest = {name: array for name, array in load_file(file).items() if name.startswith("forest.")}
    assert sum(array.nbytes for array in forest.values()) < 1.15 * 10.25 * leaves
    assert forest["forest.threshold"].dtype == np.float32 and forest["forest.value"].dtype == np.uint16


def test_leaves_of_a_boosted_tree_are_found_by_hand(tmp_path: Path) -> None:
    leaf = lambda value: {"leaf_value": value}  # noqa: E731
    split = lambda feature, threshold, left, right: {  # noqa: E731
        "split_feature": feature, "threshold": threshold, "decision_type": "<=", "left_child": left,
        "right_child": right,
    }  # fmt: skip
    tree = split(1, 0.5, split(0, 2.0, leaf(1.0), leaf(2.0)), leaf(3.0))
    nodes = boosted_nodes(tree)
    assert nodes["leaf"].tolist() == [False, False, True, True, True]
    assert nodes["ahead"].tolist() == [4, 2] and nodes["value"].tolist() == [1.0, 2.0, 3.0]


# ---- files of others ---------------------------------------------------------------------------------------------


def changed(file: Path, path: Path, change: Callable[[dict[str, Array], dict[str, Any]], None]) -> Path:
    """A copy whose arrays or description were edited."""
    arrays = {name: array.copy() for name, array in load_file(file).items()}
    with safe_open(file, framework="numpy") as opened:
        described = json.loads(opened.metadata()["trees"])
    change(arrays, described)
    save_file(arrays, path, {"trees": json.dumps(described)})
    return path


def put(name: str, index: Any, value: Any) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    """An edit of one array."""

    def change(arrays: dict[str, Array], described: dict[str, Any]) -> None:
        arrays[name][index] = value

    return change


def replace(name: str, make: Callable[[Array], Array]) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    def change(arrays: dict[str, Array], described: dict[str, Any]) -> None:
        arrays[name] = make(arrays[name])

    return change


def describe(**values: Any) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    return lambda arrays, described: described.update(values)


EDITS = {
    "a right child that is the node itself": put("forest.ahead", 0, 0),
    "a right child that is the left one": put("boosting.ahead", 3, 1),
    "a right child in another tree": put("forest.ahead", slice(None), 65535),
    "a feature that is not there": put("forest.feature", 5, 9999),
    "a threshold that is no number": put("boosting.threshold", 2, np.nan),
    "a leaf of a value that is not there": replace("forest.value", lambda a: np.full_like(a, 65535)),
    "a value beyond all temperatures": put("forest.distinct", 0, 1e30),
    "a tree of no nodes": put("forest.size", 0, 0),
    "sizes that do not add up": put("forest.size", 0, 1),
    "sizes beyond all memory": put("forest.size", 0, 2**32 - 1),
    "leaves that are inner nodes": replace("forest.leaf", np.zeros_like),
    "leaves cut off": replace("forest.leaf", lambda a: a[:-1]),
    "a threshold too few": replace("forest.threshold", lambda a: a[:-1]),
    "numbers of another kind": replace("forest.feature", lambda a: a.astype(np.int16)),
    "a table": replace("boosting.value", lambda a: a[:, None]),
    "columns that are no features": put("columns", 0, 60000),
    "unknown features": describe(features="smell"),
    "an unknown vote": describe(vote="loudest"),
    "a root that is none": describe(root=1),
    "a description of another kind": describe(features=["physics"]),
}


@pytest.mark.parametrize("edit", EDITS, ids=list(EDITS))
def test_an_edited_file_is_refused_in_one_line(file: Path, tmp_path: Path, edit: str) -> None:
    path = changed(file, tmp_path / "edited.safetensors", EDITS[edit])
    with pytest.raises(UserError, match=r"edited\.safetensors cannot be read as trees \(.*\); fetch the folder again"):
        read_trees(path)


@pytest.mark.parametrize("kind", ["missing", "cut", "text", "no trees", "other metadata"])
def test_what_is_no_such_file_is_refused_in_one_line(file: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.safetensors"
    if kind == "cut":
        path.write_bytes(file.read_bytes()[:-100])
    elif kind == "text":
        path.write_text("Dear referee,")
    elif kind == "no trees":
        save_file({"x": np.zeros(3)}, path)
    elif kind == "other metadata":
        save_file(load_file(file), path, {"trees": "[1, 2"})
    with pytest.raises(UserError) as error:
        read_trees(path)
    assert "\n" not in str(error.value) and "bad.safetensors" in str(error.value)


def test_a_tree_like_a_chain_ends_in_one_line_and_not_in_hours(file: Path, tmp_path: Path) -> None:
    nodes = 20_000  # every right child is a leaf, every left one goes on
    chain = {
        "leaf": np.array([False] * nodes + [True] * (nodes + 1)),
        "feature": np.zeros(nodes, int),
        "threshold": np.full(nodes, 1e6),
        "ahead": 2 * np.arange(nodes, 0, -1),
        "value": np.zeros(nodes + 1),
        "size": np.array([2 * nodes + 1]),
    }

    def change(arrays: dict[str, Array], described: dict[str, Any]) -> None:
        arrays.update(packed("forest", [chain], np.float32))

    trees = read_trees(changed(file, tmp_path / "chain.safetensors", change))
    with pytest.raises(UserError, match=f"deeper than {DEEPEST} nodes"):
        trees.predict_formulas(["Nb3Sn"])


def test_reading_and_predicting_import_neither_torch_nor_the_libraries(file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from prediction.trees import read_trees\n"
        f"print(read_trees(Path({str(file)!r})).predict_formulas(['Nb3Sn'])[0].shape)\n"
        "print(sorted({'torch', 'sklearn', 'lightgbm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1,)", "[]"]
    assert Trees.__module__ == "prediction.trees"
