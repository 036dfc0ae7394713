"""Fit the study's models on composition again and write them as arrays; the compounds with a measured Tc.

The fits are the study's to the bit: same rows, same seed, one thread. What is shipped may have fewer trees.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from baselines.models import TREES, published_forest
from baselines.pair import KIND, fitted_pair, with_labels
from baselines.run import NAME as COMPOSITION
from baselines.run import WITH_LABELS
from prediction.known import known_table
from prediction.study import Study
from prediction.trees import Vote, write_trees
from tc_common.chemistry import composition_features
from tc_common.cli import log
from tc_common.errors import UserError
from tc_common.files import read_csv
from tc_common.labels import LABELS_FILE, ExtraLabels, read_extra_labels

# Of the published trees' candidates, those that are trees, and how they vote.
VOTES: dict[str, Vote] = {"extra_trees": "mean", "extra_trees_median": "median"}
LEDGER, LEDGER_COLUMNS = "extra_labels_ledger.csv", ("name", "tc", "status")


def ship_trees(path: Path, name: str, study: Study, labels: ExtraLabels | None, trees: int) -> dict[str, Any]:
    """Fit one model and write it; what its card says of it.

    Args:
        labels: the study's extra labels, for the models that learned from them.
        trees: write no more of the published trees.

    Raises:
        UserError: the study's model is no forest, or learned from other labels.
    """
    metrics = study.metrics(name)
    own = labels_of(name, metrics, labels)
    learned, seed = with_labels(study.splits["train"], own), metrics["seeds"][0]
    formulas, tc_K = learned["formula"].tolist(), learned["tc"].to_numpy(float)
    metadata = {"seed": seed, "n_train": len(learned), "labels": own.metadata() if own else None}
    if not name.startswith(COMPOSITION):
        write_trees(path, fitted_pair(composition_features(formulas, KIND), tc_K, seed), KIND)
        return {**metadata, "kind": "pair"}
    kind = metrics["chosen"]
    if kind not in VOTES:
        raise UserError(f"the study's {name} is {kind}, which is no forest; ship an ensemble without it")
    forest = published_forest(composition_features(formulas), tc_K, seed, min(trees, TREES))
    write_trees(path, forest, "statistics", VOTES[kind])
    return {**metadata, "kind": kind, "trees": min(trees, TREES)}


def labels_of(name: str, metrics: dict[str, Any], labels: ExtraLabels | None) -> ExtraLabels | None:
    """The labels that a model of this name learned from."""
    if not name.endswith(WITH_LABELS):
        return None
    if labels is None:
        raise UserError(f"{name} learned from extra labels; name them: --extra-labels")
    known = {key: metrics.get(key) for key in labels.metadata()}
    if known != labels.metadata():
        raise UserError(f"{name} learned from other labels ({known}) than --extra-labels; name the study's")
    return labels


def find_labels(path: Path | None, data_dir: Path) -> ExtraLabels | None:
    """The labels at `path`, by default those in the folder of the splits; None where there are none."""
    if path is None:
        path = data_dir / LABELS_FILE
        if not path.is_file():
            return None
    return read_extra_labels(path, data_dir)


def shipped_known(splits: dict[str, pd.DataFrame], path: Path | None, data_dir: Path) -> pd.DataFrame:
    """Table of known compounds, of SuperCon's rows too where their audit log lies beside the labels."""
    ledger = (path.parent if path else data_dir) / LEDGER
    if not ledger.is_file():
        log.warning(f"{ledger} is missing: known.csv holds no compounds of SuperCon (python -m data.supercon)")
        return known_table(splits)
    return known_table(splits, read_csv(ledger, LEDGER_COLUMNS, "python -m data.supercon"))
