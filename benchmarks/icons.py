"""Predict fourteen compounds that everybody knows with the shipped models.

    python -m benchmarks.icons

writes `benchmarks/results/icons.json` and the table `docs/icons.md` (seconds). Structures and measured Tc are those of
the shipped sample (data/sample/sample.csv names their sources); two compounds are not in it and are made from one that
is by `Predictor.substitute`'s own rule, with the lattice and positions of that parent.

A prediction is right within 25 % of the measured Tc. Most of these compositions were measured so often that they are
in the training data: the table shows that the predictor knows them, not that it predicts unknown compounds as well.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pymatgen.core import Structure

from prediction import Predictor, load_predictor
from prediction.doping import substituted
from prediction.prediction import interval
from tc_common.cli import run
from tc_common.crystals import read_crystal
from tc_common.files import read_csv, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data/sample/sample.csv"
OUT, PAGE = ROOT / "benchmarks/results/icons.json", ROOT / "docs/icons.md"
RIGHT = 0.25
# Of one site's oxygen, filled to 41 %, nothing is left.
EXCESS_OXYGEN = "O9"


@dataclass(frozen=True)
class Icon:
    """A compound, its crystal in the sample, and what is exchanged in that."""

    formula: str
    material_id: str
    exchange: tuple[str, str, float] | None = None
    """Old, new, fraction."""
    tc_K: float | None = None
    """Measured, where the sample's row is of another composition."""
    source: str = ""


ICONS = (
    Icon("MgB2", "MgB2-AlB2"),
    Icon("La1.85Sr0.15CuO4", "La1.85Sr0.15CuO4-K2NiF4"),
    Icon("YBa2Cu3O6.93", "YBa2Cu3O6.93-YBa2Cu3O7"),
    Icon("YBa2Cu4O8", "YBa2Cu4O8-YBa2Cu4O8"),
    Icon("Nb3Sn", "Nb3Sn-Cr3Si"),
    Icon("Nb3Ge", "Nb3Ge-Cr3Si"),
    Icon("Nb", "Nb-W"),
    Icon("Pb", "Pb-Cu"),
    Icon("FeSe", "FeSe-PbO"),
    Icon("Ba0.6K0.4Fe2As2", "Ba0.6K0.4Fe2As2-ThCr2Si2"),
    Icon("Ba0.63K0.37BiO3", "Ba0.63K0.37BiO3-CaTiO3-cubic"),
    Icon(
        "LaFeAsO0.9F0.1", "LaFeAsO-ZrCuSiAs", ("O", "F", 0.1), 26.0,
        "Y. Kamihara et al., J. Am. Chem. Soc. 130, 3296 (2008), doi:10.1021/ja800073m (5 to 11 % of fluorine)",
    ),
    Icon("Nd1.85Ce0.15CuO4", "Nd1.85Ce0.15CuO4-Nd2CuO4"),
    Icon(
        "HgBa2Ca2Cu3O8", "HgBa2Ca2Cu3O8.41-HgBa2Ca2Cu3O8", (EXCESS_OXYGEN, "", 1.0), 133.0,
        "A. Schilling et al., Nature 363, 56 (1993), doi:10.1038/363056a0 (oxygen in excess not refined)",
    ),
)  # fmt: skip


def main() -> None:
    """Predict all, write both files."""
    predictor, sample = (
        load_predictor(),
        read_csv(SAMPLE, ("material_id", "tc", "tc_ref"), "git").set_index("material_id"),
    )
    rows = [row_of(predictor, icon, sample.loc[icon.material_id]) for icon in ICONS]
    right = sum(row["right"] for row in rows)
    warned = sum(bool(row["warnings"]) and not row["right"] for row in rows)
    content = {"command": "python -m benchmarks.icons", "model": predictor.model, "right": right, "icons": rows}
    write_json(OUT, {**content, "wrong_but_warned": warned})
    write_text(PAGE, page(rows, predictor.model))
    print(
        f"{right} of {len(rows)} within {RIGHT:.0%} of the measured Tc, {warned} of the others with a warning: {PAGE}"
    )


def crystal(icon: Icon) -> Structure:
    """The sample's crystal, with the exchange."""
    structure = read_crystal(ROOT / f"data/sample/cifs/{icon.material_id}.cif")
    return structure if icon.exchange is None else substituted(structure, *icon.exchange)


def row_of(predictor: Predictor, icon: Icon, sample: pd.Series) -> dict[str, Any]:
    """One compound: prediction, measurement, source."""
    found = predictor.predict(crystal(icon), icon.formula)
    assert found.formula == icon.formula, f"{found.formula} is not {icon.formula}"
    tc_K = float(sample["tc"]) if icon.tc_K is None else icon.tc_K
    return {
        **found.to_dict(),
        "measured_K": tc_K,
        "source": icon.source or str(sample["tc_ref"]),
        "structure": icon.material_id,
        "exchange": icon.exchange,
        "right": abs(found.tc_K - tc_K) <= RIGHT * tc_K,
        "interval": interval(found),
    }


def page(rows: list[dict[str, Any]], model: str) -> str:
    """The table as a page of the documentation."""
    lines = [_line(row) for row in rows]
    right = sum(row["right"] for row in rows)
    return f"""\
# Compounds that everybody knows

Written by `python -m benchmarks.icons` with the shipped model `{model}`; not edited by hand. {right} of {len(rows)}
are within {RIGHT:.0%} of the measured Tc. Most of these compositions are in the training data or the extra labels: the
table shows that the predictor knows what is known, not how well it predicts new compounds (the cards in `models/3dsc`
say that).

| compound | measured (K) | predicted (K) | 90 % interval (K) | looked up (K) | warnings |
| --- | ---: | ---: | --- | ---: | --- |
{chr(10).join(lines)}

Structures: `data/sample`; LaFeAsO0.9F0.1 from LaFeAsO with a tenth of its oxygen replaced, HgBa2Ca2Cu3O8 from
HgBa2Ca2Cu3O8.41 without the oxygen in excess. Measured Tc: the sample's, Kamihara et al. 2008 (doi:10.1021/ja800073m)
and Schilling et al. 1993 (doi:10.1038/363056a0).
"""


def _line(row: dict[str, Any]) -> str:
    known = f"{row['known']['tc_K']:g}" if row["known"] else ""
    kinds = ", ".join(warning["kind"] for warning in row["warnings"])
    mark = "" if row["right"] else " ✗"
    predicted = f"{row['tc_K']:.1f}{mark} | {row['interval']}"
    return f"| {row['formula']} | {row['measured_K']:g} | {predicted} | {known} | {kinds} |"


if __name__ == "__main__":
    run(main)
