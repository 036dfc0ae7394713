"""One folder, one trainer: the second is refused with the first one's name, and a dead one blocks nobody."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tc_common import lock
from tc_common.errors import UserError
from tc_common.lock import lock_folder, read_status
from tc_common.runs import run_training
from tests.tc_common.toy import toy_config, toy_task

HOLDER = """
import os, sys, time
from pathlib import Path
from tc_common.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    if sys.argv[2] == "child" and os.fork() == 0:
        time.sleep(60)
    print("mine", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path, kind: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def never(*_: object) -> None:
    raise AssertionError("it waits")


def test_the_second_is_refused_at_once_with_the_name_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(tmp_path) as first:
        monkeypatch.setattr(time, "sleep", never)
        with pytest.raises(UserError) as error, lock_folder(tmp_path):
            pass
        assert f"(pid {first.pid} on {socket.gethostname()} since 20" in str(error.value)
        assert read_status(tmp_path)["pid"] == first.pid


def test_a_name_in_a_folder_is_held_alone(tmp_path: Path) -> None:
    with lock_folder(tmp_path), lock_folder(tmp_path, "--results-dir", "alignn"):
        with lock_folder(tmp_path, "--results-dir", "dinov3"):
            assert read_status(tmp_path, "dinov3")["pid"] == os.getpid()
        with (
            pytest.raises(UserError, match=rf"alignn in .* is in use by another run \(pid {os.getpid()} on"),
            lock_folder(tmp_path, "--results-dir", "alignn"),
        ):
            pass
    assert read_status(tmp_path, "alignn") == {}


def test_two_runs_of_one_name_do_not_write_into_one_results_folder(tmp_path: Path) -> None:
    first, second = (toy_config(tmp_path / name, results_dir=tmp_path / "r") for name in ("one", "two"))
    with (
        lock_folder(first.results_dir, "--results-dir", "toy"),
        pytest.raises(UserError, match=r"toy in .*r is in use by another run .* pick another --results-dir or --name"),
    ):
        run_training(toy_task(second), second)
    assert not (second.models_dir / "toy_last.pth").exists()
    with lock_folder(first.results_dir, "--results-dir", "another"):
        run_training(toy_task(second), second)


def test_the_folder_of_a_killed_trainer_is_free(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert read_status(tmp_path)["pid"] == first.pid
        with lock_folder(tmp_path):
            assert read_status(tmp_path)["pid"] == os.getpid()


def test_the_loaders_of_a_killed_trainer_do_not_hold_its_folder(tmp_path: Path) -> None:
    with holder(tmp_path, "child") as first:
        (loader,) = psutil.Process(first.pid).children()
        first.send_signal(signal.SIGKILL)
        first.wait()
        try:
            with lock_folder(tmp_path):
                assert loader.is_running()
        finally:
            loader.kill()


def test_a_trainer_without_a_status_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(tmp_path):
        (tmp_path / lock.STATUS_FILE).unlink()
        monkeypatch.setattr(lock, "SECONDS_TO_WAIT_FOR_STATUS", 0.3)
        with pytest.raises(UserError, match="which has no status yet"), lock_folder(tmp_path):
            pass


def test_a_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_folder(tmp_path / "models") as held:
            held.write_status(epoch=3)
            assert read_status(tmp_path / "models")["epoch"] == 3
        assert read_status(tmp_path / "models") == {}


@pytest.mark.parametrize("status", ["", "[1]", "{", '{"pid": 1e400}', '{"pid": -1}', '{"pid": 99999999999999999999}'])
def test_whatever_the_status_says_the_lock_decides(status: str, tmp_path: Path) -> None:
    (tmp_path / lock.STATUS_FILE).write_text(status)
    with lock_folder(tmp_path):
        assert read_status(tmp_path)["pid"] == os.getpid()


def test_a_dead_trainer_is_only_known_on_its_own_host() -> None:
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    assert lock._is_dead({"pid": finished.pid, "host": socket.gethostname()})
    assert not lock._is_dead({"pid": finished.pid, "host": "another"})
    assert not lock._is_dead({"pid": os.getpid(), "host": socket.gethostname()})
    assert not lock._is_dead({"pid": 10**20, "host": socket.gethostname()})


def test_a_folder_that_cannot_be_made_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write .*another --models-dir"),
        lock_folder(tmp_path / "file" / "models"),
    ):
        pass


RACES = 50
# Races for every folder of its input, at a given time, and holds it until it is asked to let go.
RACER = """
import sys, time
from pathlib import Path
from tc_common.errors import UserError
from tc_common.lock import lock_folder
print("ready", flush=True)
for line in sys.stdin:
    folder, start = line.split()
    while time.monotonic() < float(start):
        pass
    try:
        with lock_folder(Path(folder)):
            print("won", flush=True)
            sys.stdin.readline()
            print("free", flush=True)
    except UserError as error:
        print(error, flush=True)
"""


def say(racer: "subprocess.Popen[str]", words: str) -> None:
    assert racer.stdin is not None
    racer.stdin.write(words + "\n")
    racer.stdin.flush()


def hear(racer: "subprocess.Popen[str]") -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


def test_of_two_trainers_that_race_for_a_folder_exactly_one_wins(tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-c", RACER], subprocess.PIPE
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        assert [hear(racer) for racer in racers] == ["ready", "ready"]
        for race in range(RACES):
            start = time.monotonic() + 0.01
            for racer in racers:
                say(racer, f"{tmp_path / str(race % 5)} {start}")
            said = [hear(racer) for racer in racers]
            assert said.count("won") == 1, said
            winner = said.index("won")
            assert f"(pid {racers[winner].pid} on " in said[1 - winner]
            say(racers[winner], "let go")
            assert hear(racers[winner]) == "free"
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
