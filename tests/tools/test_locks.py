"""`make lock-check`: pyproject.toml, the requirements files and both locks agree; every disagreement is seen."""

import shutil
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import locks
from tools.locks import FILES, SYSTEMS, check, closure, has_wheel, locked_requirements, requirements_text

ROOT = Path(__file__).parent.parent.parent
LOCKS = ("pyproject.toml", "uv.lock", "requirements.lock", *FILES)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in LOCKS:
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_files_of_this_project_agree() -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("requirements.txt", "peft==0.21.2", "peft==0.21.1", "requirements.txt is not what pyproject.toml says"),
        ("pyproject.toml", '"gemmi==0.7.5"', '"gemmi==0.7.4"', "differ in : gemmi==0.7.4 ; , : gemmi==0.7.5 ; "),
        ("pyproject.toml", "python_version < '3.12'", "python_version < '3.13'", "study: dgl==1.1.3"),
        ("pyproject.toml", '>=3.11"', '>=3.12"', "another version of the project or of Python"),
        ("uv.lock", "https://pypi.org/simple", "https://mirror.example/simple", "uv.lock takes absl-py from"),
        ("uv.lock", "https://files.pythonhosted.org/", "https://mirror.example/", "from https://mirror.example/"),
        ("requirements.lock", "gemmi==0.7.5", "gemmi==0.7.4", "differ in gemmi==0.7.4, gemmi==0.7.5 for Python 3.11"),
        ("requirements.lock", "sha256:", "sha256:0", "requirements.lock and uv.lock differ in absl-py=="),
    ],
)
def test_a_disagreement_is_said(copied: Path, name: str, old: str, new: str, said: str) -> None:
    edit(copied / name, old, new)
    assert any(said in problem and "\n" not in problem for problem in check(copied)), check(copied)


def test_a_package_without_a_wheel_for_a_later_python_is_said(copied: Path) -> None:
    text = (copied / "uv.lock").read_text(encoding="utf-8")
    start = text.index('name = "gemmi"')
    end = text.index("[[package]]", start)
    kept = [line for line in text[start:end].splitlines() if "-cp314-" not in line]
    (copied / "uv.lock").write_text(text[:start] + "\n".join(kept) + "\n\n" + text[end:], encoding="utf-8")
    problems = [problem for problem in check(copied) if "has no wheel of gemmi" in problem]
    assert problems and all("Python 3.14" in problem for problem in problems)


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_every_extra_resolves_with_wheels_on_every_system(system: locks.System) -> None:
    """Python 3.14 is not on every machine of ours: what would be installed there is looked up in the lock."""
    lock = locks.tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    needed = closure(lock, "supervision-tc", ("study", "web", "screen", "dev"), system)
    assert {"torch", "pymatgen", "alignn", "fastapi", "ray", "pytest"} <= {*needed}
    assert ("dgl" in needed) == (system.python == (3, 11))
    assert all(has_wheel(package, system.tags()) for package in needed.values())


def test_the_base_is_small() -> None:
    lock = locks.tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    base = set(closure(lock, "supervision-tc", (), SYSTEMS[0]))
    without_cuda = {name for name in base if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert len(without_cuda) <= 66
    heavy = {"transformers", "accelerate", "peft", "grpcio", "sqlalchemy", "ase", "lmdb", "flake8", "alignn", "dgl"}
    assert not heavy & base


def test_requirements_files_are_pins_that_pip_reads() -> None:
    lines = [line for name in FILES for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    pins = [Requirement(line.partition(" #")[0]) for line in lines if line and line[0] not in "#-"]
    assert len(pins) > 40 and all(str(pin.specifier).startswith("==") for pin in pins)
    assert {line for line in lines if line.startswith("-")} <= {f"-r {name}" for name in FILES}


def test_reasons_of_pyproject_stay_beside_the_pins() -> None:
    text = requirements_text(
        FILES["requirements-web.txt"], 'web = [\n    # the page\n    "a==1",  # why\n    "b==2",\n]\n'
    )
    assert text.splitlines()[2:] == ["-r requirements-predict.txt", "# the page", "a==1  # why", "b==2"]


def test_a_hash_pinned_file_is_read_line_by_line() -> None:
    first = "# x\na==1 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n    # via b\n"
    text = first + "b==2 ; python_version < '3.12' \\\n    --hash=sha256:3\n"
    assert locked_requirements(text) == [
        ("a==1", None, frozenset({"sha256:1", "sha256:2"})),
        ("b==2", "python_version < '3.12'", frozenset({"sha256:3"})),
    ]


def test_no_lock_names_another_place_than_the_public_index() -> None:
    for name in ("uv.lock", "requirements.lock", *FILES):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "file:" not in text.replace('"file:"', "") and "--index-url" not in text and "--find-links" not in text


def test_a_wrong_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert locks.main(["chekc"]) == 2
    assert capsys.readouterr().err == "error: python tools/locks.py check or write, not chekc\n"
