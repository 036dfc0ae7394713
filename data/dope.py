"""Structures for the extra labels, by artificial doping of the nearest training structures.

    python -m data.dope                                                    # of data/processed/extra_labels.csv
    python -m data.dope --data-dir runs/splits --labels runs/splits/extra_labels.csv --farthest 0.1

Each label (`python -m data.supercon`) gets the structure of the training composition nearest to it, doped until the
composition is the label's (`data.doping`): pictures and graphs of 9,000 more compounds whose Tc was measured. What a
label's own structure is, nobody says; validation and test structures are never taken.

Writes into `--data-dir` `extra_structures.csv`, the CIFs in `extra_structures/`, and `extra_structures.json` (counts,
distances, what was left out and why). Trainers take them with `--extra-structures`, and `render_images.py` renders
them with the same flag.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter
from tqdm import tqdm

from data.doping import doped
from data.sources import relative
from tc_common.cli import parse, run
from tc_common.composition import element_fractions, formula_distance, fractions, nearest, parse_formula
from tc_common.crystals import CrystalError, read_crystal
from tc_common.errors import UserError
from tc_common.extra_structures import EXTRA_COLUMNS, EXTRA_STRUCTURES, ID_PREFIX
from tc_common.files import sha256, write_csv, write_json, write_text
from tc_common.labels import LABELS_FILE, ExtraLabels, read_extra_labels, report_path
from tc_common.splits import read_splits, splits_sha256

FOLDER = "extra_structures"
# A doped CIF, read again, has the label's composition to this fraction of the atoms.
SAME = 1e-4
QUANTILES = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, kw_only=True)
class DopeConfig:
    """Flags of `python -m data.dope`."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv; the structures are written there too."""
    labels: Path | None = None
    """The extra labels (default: extra_labels.csv in --data-dir)."""
    farthest: float = 1.0
    """Leave out labels farther than this fraction of the atoms from any training composition (above 0, at most 1)."""

    def __post_init__(self) -> None:
        if not 0 < self.farthest <= 1:
            raise ValueError(f"--farthest must be a fraction of the atoms, above 0 and at most 1, got {self.farthest}")


def main(config: DopeConfig) -> None:
    """Labels, nearest training structures, doped CIFs, table and report."""
    splits = read_splits(config.data_dir)
    labels = read_extra_labels(config.labels or config.data_dir / LABELS_FILE, config.data_dir)
    table = with_templates(labels.table, splits["train"])
    near = table[table["distance"] <= config.farthest]
    path = config.data_dir / EXTRA_STRUCTURES
    for earlier in (path, report_path(path)):  # they would describe CIFs that are being replaced
        earlier.unlink(missing_ok=True)
    written, reasons = write_structures(near, config.data_dir / FOLDER)
    reasons["farther than --farthest"] += len(table) - len(near)
    if written.empty:
        raise UserError(f"none of {len(table)} labels got a structure; most often: {reasons.most_common(1)[0][0]}")
    write_csv(path, written[list(EXTRA_COLUMNS)])
    digests = {"splits_sha256": splits_sha256(splits), "labels_sha256": sha256(path)}
    write_json(report_path(path), report(labels, written, reasons, config.farthest) | digests)
    print(f"wrote {len(written)} structures for {len(table)} labels to {path}")


def with_templates(labels: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Labels with an id, the training structure nearest to each (`template`, `template_cif`) and its `distance`."""
    place, distance = nearest(labels["formula"].tolist(), train["formula"].tolist())
    template = train.iloc[place].reset_index(drop=True)
    return labels.assign(
        material_id=[id_of(*pair) for pair in zip(labels["formula"], template["material_id"], strict=True)],
        template=template["material_id"],
        template_cif=template["cif"],
        weight=1.0,
        distance=distance.round(5),
    )


def id_of(formula: str, template: str) -> str:
    """The same for the same composition in the same structure alone, so that images of another one cannot pass."""
    return ID_PREFIX + hashlib.sha256(f"{formula}\t{template}".encode()).hexdigest()[:12]


def write_structures(table: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, Counter[str]]:
    """Write the CIFs; the rows that could be, with their `cif`, and how many could not, by reason."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob(f"{ID_PREFIX}*.cif"):
        earlier.unlink()
    reasons: Counter[str] = Counter()
    cifs = []
    for row in tqdm(table.itertuples(), "doping", len(table), disable=None):
        path = folder / f"{row.material_id}.cif"
        try:
            write_doped(Path(str(row.template_cif)), str(row.formula), path)
            cifs.append(relative(path))
        except CrystalError as error:
            path.unlink(missing_ok=True)
            reasons[str(error).removeprefix(f"{path}: ")[:60]] += 1
            cifs.append("")
    found = table.assign(cif=cifs)
    return found[found["cif"] != ""], reasons


def write_doped(template: Path, formula: str, path: Path) -> None:
    """Write the CIF of a training structure that was doped to a formula.

    Raises:
        CrystalError: no crystal of this composition comes of it.
    """
    crystal = doped(_template(template), element_fractions([formula])[0])
    write_text(path, str(CifWriter(crystal)))
    read = read_crystal(path)
    if (far := formula_distance(fractions(read.composition), fractions(parse_formula(formula)))) > SAME:
        raise CrystalError(f"{path}: its composition is {far:.1%} off")


@lru_cache(maxsize=512)
def _template(path: Path) -> Structure:
    return read_crystal(path)


def report(labels: ExtraLabels, written: pd.DataFrame, reasons: Counter[str], farthest: float) -> dict[str, Any]:
    """What was made of which labels, how far the templates are, and what was left out."""
    distance = written["distance"].quantile(list(QUANTILES)).round(4)
    return {
        "labels": len(labels.table),
        "structures": len(written),
        "farthest": farthest,
        "distance_of_template": {f"{quantile:.0%}": value for quantile, value in distance.items()},
        "left_out": dict(reasons.most_common()),
        "exclude": labels.exclude,
        "split": labels.split,
    }


if __name__ == "__main__":
    run(lambda: main(parse(DopeConfig, prog="python -m data.dope", description=__doc__)))
