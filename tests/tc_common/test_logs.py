"""Lines on the terminal and in the log file."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tc_common.cli import log, set_up_log
from tc_common.errors import UserError


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    set_up_log(None)
    for handler in log.handlers[:]:
        log.removeHandler(handler)


def test_lines_go_to_stderr_plain_and_to_the_file_with_their_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "run.log"
    set_up_log(path)
    log.info("one")
    set_up_log(path)
    log.info("two")
    assert capsys.readouterr().err == "one\ntwo\n"
    lines = path.read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line) for line in lines] == ["one", "two"]


def test_other_processes_say_only_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_log(tmp_path / "run.log", is_main=False)
    log.info("one")
    log.error("two")
    assert capsys.readouterr().err == "two\n"
    assert not (tmp_path / "run.log").exists()


def test_a_file_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--log-file .* cannot be written"):
        set_up_log(tmp_path)
