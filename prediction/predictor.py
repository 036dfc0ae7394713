"""The one predictor: crystals in, predictions out; the command line, screening and the page are thin layers over it.

    from prediction import load_predictor
    predictor = load_predictor()                     # the shipped ensemble
    predictor.predict("MgB2.cif")                    # or a Structure, ase.Atoms, the text of a CIF
    predictor.substitute("La2CuO4.cif", "La", "Sr", [0, 0.05, 0.1])

Legend: n crystals of a batch, M base models.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prediction.cautions import FILE as LIMITS
from prediction.cautions import Limits, cautions_of, read_limits
from prediction.inputs import ReadCrystal, crystal_of, reason
from prediction.intervals import Intervals, fit_intervals
from prediction.known import KnownCompounds, read_known
from prediction.load import (
    KNOWN,
    MEMBER_INTERVALS,
    ModelName,
    checked_card,
    load_base_model,
    load_own,
    load_training,
    weights_of,
)
from prediction.models import CRYSTALS_AT_ONCE, Array, BaseModel, Output, combine
from prediction.novelty import Distance, Training
from prediction.prediction import Failure, Member, Prediction
from tc_common.composition import chemical_formula, fractions_formula
from tc_common.errors import UserError
from tc_common.files import printable
from tc_common.model_files import read_card
from tc_common.predictions import read_predictions
from tc_common.results import COVERAGE

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from prediction.doping import DopingSeries
    from prediction.explain import Attribution
    from prediction.explain_views import ViewAttribution

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "models/3dsc"
NEAREST = 3


@dataclass(frozen=True, eq=False)
class Crystal:
    """One crystal with the input of each base model."""

    name: str
    structure: "Structure"
    formula: str
    fractions: str
    prepared: list[Any]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that is ready to predict."""

    model: str
    folder: Path
    base_models: list[BaseModel]
    weights: Array
    """(M,) of the base models, summing to 1."""
    intervals: Intervals | None
    """Of this model; None for no intervals."""
    member_intervals: dict[str, Intervals]
    """Of each base model that has them."""
    training: Training
    known_compounds: KnownCompounds
    limits: Limits
    """Beyond which a caution is given."""
    coverage: float = COVERAGE

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the base models."""
        return tuple(model.name for model in self.base_models)

    def predict(self, x: Any, name: str = "") -> Prediction:
        """Tc of one crystal: a path, the text of a CIF, a `pymatgen.Structure` or `ase.Atoms`.

        Raises:
            UserError: it cannot be read, or a model cannot compute it.
        """
        found = next(self.predict_many([x], [name] if name else None))
        if isinstance(found, Failure):
            raise UserError(f"{found.name}: {found.error}" if found.name else found.error)
        return found

    def predict_many(
        self, items: Iterable[Any], names: Iterable[str] | None = None, read: ReadCrystal | None = None
    ) -> Iterator[Prediction | Failure]:
        """One prediction, or the reason why not, for every item in their order; 16 crystals are in memory at a time.

        Args:
            names: of the items; by default paths are their own names.
            read: item to checked structure, such as `prediction.inputs.limited_reading` gives for untrusted files.
        """
        stream = zip(items, repeat(None) if names is None else names, strict=names is not None)
        while batch := list(islice(stream, CRYSTALS_AT_ONCE)):
            crystals = [self._crystal(x, name, read or crystal_of) for x, name in batch]
            predicted = iter(self._predict([each for each in crystals if isinstance(each, Crystal)]))
            yield from (next(predicted) if isinstance(each, Crystal) else each for each in crystals)

    def substitute(self, x: Any, old: str, new: str, fractions: Sequence[float]) -> "DopingSeries":
        """Tc along a doping series; see `prediction.doping.doping_series`."""
        from prediction.doping import doping_series

        return doping_series(self, x, old, new, fractions)

    def explain(self, x: Any, name: str = "") -> "Attribution":
        """What each site adds to the prediction, in kelvin; see `prediction.explain.attribution`."""
        from prediction.explain import attribution

        return attribution(self, x, name)

    def explain_views(self, x: Any, attention_only: bool = False) -> "ViewAttribution":
        """What the vision network looks at; see `prediction.explain_views.view_attribution`."""
        from prediction.explain_views import view_attribution

        return view_attribution(self, x, attention_only)

    def _crystal(self, x: Any, name: str | None, read: ReadCrystal) -> Crystal | Failure:
        """A crystal prepared for every base model, or the reason why not."""
        shown = printable(name if name is not None else x if is_path(x) else "")
        formula = ""
        try:
            structure = read(x)
            formula = chemical_formula(structure)
            prepared = [model.prepare(structure) for model in self.base_models]
        except UserError as error:
            return Failure(shown, formula, reason(error, x), self.model)
        return Crystal(shown, structure, formula, fractions_formula(structure), prepared)

    def _predict(self, crystals: list[Crystal]) -> list[Prediction | Failure]:
        """Predictions of n prepared crystals."""
        if not crystals:
            return []
        outputs = [
            model.predict([crystal.prepared[number] for crystal in crystals])
            for number, model in enumerate(self.base_models)
        ]
        members = [[*each] for each in zip(*self._members(outputs), strict=True)]
        placed = self._placed(crystals, combine(outputs, self.weights), outputs)
        return [
            self._prediction(crystal, place, tuple(each))
            if np.isfinite(place.tc_K)
            else Failure(crystal.name, crystal.formula, "the model's prediction is not a finite number", self.model)
            for crystal, place, each in zip(crystals, placed, members, strict=True)
        ]

    def _placed(self, crystals: list[Crystal], combined: "pd.DataFrame", outputs: list[Output]) -> "list[Placed]":
        """Tc, interval and distances to the training set of n crystals."""
        lower, upper = bounds(self.intervals, combined)
        near = self.training.by_composition([crystal.fractions for crystal in crystals])
        named = zip(self.members, outputs, strict=True)
        vectors = next(
            (output.vectors for name, output in named if name == "alignn"), None
        )  # that of the training set
        graphs = [None] * len(crystals) if vectors is None else self.training.by_graph(vectors)
        rows = zip(combined["tc_pred"], lower, upper, near, graphs, strict=True)
        return [Placed(float(tc_K), *rest) for tc_K, *rest in rows]  # type: ignore[arg-type]

    def _members(self, outputs: list[Output]) -> Iterator[list[Member]]:
        """Of each base model its own predictions of the n crystals."""
        for model, output, weight in zip(self.base_models, outputs, self.weights, strict=True):
            table = combine([output])
            lower, upper = bounds(self.member_intervals.get(model.name), table)
            yield [
                Member(model.name, max(float(tc_K), 0.0), lower[n], upper[n], float(weight))
                for n, tc_K in enumerate(table["tc_pred"])
            ]

    def _prediction(self, crystal: Crystal, place: "Placed", members: tuple[Member, ...]) -> Prediction:
        tc_K, known = max(place.tc_K, 0.0), self.known_compounds.lookup(crystal.fractions)
        cautions = cautions_of(
            self.limits,
            crystal.structure,
            tc_K=tc_K,
            lower_K=place.lower_K,
            upper_K=place.upper_K,
            members_K={member.name: member.tc_K for member in members},
            composition=place.composition,
            graph=place.graph,
            known=known,
            training=self.training.table,
        )
        return Prediction(
            name=crystal.name,
            formula=crystal.formula,
            tc_K=tc_K,
            lower_K=place.lower_K,
            upper_K=place.upper_K,
            members=members,
            known=known,
            nearest=tuple(self.known_compounds.nearest(crystal.fractions, NEAREST)),
            cautions=cautions,
            remarks=tuple(crystal.structure.properties.get("remarks", ())),
            model=self.model,
        )


@dataclass(frozen=True)
class Placed:
    """One crystal's Tc before it is cut at 0 K, its interval, and its distances to the training set."""

    tc_K: float
    lower_K: float | None
    upper_K: float | None
    composition: Distance
    graph: Distance | None


