"""What the page can be asked, as plain functions of uploads; every one runs in the queue's one thread."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol

from pymatgen.core import Structure

from tc_common.errors import UserError
from tc_common.files import printable
from tc_common.reading import LimitedReader
from web.crystal import Job, load_libraries, work
from web.pictures import column_count, overlaid, sheet
from web.uploads import Upload

Json = dict[str, Any]


class HasDict(Protocol):
    """Any result of a predictor."""

    def to_dict(self) -> Json:
        """As JSON."""
        ...


class Predictor(Protocol):
    """The part of `prediction.Predictor` that the page asks."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    def predict_many(self, items: Iterable[Any], names: Any = None, read: Any = None) -> Iterable[HasDict]:
        """Predictions, or failures, for many."""
        ...

    def substitute(self, x: Structure, old: str, new: str, fractions: Sequence[float]) -> HasDict:
        """Predictions for a doping series."""
        ...

    def explain(self, x: Structure) -> HasDict:
        """Kelvins of each site."""
        ...

    def explain_views(self, x: Structure, attention_only: bool = False) -> Any:
        """`views, images, attention` of the vision model."""
        ...


class Service:
    """Reader and predictor behind the routes.

    Every method raises `UserError` where the crystal or the question is the user's mistake.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._worker: LimitedReader[Any] = LimitedReader(work, prepare=load_libraries)

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.__exit__(kind, error, trace)

    def warm_up(self, upload: Upload) -> None:
        """Answer once before anybody asks: the reader's worker has started then, and libraries are loaded."""
        self.describe(upload)
        self.predict(upload)

    def _read(self, upload: Upload) -> Structure:
        structure: Structure = self._worker(Job(upload, "structure"))
        return structure

    def describe(self, upload: Upload) -> Json:
        """See `web.crystal.describe`."""
        description: Json = self._worker(Job(upload, "description"))
        return {"name": upload.name, **description}

    def pictures(self, upload: Upload) -> bytes:
        """PNG of the standard views."""
        png: bytes = self._worker(Job(upload, "pictures"))
        return png

    def predict(self, upload: Upload) -> Json:
        """A prediction as JSON."""
        found = self.predict_many([upload])[0]
        if found["error"]:
            raise UserError(found["error"])
        return found

    def predict_many(self, uploads: Sequence[Upload | tuple[str, str]]) -> list[Json]:
        """Predictions or failures, one for each upload, in their order."""
        crystals = [each for each in uploads if isinstance(each, Upload)]
        names = [each.name for each in crystals]
        found = iter(self.predictor.predict_many(crystals, names, self._read))
        return [
            next(found).to_dict() if isinstance(each, Upload) else self.failure(each[0], each[1]) for each in uploads
        ]

    def substitute(self, upload: Upload, old: str, new: str, fractions: Sequence[float]) -> Json:
        """A doping series as JSON."""
        return self.predictor.substitute(self._read(upload), old, new, fractions).to_dict()

    def attribution(self, upload: Upload) -> Json:
        """Kelvins that each site adds to the prediction for no atom."""
        attribution: Json = self.predictor.explain(self._read(upload)).to_dict()
        return attribution

    def attention(self, upload: Upload) -> bytes:
        """PNG of the views under the attention that the vision model pays to them."""
        found = self.predictor.explain_views(self._read(upload), attention_only=True)
        return sheet(overlaid(found.images, found.attention), column_count(tuple(found.views)))

    def failure(self, name: str, error: UserError | str) -> Json:
        """A failure as JSON, in the shape of `predict.py --json`."""
        reason = printable(" ".join(str(error).split())).removeprefix(f"{name}: ")
        return {"name": name, "formula": "", "error": reason, "model": self.predictor.model}
