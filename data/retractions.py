"""Rows of 3DSC whose measurement was withdrawn by its authors."""

import pandas as pd

from data.compositions import composition_key, fractions, parse_formula
from data.tables import reject

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


def mark_retracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Say of what paper was retracted in `remark`; a row with another Tc rests on another paper and is left alone."""
    remark = rows["remark"]
    for formula, tc_K, why in RETRACTIONS:
        hit = (rows["key"] == composition_key(fractions(parse_formula(formula)))) & (
            (rows["tc"] - tc_K).abs() < TC_TOLERANCE_K
        )
        remark = remark.mask(hit, why)
    return rows.assign(remark=remark)


def drop_retracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out what `mark_retracted` marked."""
    reasons = {why for _, _, why in RETRACTIONS}
    return reject(rows, rows["remark"].isin(reasons), rows["remark"], RETRACTED)