def load_predictor(
    folder: Path | str | None = None,
    model: ModelName = "ensemble",
    *,
    device: str = "cpu",
    checkpoint: Path | str | None = None,
    val_predictions: Path | str | None = None,
) -> Predictor:
    """Read the shipped models of a folder.

    Args:
        folder: by default the models that come with the code.
        model: ensemble, alignn, dinov3 or student.
        device: auto, cpu, cuda, cuda:N or mps.
        checkpoint: a network of the user's own, of either pipeline, in place of the shipped models.
        val_predictions: its predictions (K) for its validation materials, for its intervals.

    Raises:
        UserError: nothing is shipped there, or files are missing, damaged or do not belong together.
    """
    folder = DEFAULT_FOLDER if folder is None else Path(folder)
    if checkpoint is not None:
        own = load_own(Path(checkpoint), device)
        fitted = None if val_predictions is None else fit_intervals(read_predictions(Path(val_predictions)))
        return _predictor(folder, own.name, {own.name: 1.0}, [own], fitted, {})
    card = checked_card(folder, model)
    weights: dict[str, float] = weights_of(card) if model == "ensemble" else {str(model): 1.0}
    base_models = [load_base_model(folder, name, card, device) for name in weights]
    members = member_intervals(folder, [*weights], card)
    return _predictor(folder, model, weights, base_models, Intervals.from_plain(card.get("intervals")), members)


def member_intervals(folder: Path, names: Sequence[str], card: dict[str, Any]) -> dict[str, Intervals]:
    """Intervals of base models: from their own cards, of those without one from the ensemble's.

    Raises:
        UserError: a card holds none.
    """
    plain = card.get(MEMBER_INTERVALS, {})
    if not isinstance(plain, dict):
        raise UserError(f"{folder / 'ensemble.json'} holds no {MEMBER_INTERVALS}; fetch the folder again")
    paths = {name: folder / f"{name}.json" for name in names}
    own = {name: read_card(path).get("intervals") for name, path in paths.items() if path.is_file()}
    return {name: Intervals.from_plain(found) for name, found in {**plain, **own}.items()}


def _predictor(
    folder: Path,
    model: str,
    weights: dict[str, float],
    base_models: list[BaseModel],
    intervals: Intervals | None,
    members: dict[str, Intervals],
) -> Predictor:
    """The predictor with what every model needs of the folder."""
    return Predictor(
        model=model,
        folder=folder,
        base_models=base_models,
        weights=np.array([*weights.values()]),
        intervals=intervals,
        member_intervals=members,
        training=load_training(folder),
        known_compounds=read_known(folder / KNOWN),
        limits=read_limits(folder / LIMITS),
    )


def is_path(x: Any) -> bool:
    """Whether an item is the name of a file, not the text of one."""
    return isinstance(x, Path) or (isinstance(x, str) and "\n" not in x)


def bounds(intervals: Intervals | None, table: "pd.DataFrame") -> tuple[list[float | None], list[float | None]]:
    """Lower and upper bounds (n,) in K of `tc_pred` and perhaps `tc_std`; None where there are no intervals."""
    if intervals is None:
        return [None] * len(table), [None] * len(table)
    std_K = table["tc_std"].to_numpy() if "tc_std" in table else None
    lower, upper = intervals.bounds(table["tc_pred"].to_numpy(), std_K)
    return lower.tolist(), upper.tolist()
