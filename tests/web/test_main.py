"""The command line: what cannot be served is one line."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tc_common.errors import UserError
from tests.web.made import FACTS, ROOT
from web.__main__ import listening
from web.about import about, sample


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "web", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_mistakes_in_the_command_are_one_line_and_status_2(tmp_path: Path) -> None:
    for arguments, reason in (
        (("--port", "70000"), "--port: from 0 to 65535"),
        (("--models-dir", str(tmp_path)), "no ensemble model is shipped"),
    ):
        ran = run(*arguments)
        assert ran.returncode == 2 and reason in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen there"):
        listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="cannot listen there"):
        listening("no.such.host.invalid", 0)


def test_the_page_says_of_each_model_what_its_card_says() -> None:
    card = FACTS["cards"]["ensemble"]
    assert card["n_train"] > 4000 and 1 < card["test_mae_K"] < 10
    assert card["test_mae_interval_K"][0] < card["test_mae_K"] < card["test_mae_interval_K"][1]


def test_a_folder_without_the_models_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ensemble model is shipped"):
        about(tmp_path, "ensemble")


def test_the_sample_is_listed_with_formulas_as_chemists_write_them() -> None:
    formulas = {each["formula"] for each in sample()}
    assert {"La1.85Sr0.15CuO4", "MgB2", "H3S"} <= formulas
