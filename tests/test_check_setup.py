"""`python check_setup.py`: one line per check, and an exit status that counts the failures."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import check_setup
from gat_pipeline import graphs
from tc_common import extras

ROOT = Path(__file__).parent.parent


def test_the_command_checks_everything_once() -> None:
    result = subprocess.run(
        [sys.executable, "check_setup.py"], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(check_setup.CHECKS) == 19, result.stderr
    assert all(line.startswith(("ok ", "missing ", "FAIL ")) for line in lines)
    failed = [line for line in lines if line.startswith("FAIL")]
    assert result.returncode == (1 if failed else 0) and not failed
    for name in ("python", "base", "renderer", "graph", "torch engine", "vision", "pretrained", "shipped"):
        assert any(line.startswith(f"ok      {name}") for line in lines)


def line_of(capsys: pytest.CaptureFixture[str], name: str, check: Any) -> str:
    """What a check prints."""
    passed = check_setup.passes(name, check)
    (line,) = capsys.readouterr().out.splitlines()
    assert passed is not line.startswith("FAIL")
    return str(line)


def test_wrong_features_of_a_mixed_site_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    atom_features = graphs.atom_features
    monkeypatch.setattr(graphs, "atom_features", lambda occupancy: 0 * atom_features(occupancy))
    assert line_of(capsys, "graph", check_setup.graph).startswith("FAIL    graph")


CHECKS = ("device", "memory", "renderer", "graph", "torch_engine", "vision")


@pytest.mark.parametrize("name", [*CHECKS, "hub_cache", "pretrained", "shipped", "downloads"])
def test_no_check_dies_of_a_library_that_is_missing(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every import fails as it would on an empty machine."""
    real = builtins.__import__

    def absent(module: str, *args: Any, **kwargs: Any) -> Any:
        if sys._getframe(1).f_globals.get("__name__") == "check_setup":
            raise ModuleNotFoundError(f"No module named {module!r}")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    said = line_of(capsys, name, getattr(check_setup, name))
    assert said.startswith("FAIL") and "No module named" in said and "make setup" in said


def test_the_file_itself_needs_no_library() -> None:
    program = "import sys; sys.path.insert(0, '.'); import check_setup; print('torch' in sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program]  # without site-packages
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def extras_of(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None]) -> None:
    """Make `versions` installed, and everything else as pinned."""
    pinned = {name: pin.version for packages in extras.pins().values() for name, pin in packages.items()}
    monkeypatch.setattr(check_setup, "installed", lambda name: versions.get(name, pinned[name]))


def test_what_is_absent_of_an_extra_is_named_with_the_command_that_adds_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extras_of(monkeypatch, {"ray": None, "gemmi": None})
    said = line_of(capsys, "screen", check_setup.screen)
    assert said.startswith("missing screen") and "ray; pip install -r requirements-screen.txt, or uv sync" in said
    said = line_of(capsys, "base", check_setup.base)
    assert said.startswith("FAIL    base") and "gemmi; pip install -r requirements-predict.txt" in said
    assert line_of(capsys, "web", check_setup.web).endswith("3 of 3 as pinned, for the page")


def test_an_extra_of_another_version_is_named_with_the_one_that_is_pinned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extras_of(monkeypatch, {"fastapi": "0.1.0"})
    said = line_of(capsys, "web", check_setup.web)
    assert said.startswith("ok") and "2 of 3 as pinned" in said
    assert "but fastapi 0.1.0 (pinned: " in said and "pip install -r requirements-web.txt" in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version_info", (3, 10, 13), "3.10.13; use 3.11 or newer"),
        ("maxsize", 2**31 - 1, "of 32 bits; PyTorch is built"),
    ],
)
def test_a_python_that_cannot_work_is_said(
    name: str, value: Any, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line_of(capsys, "python", check_setup.python).startswith("ok ")
    monkeypatch.setattr(sys, name, value)
    line = line_of(capsys, "python", check_setup.python)
    assert line.startswith("FAIL    python") and said in line


def test_a_check_that_needs_an_extra_says_how_to_add_it(capsys: pytest.CaptureFixture[str]) -> None:
    def trained() -> str:
        raise ModuleNotFoundError("No module named 'peft'", name="peft")

    said = line_of(capsys, "trained", trained)
    assert said.startswith("missing trained") and "No module named 'peft'; pip install -r requirements.txt" in said


def test_a_shipped_file_that_was_changed_fails_and_an_empty_folder_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check_setup, "ROOT", tmp_path)
    assert line_of(capsys, "shipped", check_setup.shipped).startswith("missing ")
    shutil.copytree(ROOT / "models/3dsc", tmp_path / "models/3dsc")
    assert line_of(capsys, "shipped", check_setup.shipped).startswith("ok ")
    with (tmp_path / "models/3dsc/training.csv").open("a") as stream:
        stream.write("x")
    said = line_of(capsys, "shipped", check_setup.shipped)
    assert said.startswith("FAIL") and "training.csv is not the file that alignn.json describes" in said
    (tmp_path / "models/3dsc/alignn.json").write_text("{")
    assert line_of(capsys, "shipped", check_setup.shipped).startswith("FAIL")


def test_little_room_is_said_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_setup, "LEAST_FREE_GB", 1e9)
    monkeypatch.setattr(check_setup, "LEAST_MEMORY_GB", 1e9)
    assert "free some" in line_of(capsys, "disk", check_setup.disk)
    assert "lower --batch-size" in line_of(capsys, "memory", check_setup.memory)


def test_flags_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_setup.main(["--fast"]) == 2
    assert capsys.readouterr().err == "error: check_setup.py takes no flags, got --fast\n"
    assert check_setup.main(["--help"]) == 0
    assert "one line a check" in capsys.readouterr().out
