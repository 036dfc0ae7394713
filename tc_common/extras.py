"""Optional packages: which extra of pyproject.toml a module belongs to, and one line that says how to add it."""

import importlib
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from tc_common.errors import UserError, one_line

ROOT = Path(__file__).resolve().parent.parent
BASE = "base"
"""What predict.py needs: the dependencies of pyproject.toml without an extra."""
FILES = {
    BASE: "requirements-predict.txt",
    "study": "requirements.txt",
    "web": "requirements-web.txt",
    "screen": "requirements-screen.txt",
    "dev": "requirements-dev.txt",
}
# Modules that are named otherwise than the package that has them.
PACKAGES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "jarvis": "jarvis-tools",
    "multipart": "python-multipart", "axe_playwright_python": "axe-playwright-python",
}  # fmt: skip


@cache
def version() -> str:
    """Version of this project."""
    return str(_project()["version"])


@dataclass(frozen=True)
class Pin:
    """The version of a package, and the marker of the Pythons and systems that it is for (empty: all)."""

    version: str
    marker: str

    @property
    def fits(self) -> bool:
        """Whether the package is for this Python and system."""
        from packaging.markers import Marker

        return not self.marker or Marker(self.marker).evaluate()


@cache
def pins() -> dict[str, dict[str, Pin]]:
    """Packages of every extra, by name."""
    project = _project()
    lists = {BASE: project["dependencies"], **project["optional-dependencies"]}
    return {extra: dict(map(_pin, lines)) for extra, lines in lists.items()}


def _pin(line: str) -> tuple[str, Pin]:
    requirement, _, marker = line.partition(" ; ")
    name, _, version_ = requirement.partition("==")
    return name, Pin(version_, marker)


def _project() -> dict[str, Any]:
    import tomllib  # not in Python 3.10, where check_setup.py says which Python to take

    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def installed(package: str) -> str | None:
    """The version of a package that is installed, without the suffix of a local build (`+cpu`); None if it is not."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def how_to_add(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install -r {FILES[extra]}" + ("" if extra == BASE else f", or uv sync --extra {extra}")


def need(extra: str, module: str) -> ModuleType:
    """Import a module of an optional package: `ray = need("screen", "ray")`.

    Raises:
        UserError: it is not installed, or another version that cannot be imported; the line says how to add it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(_complaint(extra, _package(module), error)) from error


def extra_of(error: ImportError) -> str | None:
    """The extra that lists the package whose import failed; None where pyproject.toml does not list it."""
    package = _package(error.name or "")
    return next((extra for extra, packages in pins().items() if package in packages), None)


def missing_package(error: ImportError) -> UserError | None:
    """What to say of an import that failed, where it is of a package that pyproject.toml lists; else nothing."""
    extra = extra_of(error)
    return UserError(_complaint(extra, _package(error.name or ""), error)) if extra else None


def refuse_without_base(error: ModuleNotFoundError) -> NoReturn:
    """End a script that another Python than that of the environment has started; exit status 2."""
    how = "make predict-setup, then .venv/bin/python predict.py (Python 3.11 or newer)"
    print(f"error: {error.name} is not installed in {sys.executable}: {how}", file=sys.stderr)
    raise SystemExit(2) from None


def _package(module: str) -> str:
    top = module.partition(".")[0]
    return PACKAGES.get(top, top)


def _complaint(extra: str, package: str, error: ImportError) -> str:
    pin, there = pins()[extra].get(package), installed(package)
    if pin and not pin.fits:
        return f"{package} is only for {pin.marker}: make setup PYTHON=/path/to/python3.11"
    if there is None:
        return f"{package} is not installed, which belongs to the extra {extra}: {how_to_add(extra)}"
    wanted = f"the extra {extra} has {pin.version}" if pin else f"install the extra {extra} again"
    return f"{package} {there} cannot be imported ({one_line(error, 120)}); {wanted}: {how_to_add(extra)}"
