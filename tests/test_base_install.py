"""What an installation of the base alone can do: every package outside of it is hidden from these commands."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tc_common.extras import version
from tests.gat_pipeline.tables import write_small_splits
from tools.locks import SYSTEMS, closure

ROOT = Path(__file__).parent.parent
CRYSTAL = "data/sample/cifs/MgB2-AlB2.cif"
HIDE = """
import sys
from importlib.machinery import PathFinder
class Base(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)
sys.meta_path[:] = [Base if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture(scope="module")
def base_only(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which only the packages of the base can be imported."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    base = {*closure(lock, "supervision-tc", (), SYSTEMS[0])}
    owners = metadata.packages_distributions()
    hidden = {module for module, names in owners.items() if not base & {*map(canonicalize_name, names)}}
    assert {"accelerate", "peft", "optuna", "tensorboard", "lightgbm", "isal", "fastapi", "pytest"} <= hidden
    assert not {"torch", "timm", "pymatgen", "cv2", "numpy", "tyro"} & hidden
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(HIDE.format(names=sorted(hidden)))
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def python(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=250
    )


@pytest.mark.parametrize("model", ["alignn", "dinov3", "ensemble"])
def test_the_base_predicts_with_every_model(model: str, base_only: dict[str, str]) -> None:
    if not (ROOT / f"models/3dsc/{model}.json").is_file():
        pytest.skip(f"no {model} model is shipped")
    ran = python(base_only, "predict.py", CRYSTAL, "--model", model)
    assert ran.returncode == 0 and "MgB2" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (("-m", "tuning", "--pipeline", "gat"), "optuna"),
        (("-m", "baselines", "--pair"), "lightgbm"),
    ],
)
def test_a_command_of_the_study_says_what_it_needs_in_one_line(
    words: tuple[str, ...], package: str, base_only: dict[str, str]
) -> None:
    ran = python(base_only, *words)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert ran.stderr.startswith(f"error: {package} ") and "pip install -r requirements.txt" in ran.stderr


def test_a_trainer_says_what_it_needs_in_one_line(base_only: dict[str, str], tmp_path: Path) -> None:
    write_small_splits(tmp_path / "p")
    folders = ("--data-dir", tmp_path / "p", "--models-dir", tmp_path / "m", "--results-dir", tmp_path / "r")
    small = ("--init", "random", "--hidden", "8", "--cache-dir", tmp_path / "c")
    ran = python(base_only, "-m", "gat_pipeline.train", *map(str, (*folders, *small)))
    assert ran.returncode == 2 and ran.stderr.splitlines()[-1].startswith("error: accelerate "), ran.stderr
    assert "Traceback" not in ran.stderr


SAYS = f"SuperVision {version()}"
BEGIN_EVERY_COMMAND = """
import runpy, sys
for module in sys.argv[1:]:
    sys.argv = [module, "--version"]
    try:
        runpy.run_module(module.removesuffix(".__main__"), run_name="__main__", alter_sys=True)
    except SystemExit as end:
        print(module, end.code)
    except ImportError as error:
        print(module, error)
"""


def test_every_command_has_a_version_and_begins_without_any_extra(base_only: dict[str, str]) -> None:
    """What an extra brings is imported where `tc_common.cli.run` makes one line of its absence, not before."""
    commands = [*commands_of_the_project()]
    assert {"predict", "check_setup", "web.__main__", "gat_pipeline.train", "tuning.__main__"} <= {*commands}
    ran = python(base_only, "-W", "ignore", "-c", BEGIN_EVERY_COMMAND, *commands)
    # the search, whose flags come with optuna, says in one line that it is missing
    answers = [("tuning.__main__ 2",) if name == "tuning.__main__" else (SAYS, f"{name} 0") for name in commands]
    assert ran.stdout.splitlines() == [line for lines in answers for line in lines]
    assert ran.stderr.startswith("error: optuna ") and ran.stderr.count("\n") == 1


def commands_of_the_project() -> Iterator[str]:
    """Modules that can be started, but for the developers' benchmarks and tools."""
    rooms = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "benchmarks"}]
    for path in sorted([*ROOT.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))]):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)
