"""Command lines: help says what a flag means, a mistake is one line and status 2."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.lock import lock_folder
from tests.tc_common.runs import flags, start_toy
from tests.tc_common.toy import ToyConfig


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a crystal."""

    cutoff_A: float = 8.0
    """Largest bond length in angstrom (> 0)."""
    seed: int = 42
    """Seed (>= 0)."""

    def __post_init__(self) -> None:
        if self.cutoff_A <= 0:
            raise ValueError(f"--cutoff-A must be > 0, got {self.cutoff_A}")


def parsed(*args: str) -> Settings:
    return parse(Settings, prog="python -m crystal", description="Reads crystals.", args=args)


def complaint(*args: str) -> str:
    with pytest.raises(UserError) as error:
        parsed(*args)
    return str(error.value)


def test_flags_become_settings() -> None:
    assert parsed() == Settings()
    assert parsed("--cutoff-A", "5", "--seed", "1") == Settings(cutoff_A=5.0, seed=1)


def test_a_mistake_is_one_line_that_names_the_flag_and_the_help() -> None:
    assert "--sed" in complaint("--sed", "1") and "did you mean --seed" in complaint("--sed", "1")
    assert "--seed" in complaint("--seed", "x") and "x" in complaint("--seed", "x")
    assert "--cutoff-A must be > 0, got -1.0" in complaint("--cutoff-A", "-1")
    for message in (complaint("--sed", "1"), complaint("--seed", "x"), complaint("--cutoff-A", "-1")):
        assert message.endswith("(see python -m crystal --help)")
        assert "\n" not in message and not set("│╭╰─") & set(message)


def test_help_says_meaning_units_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed("--help")
    assert not stop.value.code
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "Largest bond length in angstrom (> 0). (default: 8.0)" in said


def test_a_users_mistake_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("a.csv is missing;\n make it")

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: a.csv is missing; make it\n"


def test_ctrl_c_is_130_and_a_defect_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(interrupted)
    assert stop.value.code == 130
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, got 0"),
        ({"epoch": 3}, "--epoch"),
        ({"device": "tpu"}, "--device tpu is not available"),
        ({"resume": "nowhere.pth"}, "nowhere.pth is missing"),
        ({"results_dir": "/proc/results"}, "cannot write /proc/results"),
        ({"models_dir": "/proc/models"}, "cannot write /proc/models"),
    ],
)
def test_a_trainers_mistakes(
    wrong: dict[str, str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tc_common import toy

    with pytest.raises(SystemExit) as stop:
        run(lambda: toy.main(parse(ToyConfig, prog="toy", description="", args=flags(tmp_path, **wrong))))
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and named in said[0]


def test_a_second_trainer_in_the_same_folder_leaves_at_once_and_names_the_first(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "models"):
        second = start_toy(tmp_path)
        _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"is in use by another run (pid {os.getpid()} on " in said and len(said.splitlines()) == 1
    assert not (tmp_path / "results").exists()
