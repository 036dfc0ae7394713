"""Optional packages: what is missing is one line that says how to add it, never an ImportError."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tc_common import extras
from tc_common.cli import run
from tc_common.errors import UserError
from tc_common.extras import Pin, how_to_add, installed, missing_package, need, pins


def complaint(extra: str, module: str) -> str:
    with pytest.raises(UserError) as error:
        need(extra, module)
    return str(error.value)


def test_what_is_there_is_imported() -> None:
    assert need("study", "json") is sys.modules["json"]


def test_what_is_missing_is_one_line_that_names_both_ways_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(extras, "installed", lambda package: None)
    said = "ray is not installed, which belongs to the extra screen: "
    assert complaint("screen", "ray") == said + "pip install -r requirements-screen.txt, or uv sync --extra screen"
    assert how_to_add("base") == "pip install -r requirements-predict.txt"


def test_another_version_that_cannot_be_imported_is_named_with_the_one_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "fastapi.responses", None)  # other tests have imported it
    monkeypatch.setattr(extras, "installed", lambda package: "0.1.0")
    said = complaint("web", "fastapi.responses")
    assert said.startswith("fastapi 0.1.0 cannot be imported (") and "\n" not in said
    assert f"the extra web has {pins()['web']['fastapi'].version}: pip install -r requirements-web.txt" in said


def test_a_package_for_other_pythons_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    never = Pin("1.1.3", "python_version < '3'")
    assert not never.fits and Pin("1", "").fits and Pin("1", "python_version > '3'").fits
    monkeypatch.setattr(extras, "pins", lambda: {"study": {"dgl": never}})
    monkeypatch.setitem(sys.modules, "dgl", None)
    assert complaint("study", "dgl") == "dgl is only for python_version < '3': make setup PYTHON=/path/to/python3.11"


def importing(module: str) -> Callable[[], object]:
    return lambda: __import__(module)


def test_a_command_that_imports_what_is_missing_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed", lambda package: None)
    for module, package in (("optuna", "optuna"), ("cv2", "opencv-python-headless")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(SystemExit) as stop:
            run(importing(module))
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {package} is not installed, ") and said.count("\n") == 1


def test_a_module_of_ours_that_is_missing_is_a_defect_and_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError):
        run(importing("tc_common.no_such_module"))
    assert missing_package(ImportError("x")) is None


def test_every_extra_has_a_file_and_every_package_one_place() -> None:
    assert {*pins()} == {*extras.FILES} and all(Path(extras.ROOT, name).is_file() for name in extras.FILES.values())
    names = [name for packages in pins().values() for name in packages]
    assert len(names) == len({*names}) > 40


def test_a_local_build_is_the_version_that_it_is_a_build_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.metadata, "version", lambda package: "2.13.0+cpu")
    assert installed("torch") == "2.13.0"
    monkeypatch.undo()
    assert installed("no-such-package") is None
