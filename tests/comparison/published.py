"""A small project as it would be published: a folder of models, runs of two kinds, both READMEs and their claims."""

from pathlib import Path

import pandas as pd

from comparison.calibration import all_intervals
from comparison.ensemble import with_ensembles, write_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import Results, gather, write_kept_splits
from comparison.published.readme import fill
from comparison.repeats import read_runs, score_runs, summarise, write_kept_runs
from comparison.report.documents import markdown
from tc_common.files import plain, write_csv, write_json, write_text
from tests.comparison.made import make_further, make_results, read_json

FOLDERS = ("results/one", "results/kept", "results/folders")
PROSE = """# Made

The year 1986 and the number 12 stand outside.

## Results

ALIGNN errs by {mae_K:.2f} K on {n} materials (seed 7), the ensemble by {less_K:.2f} K less than
ALIGNN; `--level 0.95`, 3DSC, DINOv3 and [Lei 2018](https://doi.org/10.1080/5) hold no numbers to claim.

"""
CLAIMS = (
    ("ALIGNN errs by {:.2f} K", "results/one/alignn_metrics.json", "mae_K", 1),
    ("K on {:.0f} materials", "results/one/comparison.json", "models/alignn/score/n", 1),
    ("(seed {:.0f})", "results/one/comparison.json", "uncertainty/seed", 1),
    ("the ensemble by {:.2f} K less than ALIGNN", "results/one/comparison.json", "DIFFERENCE", -1),
)
DIFFERENCE = "differences/a=ensemble,b=alignn/mae_difference_K"


def publish(root: Path) -> Path:
    """Write all of it under `root`."""
    _folder_of_models(root / "results/one", seed=7, further=True)
    for kind in ("kept", "folders"):
        _runs(root / "results" / kind, kind == "kept")
    comparison = read_json(root / "results/one/comparison.json")
    (difference,) = [row for row in comparison["differences"] if (row["a"], row["b"]) == ("ensemble", "alignn")]
    numbers = {
        "mae_K": comparison["models"]["alignn"]["score"]["mae_K"],
        "n": comparison["n"],
        "less_K": -difference["mae_difference_K"],
    }
    blocks = "".join(f"<!-- results:begin {folder} -->\n<!-- results:end -->\n\n" for folder in FOLDERS)
    blocks += "<!-- overview:begin results/one results/folders -->\n<!-- overview:end -->\n\n"
    write_text(root / "README.md", fill(PROSE.format(**numbers) + blocks + "## Licence\n\nversion 3\n", root))
    tables = "# Results\n\n<!-- tests:begin one -->\n<!-- tests:end -->\n"
    write_text(root / "results/README.md", fill(tables, root / "results"))
    rows = [("README.md", text, file, value.replace("DIFFERENCE", DIFFERENCE), by) for text, file, value, by in CLAIMS]
    table = pd.DataFrame(rows, columns=["document", "text", "file", "value", "divided_by"])
    write_csv(root / "results/claims.csv", table)
    return root


def _folder_of_models(folder: Path, seed: int, further: bool = False) -> Results:
    """Two models whose errors differ little, so that the ensemble needs both; scores as any model writes them."""
    results = make_results(folder, {"alignn": 3.0, "dinov3": 3.2}, count=40, seed=seed)
    for number, name in enumerate(results.test if further else ()):
        make_further(folder, name, results.splits, 3.0, 100 + number, spread_K=1.0)
    results = with_ensembles(gather(folder, folder / "splits"), ["ensemble"], seed)
    write_ensembles(results, folder, 0.9)
    comparison = plain(evaluate(results, Uncertainty(resamples=200, seed=seed)))
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", markdown(comparison))
    intervals = all_intervals(results, comparison)
    assert intervals is not None
    write_csv(folder / "comparison_intervals.csv", intervals)
    write_kept_splits(folder, results.splits)
    return results


def _runs(folder: Path, keep: bool) -> None:
    """Two runs on other splits; their predictions in one table, or each run in a folder of its own."""
    made = {f"seed_{seed}": _folder_of_models(folder / f"seed_{seed}", seed) for seed in (1, 2)}
    runs = read_runs(str(folder / "seed_*"))
    scores, same_materials = score_runs(runs)
    comparison = plain(summarise(scores, same_materials, 0.95))
    write_csv(folder / "runs.csv", scores)
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", markdown(comparison))
    if keep:
        write_kept_runs(folder, runs, {name: results.splits for name, results in made.items()})
        for path in folder.glob("seed_*/*_predictions.csv"):
            path.unlink()
