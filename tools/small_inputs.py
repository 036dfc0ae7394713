"""What the small study reads beside the shipped sample, made of what a clone has: labels, a tiny JARVIS, two pages.

    python -m tools.small_inputs --out runs/study_small --page runs/study_small/published

Labels are measured compositions of `models/3dsc/known.csv`; "JARVIS" is a few crystals of the sample; the pages hold
the markers of the tables that the study fills, and no prose.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tc_common.cli import parse, run
from tc_common.files import read_csv, write_csv, write_text
from tools.layout import Study, words
from tools.stages import ROOT, Stage

LABELS, JARVIS = Path("inputs") / "supercon.csv", Path("inputs") / "jarvis"
PAGES = {"README.md": "results/3dsc", "results/README.md": "3dsc"}
"""Pages of tables, and where the results are from there."""
TABLES = ("stratified", "chemical-system")
SUPERCON, ROWS, CRYSTALS = "SuperCon", 300, 32


@dataclass(frozen=True, kw_only=True)
class InputsConfig:
    """Settings."""

    out: Path
    """Folder for the inputs."""
    page: Path
    """Folder for the pages."""


def inputs_stage(study: Study) -> Stage:
    """The stage that comes before all others of the small study."""
    pages = [study.published / name for name in PAGES]
    return Stage(
        name="inputs",
        command=words("-m tools.small_inputs --out", study.work, "--page", study.published),
        outputs=(study.work / LABELS, study.work / JARVIS, *pages),
        minutes=0.1,
        publishes=True,
    )


def main(config: InputsConfig) -> None:
    """Write all of them."""
    write_csv(config.out / LABELS, labels())
    crystals = jarvis()
    write_csv(config.out / JARVIS / "train.csv", crystals[8:])
    write_csv(config.out / JARVIS / "val.csv", crystals[:8])
    for name, results in PAGES.items():
        write_text(config.page / name, page(results))
    claims = pd.DataFrame(columns=["document", "text", "file", "value", "divided_by"])
    write_csv(config.page / "results" / "claims.csv", claims)


def labels() -> pd.DataFrame:
    """Measured compositions as SuperCon's table has them: `name`, `Tc` (K)."""
    known = read_csv(ROOT / "models" / "3dsc" / "known.csv", ("formula", "tc", "source"), "python -m prediction.ship")
    table = known[known["source"] == SUPERCON]
    return table.iloc[:: max(1, len(table) // ROWS)][["formula", "tc"]].set_axis(["name", "Tc"], axis=1)


def jarvis() -> pd.DataFrame:
    """Crystals with their text: `material_id`, `tc` (K), `cif`."""
    sample = read_csv(ROOT / "data" / "sample" / "sample.csv", ("material_id", "tc", "cif"), "data.sample.build")
    table = sample.iloc[:: len(sample) // CRYSTALS][["material_id", "tc", "cif"]]
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in table["cif"]]
    return table.assign(material_id=[f"sample{number}" for number in range(len(table))], cif=texts)


def page(results: str) -> str:
    """Markers of every table, under the heading whose numbers are checked."""
    blocks = [f"<!-- results:begin {results}/{name} -->\n<!-- results:end -->" for name in TABLES]
    return "\n\n".join(["# The study in small", "## Results", *blocks]) + "\n"


if __name__ == "__main__":
    run(lambda: main(parse(InputsConfig, prog="python -m tools.small_inputs", description=__doc__ or "")))
