"""`tools/setup.sh`: which Python is taken, and what is said in one line where something is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}


def python_that_says(folder: Path, name: str, before: str = "") -> Path:
    """An interpreter whose `sys` is changed by `before`; everything else is this one."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    script = f"import sys; {before}\nexec(sys.argv.pop(1))"
    path.write_text(f"""#!/bin/sh
if [ "$1" = -c ]; then shift; exec "{sys.executable}" -c '{script}' "$@"; fi
exec "{sys.executable}" "$@"
""")
    path.chmod(0o755)
    return path


def setup(
    tmp_path: Path, requirements: str = "", path: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "tools/setup.sh"), requirements, str(tmp_path / "venv")]
    values = {**ENVIRONMENT, **({"PATH": f"{path}:/usr/bin:/bin"} if path else {}), **environment}
    return subprocess.run(command, cwd=tmp_path, env=values, capture_output=True, text=True, check=False, timeout=120)


def error_of(ran: subprocess.CompletedProcess[str]) -> str:
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 1 and line.startswith("error: ")
    return str(line)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (
            "sys.version_info = (3, 10, 13)",
            "is Python 3.10, and 3.11 or newer is needed; install Python 3.11 or newer",
        ),
        ("sys.maxsize = 2**31 - 1", "is a 32-bit Python, and PyTorch is built for 64 bits only"),
        ('sys.modules["ensurepip"] = None', "has no venv module (Debian, Ubuntu: apt install python"),
        ("sys.exit(1)", "does not run"),
    ],
)
def test_a_python_that_cannot_be_used_is_one_line(tmp_path: Path, before: str, said: str) -> None:
    python = python_that_says(tmp_path / "bin", "python3", before)
    assert said in error_of(setup(tmp_path, PYTHON=str(python)))
    assert not (tmp_path / "venv").exists()


def test_the_newest_that_works_is_taken(tmp_path: Path) -> None:
    """3.14 cannot make environments, 3.13 can: it makes this one."""
    bin_ = tmp_path / "bin"
    python_that_says(bin_, "python3.14", 'sys.modules["ensurepip"] = None')
    for name in ("python3.13", "python3.12"):
        path = bin_ / name
        path.write_text(
            f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\n'
            f'mkdir -p "$3/bin"; echo {name} > "$3/made-by"\n'
        )
        path.chmod(0o755)
    setup(tmp_path, path=str(bin_))
    assert (tmp_path / "venv/made-by").read_text() == "python3.13\n"


def environment_made_by(tmp_path: Path, before: str) -> None:
    python_that_says(tmp_path / "venv/bin", "python", before)


def test_an_environment_of_another_python_is_named(tmp_path: Path) -> None:
    environment_made_by(tmp_path, "sys.version_info = (3, 10, 13)")
    assert "was made with a Python 3.10: remove it (rm -r " in error_of(setup(tmp_path))
    environment_made_by(tmp_path, "sys.version_info = (3, 12, 1)")
    assert setup(tmp_path).returncode == 0
    python = python_that_says(tmp_path / "bin", "python3", "sys.version_info = (3, 13, 0)")
    said = error_of(setup(tmp_path, PYTHON=str(python)))
    assert "was made with Python 3.12, not 3.13: remove it" in said and "VENV=.venv-3.13" in said


def fake_pip(tmp_path: Path, output: str) -> None:
    """An environment whose pip fails with `output`."""
    environment_made_by(tmp_path, "")
    path = tmp_path / "venv/bin/python"
    failing = f'#!/bin/sh\ncase "$*" in *"pip install"*) echo "{output}"; exit 1;; esac\n'
    path.write_text(path.read_text().replace("#!/bin/sh\n", failing))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full: free about 3 GB"),
        (
            "ERROR: No matching distribution found for torch==2.13.0",
            "found for torch==2.13.0: it is built for Python 3.11",
        ),
        ("ERROR: something else", "installation failed: ERROR: something else (all of it: "),
    ],
)
def test_a_failed_installation_is_one_line(tmp_path: Path, output: str, said: str) -> None:
    fake_pip(tmp_path, output)
    assert said in error_of(setup(tmp_path, "requirements.txt"))


def test_without_a_network_the_index_is_named(tmp_path: Path) -> None:
    """A real pip, whose index refuses every connection."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    (tmp_path / "r.txt").write_text("no-such-package-of-ours==1.0\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    assert "the package index cannot be reached" in error_of(setup(tmp_path, "r.txt", **nowhere))


def test_pythons_of_the_makefile_and_the_checks_agree() -> None:
    script = (ROOT / "tools/setup.sh").read_text(encoding="utf-8")
    assert "python3.14 python3.13 python3.12 python3.11 python3" in script
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
