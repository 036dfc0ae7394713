"""Compare the structure chosen for each composition of 3DSC with structures from the literature.

SUPERVISION_DATA=folder OMP_NUM_THREADS=1 python -m benchmarks.chosen_structures

reads `3dsc/3DSC_MP.tar.gz` below that folder and the shipped sample, writes
`benchmarks/results/chosen_structures.json` (minutes). A structure is right where pymatgen's StructureMatcher, with its
defaults, maps it on the one from the literature; a site with several elements counts as its main one. Compounds count
that have several structures in 3DSC, at least one of them right. The dataset card data/README.md quotes the result.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from benchmarks._machine import machine
from benchmarks._real_crystals import archive_3dsc
from data.materials import OTHER_STRUCTURE, add_keys, chosen_ids
from data.prepare import PrepareConfig, materials_rows
from data.sources import SAMPLE_DIR, open_source
from data.tables import check_rows, included, rows_sample
from tc_common.cli import run
from tc_common.crystals import read_crystal
from tc_common.files import write_json

OUT = Path(__file__).parent / "results" / "chosen_structures.json"
Rule = Callable[[pd.DataFrame], pd.Series]  # from structures to the chosen id of each key


def in_order(*columns: str) -> Rule:
    """The first structure of each composition in the order of these columns, after formula distance and undoped."""
    order = ["key", "steps", "doped", *columns]
    return lambda rows: rows.sort_values(order).groupby("key")["material_id"].first()


# The rule in use, the one before it, and others that need nothing but the tables.
RULES: dict[str, Rule] = {
    "oldest entry (in use)": chosen_ids,
    "first id as text (before)": in_order("material_id"),
    "most formulas on the same parent": in_order("fewer_on_parent", "material_id"),
    "fewest sites": in_order("sites", "material_id"),
    "smallest volume per atom": in_order("volume_per_atom_A3", "material_id"),
}


def benchmark() -> None:
    """Count by each rule the compounds whose chosen structure is right, and write the counts."""
    archive = archive_3dsc()
    if archive is None:
        return
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen mentions elements without a radius
        structures = structures_of(archive, Path(scratch))
        pairs = compare(add_keys(included(check_rows(rows_sample(SAMPLE_DIR)))), structures)
    chosen = {name: rule(structures) for name, rule in RULES.items()}
    write_json(OUT, report(structures, pairs, chosen))
    print(f"wrote {OUT}")


def structures_of(archive: Path, scratch: Path) -> pd.DataFrame:
    """All usable structures of 3DSC with what the rules sort by."""
    rows = materials_rows(open_source(str(archive), scratch / "unpacked"), PrepareConfig())
    rows = rows[rows["status"].isin(("", OTHER_STRUCTURE))]
    on_parent = rows["parent"].map(rows.groupby("parent")["key"].nunique())
    return rows.assign(steps=rows["distance"].astype(float).round(4), fewer_on_parent=-on_parent)


def compare(literature: pd.DataFrame, structures: pd.DataFrame) -> pd.DataFrame:
    """Each literature structure with each of the structures of its composition, where there are two or more.

    Columns `compound`, `key`, `material_id`, and `right`: whether they match.
    """
    matcher = StructureMatcher()
    rows: list[tuple[str, str, str, bool]] = []
    for compound in literature.itertuples():
        candidates = structures[structures["key"] == compound.key]
        measured = main_elements(Path(compound.cif))
        for found in candidates.itertuples() if len(candidates) > 1 else ():
            matches = matcher.fit(measured, main_elements(Path(found.cif)))
            rows.append((compound.material_id, compound.key, found.material_id, matches))
    return pd.DataFrame(rows, columns=["compound", "key", "material_id", "right"])


def main_elements(cif: Path) -> Structure:
    """The structure with the main element alone on each site (the first by symbol where two have equal parts)."""
    structure = read_crystal(cif)
    amounts = [
        sorted(site.species.get_el_amt_dict().items(), key=lambda pair: (-pair[1], pair[0])) for site in structure
    ]
    return Structure(structure.lattice, [site[0][0] for site in amounts], structure.frac_coords)


def report(structures: pd.DataFrame, pairs: pd.DataFrame, chosen: dict[str, pd.Series]) -> dict[str, Any]:
    """Counts over all structures and over the compounds with a right one."""
    decisive = pairs[pairs.groupby("compound")["right"].transform("any")]
    compounds = decisive.groupby("compound")
    right = {
        name: decisive["right"] & (decisive["material_id"] == decisive["key"].map(ids)) for name, ids in chosen.items()
    }
    in_use, before = list(chosen.values())[:2]
    found = set(decisive["compound"][right[next(iter(chosen))]])
    return {
        "machine": machine(),
        "compositions": structures["key"].nunique(),
        "with_multiple_structures": int((structures.groupby("key").size() > 1).sum()),
        "changed_by_the_rule_in_use": int((in_use != before.reindex(in_use.index)).sum()),
        "compounds_with_a_right_structure": len(compounds),
        "right_by_rule": {name: int(hits.sum()) for name, hits in right.items()},
        "expected_of_a_random_choice": round(float(compounds["right"].mean().sum()), 1),
        "wrong_by_the_rule_in_use": sorted(set(decisive["compound"]) - found),
    }


if __name__ == "__main__":
    run(benchmark)
