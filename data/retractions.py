"""Rows of 3DSC whose measurement was withdrawn by its authors."""

import pandas as pd

from data.tables import reject
from tc_common.composition import composition_key, fractions, parse_formula

RETRACTED = "retracted"
_RH_FOR_PD = "retracted, the samples held Pd and not Rh (doi 10.1103/PhysRevB.83.019901)"
# Formula, Tc as 3DSC lists it (K), why. Collected in aimat-lab/3DSC issue 5.
RETRACTIONS = (
    ("YRh2Sn", 4.1, _RH_FOR_PD),
    ("LuRh2Sn", 2.9, _RH_FOR_PD),
    ("ScRh2Sn", 2.0, _RH_FOR_PD),
    ("Eu", 1.375, "2.75 K under pressure, retracted (doi 10.1103/PhysRevLett.127.269902), averaged with 0 K"),
)
TC_TOLERANCE_K = 0.01


def mark_retracted(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """Add `retraction`: why, where a row of 3DSC rests on a retracted paper, else empty.

    A row with another Tc rests on another paper and is left alone, as is every other source.
    """
    found = pd.Series("", rows.index)
    for formula, tc_K, why in RETRACTIONS if source == "3dsc" else ():
        same = rows["key"] == composition_key(fractions(parse_formula(formula)))
        found = found.mask(same & ((rows["tc"] - tc_K).abs() < TC_TOLERANCE_K), why)
    return rows.assign(retraction=found)


def drop_retracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out what `mark_retracted` marked."""
    return reject(rows, rows["retraction"] != "", rows["retraction"], RETRACTED)
