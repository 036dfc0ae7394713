"""Small sources of made-up crystals in the layout of 3DSC."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

CIF = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{rows}
"""


def caesium_chloride_type(first: str, second: dict[str, float], a_A: float = 3.5) -> str:
    """CIF of a CsCl-type crystal whose second site may be shared."""
    rows = [f"{first} {first}1 0 0 0 1"]
    rows += [f"{element} {element}2 0.5 0.5 0.5 {occupancy}" for element, occupancy in second.items()]
    return CIF.format(a=a_A, rows="\n".join(rows))


def write_3dsc(folder: Path, rows: list[dict[str, object]], texts: dict[str, str], remark: bool = True) -> Path:
    """A folder with `3DSC_MP.csv` and `cifs/`."""
    (folder / "cifs").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / "cifs" / name).write_text(text, encoding="utf-8")
    table = pd.DataFrame(rows).to_csv(index=False)
    (folder / "3DSC_MP.csv").write_text(("# remark\n" if remark else "") + table, encoding="utf-8")
    return folder


def row(formula: str, tc: object, name: str, mp_id: str = "mp-1", doped: bool = False) -> dict[str, object]:
    """One row of the table as 3DSC writes it."""
    cif = f"data/final/MP/cifs/{name}"
    return {"formula_sc": formula, "tc": tc, "cif": cif, "material_id_2": mp_id, "synth_doped": doped, "weight": 1.0}


@pytest.fixture
def doping_series(tmp_path: Path) -> Callable[[], Path]:
    """40 crystals: four series X(Y1-xZx) of ten members each, with Tc rising along each series."""

    def make() -> Path:
        rows, texts = [], {}
        for number, (host, guest) in enumerate((("Al", "Ga"), ("Si", "Ge"), ("P", "As"), ("S", "Se"))):
            for step in range(10):
                share = round(0.1 * step, 1)
                name = f"V{number}-{step}-MP-mp-{number}.cif"
                second = {host: round(1 - share, 1), guest: share} if step else {host: 1.0}
                formula = "V1" + "".join(f"{element}{amount:g}" for element, amount in second.items())
                rows.append(row(formula, 2.5 * step * (number + 1), name, f"mp-{number}", doped=bool(step)))
                texts[name] = caesium_chloride_type("V", second)
        return write_3dsc(tmp_path / "source", rows, texts)

    return make
