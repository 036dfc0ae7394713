"""The arrows between the rooms: who may import whom, who may import torch, and that importing does nothing else."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "tc_common": set(),
    "dinov3_pipeline": {"tc_common"},
    "gat_pipeline": {"tc_common"},
    "data": {"tc_common"},
    "baselines": {"tc_common"},
    "comparison": {"tc_common"},
    "monitor": {"tc_common"},
    "prediction": {"tc_common", "gat_pipeline", "dinov3_pipeline", "baselines"},
    "tuning": {"tc_common", "dinov3_pipeline", "gat_pipeline"},
    "web": {"tc_common", "dinov3_pipeline", "prediction"},
}
WITHOUT_TORCH = ("data", "dinov3_pipeline/render", "comparison", "baselines", "render_images", "compare_models")
SCRIPTS = tuple(sorted(path.stem for path in ROOT.glob("*.py")))


def modules(room: str) -> Iterator[Path]:
    return (path for path in (ROOT / room).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str) -> set[str]:
    """First part of every absolute import, wherever it is in the module; relative ones as '.'."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


def forbidden(room: str, source: str) -> set[str]:
    ours = {*ROOMS, *SCRIPTS, "tests", "benchmarks", "."}
    return imports(source) & ours - ROOMS[room] - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    assert list(modules(room)), f"{room} is empty"
    wrong = {path.relative_to(ROOT): bad for path in modules(room) if (bad := forbidden(room, path.read_text()))}
    assert not wrong


def test_the_check_sees_a_wrong_arrow() -> None:
    assert forbidden("gat_pipeline", "from dinov3_pipeline.model import x") == {"dinov3_pipeline"}
    assert forbidden("tc_common", "def f():\n    import data.prepare") == {"data"}
    assert forbidden("data", "from . import prepare") == {"."}


def test_every_folder_of_code_is_in_the_table() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == {*ROOMS, "tests", "benchmarks"}


def test_nobody_imports_a_script() -> None:
    everyone = [path for room in [*ROOMS, "benchmarks"] for path in modules(room)] + [*ROOT.glob("*.py")]
    assert not {path.name for path in everyone if imports(path.read_text()) & set(SCRIPTS)}


def test_importing_has_no_side_effect_and_needs_no_torch(tmp_path: Path) -> None:
    paths = [path for room in WITHOUT_TORCH for path in modules(room)]
    names = [*(dotted(path) for path in paths), *(script for script in SCRIPTS if script in WITHOUT_TORCH)]
    program = (
        "import importlib, logging, random, sys\n"
        "import sklearn.ensemble  # joblib draws a name for its folder; that is not ours\n"
        "before = random.getstate()\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "assert random.getstate() == before and not logging.getLogger().handlers\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"mpl"}
