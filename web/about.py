"""Where the numbers come from: what the cards of the shipped models say, and the sample's list of crystals."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import read_json
from web.uploads import LARGEST_BATCH, LARGEST_CRYSTAL, MOST_CRYSTALS

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data/sample"
TITLES = {
    "alignn": "ALIGNN, graph network",
    "dinov3": "vision network",
    "student": "graph network taught by all together",
    "composition": "trees on composition",
    "composition_with_labels": "trees on composition, all measured compositions",
    "pair": "trees and boosted trees on composition",
    "pair_with_labels": "trees and boosted trees, all measured compositions",
    "ensemble": "all together",
}


def about(folder: Path, model: str) -> dict[str, Any]:
    """The served model, and of its folder every card of a known name.

    Raises:
        UserError: the model's card cannot be read.
    """
    paths = {name: folder / f"{name}.json" for name in TITLES}
    cards = {name: _card(read_json(path)) for name, path in paths.items() if path.is_file()}
    if model not in cards:
        raise UserError(f"no {model} model is shipped in {folder}; make it with python -m prediction.ship")
    limits = {"crystal_bytes": LARGEST_CRYSTAL, "batch_bytes": LARGEST_BATCH, "batch_crystals": MOST_CRYSTALS}
    return {"model": model, "cards": cards, "titles": TITLES, "limits": limits, "git_commit": git_commit()}


def _card(card: dict[str, Any]) -> dict[str, Any]:
    """What the page says of one model; a card that lacks something leaves it out."""
    metrics = card.get("metrics", {})
    return {
        "test_mae_K": metrics.get("test", {}).get("mae_K"),
        "test_mae_interval_K": metrics.get("interval", {}).get("mae_K"),
        "test_coverage": card.get("prediction_intervals", {}).get("test_coverage"),
        "new_systems": card.get("new_systems"),
        "n_train": card.get("n_train"),
        "n_test": card.get("n_test"),
        "origin": card.get("origin"),
        "split": card.get("split", {}).get("kind"),
        "data": card.get("data"),
    }


@cache
def sample() -> tuple[dict[str, Any], ...]:
    """The sample's crystals: `id, formula, tc_K, family, pressure_GPa`."""
    with (SAMPLE / "sample.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(
            {
                "id": row["material_id"],
                "formula": row["material_id"].partition("-")[0],
                "prototype": row["prototype"],
                "tc_K": float(row["tc"]),
                "family": row["family"],
                "pressure_GPa": float(row["pressure_GPa"]),
            }
            for row in csv.DictReader(stream)
        )


def sample_cif(number: int) -> bytes:
    """The CIF of a crystal by its place in `sample()`."""
    return (SAMPLE / "cifs" / f"{sample()[number]['id']}.cif").read_bytes()
