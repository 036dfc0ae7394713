"""A predictor that follows the contract without networks: numbers that a test can compute by hand."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import views
from tc_common.composition import chemical_formula
from tc_common.errors import UserError
from web.about import about

ROOT = Path(__file__).parents[2]
FACTS = about(ROOT / "models/3dsc", "ensemble")
MGB2 = (ROOT / "data/sample/cifs/MgB2-AlB2.cif").read_bytes()
LSCO = (ROOT / "data/sample/cifs/La1.85Sr0.15CuO4-K2NiF4.cif").read_bytes()
COPPER_K, VOLUME_K = 30.0, 0.3
WARNING = "measured under pressure: the training set knows none of it"


class Plain:
    """Anything with `to_dict`."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def to_dict(self) -> dict[str, Any]:
        return self.content


def tc_of(structure: Structure) -> float:
    """30 K for the fraction of copper, 0.3 K for each Å³ of an atom: wrong, but known."""
    fractions = structure.composition.fractional_composition.get_el_amt_dict()
    return COPPER_K * fractions.get("Cu", 0.0) * 7 + VOLUME_K * structure.volume / structure.composition.num_atoms


class StandIn:
    """As `prediction.Predictor`, for the page."""

    model = "ensemble"

    def predict(self, x: Structure, name: str = "") -> Plain:
        tc_K, formula = tc_of(x), chemical_formula(x)
        near = [self.known(each, kelvin, distance) for each, kelvin, distance in NEAR]
        known = self.known(formula, tc_K * 1.1, 0.0) if formula == "MgB2" else None
        members = [
            {"name": "alignn", "tc_K": tc_K * 0.9, "lower_K": tc_K * 0.4, "upper_K": tc_K * 1.4, "weight": 0.4},
            {"name": "dinov3", "tc_K": tc_K * 1.2, "lower_K": None, "upper_K": None, "weight": 0.0},
            {"name": "pair", "tc_K": tc_K * 1.07, "lower_K": tc_K * 0.7, "upper_K": tc_K * 1.5, "weight": 0.6},
        ]
        warnings = [{"kind": "pressure", "text": WARNING}] if "H" in x.composition.get_el_amt_dict() else []
        content: dict[str, Any] = {"name": name, "formula": formula, "error": None, "model": self.model, "tc_K": tc_K}
        content |= {"lower_K": tc_K * 0.7, "upper_K": tc_K * 1.3, "coverage": 0.9, "members": members, "known": known}
        return Plain(content | {"nearest": near, "warnings": warnings, "remarks": x.properties.get("remarks", [])})

    @staticmethod
    def known(formula: str, tc_K: float, distance: float) -> dict[str, Any]:
        spread = {"lowest_K": tc_K * 0.95, "highest_K": tc_K * 1.05}
        return {"formula": formula, "tc_K": tc_K, **spread, "entries": 3, "source": "3DSC", "distance": distance}

    def predict_many(self, items: Iterable[Any], names: Any = None, read: Any = None) -> Iterator[Plain]:
        for item, name in zip(items, names, strict=True):
            try:
                yield self.predict(read(item), name)
            except UserError as error:
                reason = str(error).removeprefix(f"{name}: ")
                yield Plain({"name": name, "formula": "", "error": reason, "model": self.model})

    def substitute(self, x: Structure, old: str, new: str, fractions: Sequence[float]) -> Plain:
        if old.split("+")[0].rstrip("0123456789") not in x.composition.get_el_amt_dict():
            raise UserError(f"no {old} in this crystal; replace one of its elements")
        if new == "Xx":
            raise UserError("Xx is no element; name one, or nothing for a vacancy")
        base = tc_of(x)
        predictions = []
        for fraction in fractions:
            row = self.predict(x).to_dict()
            tc_K = base * (1 + 4 * fraction - 12 * fraction**2)
            predictions.append(row | {"tc_K": tc_K, "lower_K": tc_K * 0.7, "upper_K": tc_K * 1.3})
        measured = [{"fraction": 0.15, "tc_K": base * 1.2, "formula": "La1.7Sr0.3CuO4"}]
        found = {"old": old, "new": new, "fractions": list(fractions), "predictions": predictions}
        return Plain(found | {"measured": measured})

    def explain(self, x: Structure) -> Plain:
        site_K = np.linspace(-2.0, 5.0, len(x)).tolist()
        return Plain({"model": "ensemble", "tc_K": 8.0, "reference_K": 1.0, "gap_K": 0.0, "site_K": site_K})

    def explain_views(self, x: Structure, attention_only: bool = False) -> Any:
        options = RenderOptions(image_size=32)
        images = views(x, options=options)
        weight = images.sum(axis=3).astype(np.float32) + 1
        attention = weight / weight.sum(axis=(1, 2), keepdims=True)
        return SimpleNamespace(views=view_names(options), images=images, attention=attention)


NEAR = (("MgB1.9C0.1", 33.0, 0.03), ("Mg0.9Al0.1B2", 28.0, 0.033), ("Nb<img src=x onerror=alert(1)>", 9.0, 0.5))
