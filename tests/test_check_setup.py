"""`python check_setup.py`: one line per check, and an exit status that tells."""

import subprocess
import sys
from pathlib import Path

import pytest

import check_setup
from gat_pipeline.weights import SHIPPED

ROOT = Path(__file__).parent.parent


def test_the_command_checks_everything_once() -> None:
    result = subprocess.run(
        [sys.executable, "check_setup.py"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 8 and all(line.startswith(("ok ", "FAIL ")) for line in lines)
    wrong = [line for line in lines if line.startswith("FAIL")]
    assert result.returncode == (1 if wrong else 0)
    assert [line.split()[1] for line in wrong] == ([] if SHIPPED.exists() else ["weights"])


def test_a_check_that_fails_is_said_and_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_setup, "occupancies", lambda structure: 0 * check_setup_occupancies(structure))
    assert check_setup.main() == 1
    assert "FAIL  doping" in capsys.readouterr().out


check_setup_occupancies = check_setup.occupancies


def test_flags_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["check_setup.py", "--fast"])
    with pytest.raises(check_setup.UserError, match="takes no flags, got --fast"):
        check_setup.command()
