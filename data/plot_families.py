"""Draw the histograms of Tc by family in the dataset card.

    python -m data.prepare --source 3DSC_MP.tar.gz --out runs/3dsc && python -m data.plot_families --data-dir runs/3dsc

Writes data/tc_by_family.png, the figure of data/README.md.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.families import FAMILIES
from tc_common.cli import parse, run
from tc_common.files import atomic_write, read_csv

BINS_K = list(range(0, 141, 5))
COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class PlotConfig:
    """Flags of `python -m data.plot_families`."""

    data_dir: Path = Path("data/processed")
    """Folder with the materials.csv of `python -m data.prepare`."""
    out: Path = Path("data/tc_by_family.png")
    """Image to write."""


def main(config: PlotConfig) -> None:
    """One panel a family: number of superconductors per 5 K, and how many others were measured."""
    materials = read_csv(config.data_dir / "materials.csv", ("family", "tc"), "python -m data.prepare")
    rows = -(-len(FAMILIES) // COLUMNS)
    figure = Figure(figsize=(10, 2.1 * rows), dpi=80, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True).flat
    for name, panel in zip(FAMILIES, panels, strict=False):  # the last panels stay empty
        draw(panel, name, materials["tc"][materials["family"] == name])
    for panel in list(figure.axes)[len(FAMILIES) :]:
        panel.set_axis_off()
    figure.supxlabel("critical temperature (K), bins of 5 K")
    figure.supylabel("superconductors in a bin")
    with atomic_write(config.out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    print(f"wrote {config.out}: {len(materials)} materials")


def draw(panel: Axes, name: str, tc_K: pd.Series) -> None:
    """Histogram of one family on a logarithmic scale."""
    superconducting = tc_K[tc_K > 0]
    panel.hist(superconducting, bins=BINS_K, color="#33658a")
    panel.set_yscale("log")
    panel.set_ylim(0.7, 3000)
    panel.set_title(
        f"{name}\n{len(superconducting)} superconductors, {len(tc_K) - len(superconducting)} at 0 K", fontsize=8
    )
    panel.tick_params(labelsize=7)


if __name__ == "__main__":
    run(lambda: main(parse(PlotConfig, prog="python -m data.plot_families", description=__doc__)))
