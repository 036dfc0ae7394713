"""Reading and replacing flags of a command line, cutting groups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.commands import Command, Cut, split_at_dashes
from tc_common.errors import UserError


def command(line: str) -> Command:
    return Command(tuple(line.split()))


def test_flags_are_read_in_all_their_spellings() -> None:
    for spelling in ("--batch-size 8", "--batch_size 8", "--batch-size=8", "--batch-size 4 --batch-size 8"):
        assert command(f"python -m x {spelling} --seed 1").flag("batch_size") == "8"
    assert command("python -m x --batch-size-more 8").flag("batch_size") is None
    assert command("python -m x --batch-size").flag("batch_size") is None


def test_flags_are_replaced_and_nothing_else() -> None:
    before = command("python -m x --batch_size=8 --seed 1 --num-workers 4 --batch-size 9 --tune")
    after = before.with_flags(batch_size=4, num_workers=0)
    assert str(after) == "python -m x --seed 1 --tune --batch-size 4 --num-workers 0"


def test_module_and_folder_are_found() -> None:
    assert command("accelerate launch -m gat_pipeline.train --models-dir a/b").module == "gat_pipeline.train"
    assert str(command("python -m x --models-dir a/b").models_dir) == "a/b"
    assert str(command("python x.py").models_dir) == "models" and command("python x.py").module is None


def test_the_command_is_behind_the_dashes() -> None:
    own, theirs = split_at_dashes(["--attach", "3", "--", "python", "--", "x"])
    assert own == ["--attach", "3"] and theirs == Command(("python", "--", "x"))
    assert split_at_dashes(["--help"]) == (["--help"], None)
    with pytest.raises(UserError, match="no command behind --"):
        split_at_dashes(["--"])


@given(batch=st.integers(1, 64), accumulation=st.integers(1, 16), least=st.integers(1, 4))
def test_a_halved_cut_has_the_same_samples_per_step(batch: int, accumulation: int, least: int) -> None:
    halved = Cut(batch, accumulation).halved(least)
    if halved is None:
        assert batch // 2 < least or (batch * accumulation) % least
    else:
        assert halved.batch_size * halved.grad_accumulation == batch * accumulation
        assert least <= halved.batch_size <= batch / 2


def test_known_cuts() -> None:
    assert Cut(8, 1).halved(1) == Cut(4, 2)
    assert Cut(9, 1).halved(1) == Cut(3, 3)
    assert Cut(7, 1).halved(1) == Cut(1, 7)
    assert Cut(3, 2).halved(2) is None and Cut(1, 8).halved(1) is None
    assert str(Cut(4, 2)) == "batch 4 x 2"
