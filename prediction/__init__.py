"""Tc of crystals from the shipped models: `from prediction import load_predictor`.

Names are loaded when they are first used, so that importing the package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prediction.doping import DopingSeries
    from prediction.explain import Attribution
    from prediction.explain_views import ViewAttribution
    from prediction.prediction import Failure, Member, Prediction
    from prediction.predictor import Predictor, load_predictor

__all__ = [
    "Attribution", "DopingSeries", "Failure", "Member", "Prediction", "Predictor", "ViewAttribution", "load_predictor",
]  # fmt: skip

_MODULES = {
    "Attribution": "explain",
    "ViewAttribution": "explain_views",
    "DopingSeries": "doping",
    "Failure": "prediction",
    "Member": "prediction",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "load_predictor": "predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
