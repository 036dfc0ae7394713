"""What a predictor returns for one crystal: a prediction or a failure, as JSON, as text and as HTML."""

from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from tc_common.results import COVERAGE

if TYPE_CHECKING:
    from prediction.cautions import Caution
    from prediction.known import Known


@dataclass(frozen=True)
class Member:
    """One model's prediction within that of the ensemble."""

    name: str
    tc_K: float
    lower_K: float | None
    upper_K: float | None
    weight: float
    """Of its Tc in the ensemble's, 0 to 1."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """Tc of one crystal with everything that says how far to trust it."""

    name: str
    formula: str
    tc_K: float
    lower_K: float | None
    upper_K: float | None
    """Bounds of the interval of nominal coverage 90 %; None where the model has no validation predictions."""
    members: tuple[Member, ...]
    known: "Known | None"
    """Measurements of this composition."""
    nearest: tuple["Known", ...]
    """The three measured compositions that are nearest."""
    cautions: tuple["Caution", ...]
    remarks: tuple[str, ...]
    """What the reader altered in the file."""
    model: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Texts of the cautions."""
        return tuple(caution.text for caution in self.cautions)

    @property
    def error(self) -> None:
        """None, as there is a prediction."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, kelvins and fractions not rounded."""
        return {
            "name": self.name,
            "formula": self.formula,
            "error": None,
            "model": self.model,
            "tc_K": self.tc_K,
            "lower_K": self.lower_K,
            "upper_K": self.upper_K,
            "coverage": COVERAGE,
            "members": [asdict(member) for member in self.members],
            "known": asdict(self.known) if self.known else None,
            "nearest": [asdict(known) for known in self.nearest],
            "warnings": [asdict(caution) for caution in self.cautions],
            "remarks": [*self.remarks],
        }

    def __repr__(self) -> str:
        known = f", measured {self.known.tc_K:g} K" if self.known else ""
        count = len(self.cautions)
        warned = f", {count} warning{'s' * (count > 1)}" if count else ""
        return f"Prediction({self.formula}: {self.tc_K:.1f} K {interval(self)}, {self.model}{known}{warned})"

    def _repr_html_(self) -> str:
        rows = [("Tc", f"<b>{self.tc_K:.1f} K</b> {escape(interval(self))}")]
        rows += [("measured", escape(known_text(self.known)))] if self.known else []
        rows += [("nearest", escape("; ".join(map(short, self.nearest))))] if self.nearest else []
        rows += [(member.name, f"{member.tc_K:.1f} K, weight {member.weight:.2f}") for member in self.members]
        rows += [("warning", escape(text)) for text in self.warnings]
        rows += [("remark", escape(text)) for text in self.remarks]
        cells = "".join(f"<tr><th>{escape(title)}</th><td>{text}</td></tr>" for title, text in rows)
        return f"<table><caption>{escape(self.formula)} ({escape(self.model)})</caption>{cells}</table>"


@dataclass(frozen=True)
class Failure:
    """A crystal without a prediction, and why."""

    name: str
    formula: str
    error: str
    model: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"name": self.name, "formula": self.formula, "error": self.error, "model": self.model}


def interval(prediction: Prediction) -> str:
    """The interval's bounds in kelvin, as text."""
    if prediction.lower_K is None or prediction.upper_K is None:
        return "[no interval]"
    return f"[{prediction.lower_K:.1f}, {prediction.upper_K:.1f}]"


def known_text(known: "Known") -> str:
    """A measurement with its source, how many entries there are and how far they differ."""
    entries = f"{known.entries} {'entry' if known.entries == 1 else 'entries'} of {known.source}"
    spread = f", {known.lowest_K:g} to {known.highest_K:g} K" if known.highest_K > known.lowest_K else ""
    return f"{known.tc_K:g} K ({known.formula}, {entries}{spread})"


def short(known: "Known") -> str:
    """A measurement in a few characters."""
    return f"{known.formula} {known.tc_K:g} K"
