"""Stages: skipped when they are done, run again when their command or what is before them changed, resumable."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tc_common.errors import UserError
from tools.stages import ROOT, Stage, listing, records_of, run_stages, selected

APPEND = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.open('a').write(sys.argv[2])"


def writing(folder: Path, name: str, text: str = "x", reads: tuple[Path, ...] = ()) -> Stage:
    """A stage that appends a text to its output: how often it ran can be read there."""
    output = folder / name
    command = ("-c", APPEND, str(output), text)
    return Stage(name=name, command=command, inputs=reads, outputs=(output,), minutes=2.0)


def two(folder: Path, text: str = "x") -> list[Stage]:
    first = writing(folder, "first", text)
    return [first, writing(folder, "second", reads=(first.outputs[0],))]


def run_all(stages: list[Stage], folder: Path) -> None:
    run_stages(stages, stages, folder, sys.executable)


def states(stages: list[Stage], folder: Path) -> list[str]:
    return [record.state() for record in records_of(stages, folder).values()]


def content(stages: list[Stage]) -> list[str]:
    return [stage.outputs[0].read_text() for stage in stages]


def test_a_stage_that_is_done_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = two(tmp_path)
    assert states(stages, tmp_path) == ["to do", "to do"]
    for _ in range(2):
        run_all(stages, tmp_path)
        assert content(stages) == ["x", "x"] and states(stages, tmp_path) == ["done", "done"]
    assert capsys.readouterr().out.splitlines()[2:] == ["done     first", "done     second"]


def test_a_changed_command_runs_again_and_so_does_what_reads_it(tmp_path: Path) -> None:
    run_all(two(tmp_path), tmp_path)
    stages = two(tmp_path, "y")
    assert states(stages, tmp_path) == ["changed", "changed"]
    run_all(stages, tmp_path)
    assert content(stages) == ["y", "x"], "what the former commands wrote is gone"


def test_a_change_leaves_what_does_not_read_it(tmp_path: Path) -> None:
    other = writing(tmp_path, "other")
    run_all([*two(tmp_path), other], tmp_path)
    assert states([*two(tmp_path, "y"), other], tmp_path) == ["changed", "changed", "done"]


def test_only_the_work_folder_is_cleared(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    outside.mkdir()
    for text in "ab":
        run_all([writing(outside, "first", text)], work)
    assert (outside / "first").read_text() == "ab"


def test_a_stage_whose_output_is_gone_runs_again(tmp_path: Path) -> None:
    stages = two(tmp_path)
    run_all(stages, tmp_path)
    stages[1].outputs[0].unlink()
    assert states(stages, tmp_path) == ["done", "to do"]
    run_all(stages, tmp_path)
    assert content(stages) == ["x", "x"]


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    stages = two(tmp_path)
    run_all(stages, tmp_path)
    records_of(stages, tmp_path)["first"].path.write_text("{")
    assert states(stages, tmp_path) == ["to do", "done"]


def test_a_failure_is_one_line_with_the_log_and_ends_the_study(tmp_path: Path) -> None:
    bad = Stage(name="a/bad", command=("-c", "print('a'); print('no\\x1bdata'); raise SystemExit(3)"), minutes=1)
    stages = [bad, writing(tmp_path, "later")]
    with pytest.raises(UserError) as raised:
        run_all(stages, tmp_path)
    log = tmp_path / "logs" / "a.bad.log"
    assert str(raised.value) == f"a/bad failed with status 3: no\\x1bdata; log: {log}"
    assert log.read_text().startswith("$ python -c ") and not (tmp_path / "later").exists()
    assert states(stages, tmp_path) == ["begun", "to do"]


def test_a_stage_that_writes_nothing_has_failed(tmp_path: Path) -> None:
    lazy = Stage(name="lazy", command=("-c", ""), outputs=(tmp_path / "never",), minutes=1)
    with pytest.raises(UserError, match="lazy ended without writing .*never; log: "):
        run_all([lazy], tmp_path)


PATIENT = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('{saved}').touch(), sys.exit(143)))
pathlib.Path('{begun}').touch()
time.sleep(0 if pathlib.Path('{saved}').exists() else 60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_is_stopped_goes_on_with_the_same_stage(tmp_path: Path, number: int) -> None:
    saved, begun = tmp_path / "saved", tmp_path / "begun"
    stage = Stage(name="slow", command=("-c", PATIENT.format(saved=saved, begun=begun)), outputs=(begun,), minutes=1)
    program = (
        "import sys; from pathlib import Path; from tools.stages import Stage, run_stages\n"
        f"stage = Stage(name='slow', command={stage.command!r}, outputs=(Path({str(begun)!r}),), minutes=1)\n"
        f"run_stages([stage], [stage], Path({str(tmp_path)!r}), sys.executable)\n"
    )
    study = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True)
    while not begun.exists():
        assert study.poll() is None
        time.sleep(0.05)
    study.send_signal(number)
    status = study.wait(60)
    assert states([stage], tmp_path) == ["begun"]
    if number == signal.SIGTERM:
        assert status == 143 and saved.exists(), "the command was told, and saved"
    else:
        end_orphan(str(begun))
        saved.touch()
    run_all([stage], tmp_path)
    assert states([stage], tmp_path) == ["done"]


def end_orphan(word: str) -> None:
    """End the command that outlived a study killed with -9."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            mine = path.stat().st_uid == os.getuid() and word.encode() in path.read_bytes()
        except OSError:
            continue
        if mine and int(path.parent.name) != os.getpid():
            os.kill(int(path.parent.name), signal.SIGKILL)


def test_a_stage_alone_needs_what_is_before_it(tmp_path: Path) -> None:
    stages = two(tmp_path)
    with pytest.raises(UserError, match=r"second needs first \(to do\); run that first: --only first"):
        run_stages(stages[1:], stages, tmp_path, sys.executable)
    assert not (tmp_path / "second").exists()


def test_stages_are_chosen_by_name_pattern_and_end(tmp_path: Path) -> None:
    stages = [Stage(name=name, command=(), minutes=1) for name in ("a/data", "a/train", "b/data", "b/train", "end")]
    chosen = {
        ("train",): ["a/train", "b/train"],
        ("a/*", "end"): ["a/data", "a/train", "end"],
        (): [stage.name for stage in stages],
    }
    for only, names in chosen.items():
        assert [stage.name for stage in selected(stages, only, None)] == names
    assert [stage.name for stage in selected(stages, (), "data")] == ["a/data", "a/train", "b/data"]
    assert [stage.name for stage in selected(stages, ("train",), "a/train")] == ["a/train"]
    with pytest.raises(UserError, match="no stage is called c; python -m tools.study --list"):
        selected(stages, (), "c")


def test_the_list_says_what_remains(tmp_path: Path) -> None:
    stages = two(tmp_path)
    run_stages(stages[:1], stages, tmp_path, sys.executable)
    rows = listing(stages, records_of(stages, tmp_path)).splitlines()
    assert [row.split() for row in rows[:2]] == [
        ["done", "first", "2.0", "min"],
        ["to", "do", "second", "2.0", "min"],
    ]
    assert rows[2] == "1 of 2 stages remain: 2 minutes of one core"


def test_an_input_that_nothing_makes_is_a_defect(tmp_path: Path) -> None:
    stages = two(tmp_path)
    with pytest.raises(ValueError, match="second reads .*first, which no earlier stage writes"):
        records_of(stages[::-1], tmp_path)
    with pytest.raises(ValueError, match="two stages are called first"):
        records_of([stages[0], stages[0]], tmp_path)
