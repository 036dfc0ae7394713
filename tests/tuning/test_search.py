"""The search finds, prunes, lists failures, and goes on after a kill as if nothing had happened."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import psutil
import pytest

from tc_common.errors import UserError
from tc_common.lock import lock_folder
from tc_common.signals import Stopped
from tests.tc_common.runs import stop_after_steps
from tests.tuning import made
from tests.tuning.made import EPOCHS, RATES, prepare, trials, tune
from tuning import search as search_module
from tuning.search import Judge
from tuning.spaces import Choice, Parameter, Table, decades

BAD, GOOD = 1e-6, 0.05
TWO_RATES: Table = {"learning_rate": Parameter(Choice((BAD, GOOD)))}
STEPS_OF_A_TRIAL = EPOCHS * 10  # groups of 4 of 40 samples


def test_the_better_of_two_rates_is_found(tmp_path: Path) -> None:
    best = tune(tmp_path, TWO_RATES, trials=4, warm_up_epochs=9)
    table = trials(tmp_path)
    errors_K = table.groupby("learning_rate")["val_mae_K"].min()
    assert set(errors_K.index) == {BAD, GOOD}, "both were tried"
    assert best["settings"] == {"learning_rate": GOOD}
    assert best["val_mae_K"] == errors_K[GOOD] < errors_K[BAD] - 0.5
    assert best["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert json.loads((tmp_path / "toy_best.json").read_text()) == best
    assert best["command"].endswith("--learning-rate 0.05")


def test_trials_that_fall_behind_end_early(tmp_path: Path) -> None:
    tune(tmp_path, trials=7, warm_up_epochs=1, words=["--epochs", "4"])
    table = trials(tmp_path)
    pruned, complete = (table[table["state"] == state] for state in ("pruned", "complete"))
    assert len(pruned) and len(complete) >= 2 and len(pruned) + len(complete) == 7
    assert (pruned["epochs"].between(1, 3)).all() and (complete["epochs"] == 4).all()
    assert pruned["val_mae_K"].min() > complete["val_mae_K"].min()
    assert pruned["reason"].str.contains("median").all() and (pruned["number"] > 2).all()


def test_nothing_ends_early_while_it_warms_up(tmp_path: Path) -> None:
    tune(tmp_path, trials=7, warm_up_epochs=4, words=["--epochs", "4"])
    assert (trials(tmp_path)["state"] == "complete").all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    tune(folder)
    return trials(folder)


@pytest.mark.parametrize("step", [1, STEPS_OF_A_TRIAL - 5, STEPS_OF_A_TRIAL, 2 * STEPS_OF_A_TRIAL + 5])
def test_a_stopped_search_goes_the_same_way(step: int, undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    stop_after_steps(step, lambda: tune(tmp_path))
    tune(tmp_path)
    pd.testing.assert_frame_equal(trials(tmp_path), undisturbed)
    assert undisturbed["number"].tolist() == [1, 2, 3, 4]
    assert undisturbed["learning_rate"].is_unique, "the sampler does not begin anew"


def die_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: int) -> None:
    """SIGTERM in the `when`-th call of a function, once it has done its work."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = original(*args, **options)
        if calls == when:
            signal.raise_signal(signal.SIGTERM)
        return answer

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        (optuna.Study, "add_trial", 3),  # with its parameters, but not trained (the sampler adds the first once more)
        (Judge, "end_epoch", 3),  # told to the study, but not saved
        (search_module, "fit", 2),  # trained, but not told to the study
        (optuna.Study, "tell", 2),  # told to the study, but not in the table
    ],
)
def test_a_kill_at_any_seam_loses_and_repeats_nothing(
    owner: Any, name: str, when: int, undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        die_once(patch, owner, name, when)
        with pytest.raises(Stopped) as stop:
            tune(tmp_path)
        assert stop.value.code == 143
    tune(tmp_path)
    pd.testing.assert_frame_equal(trials(tmp_path), undisturbed)


def test_a_finished_search_is_continued_by_a_larger_number(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    tune(tmp_path, trials=1)
    tune(tmp_path)
    pd.testing.assert_frame_equal(trials(tmp_path), undisturbed)
    assert not [path for path in (tmp_path / "toy.trials").iterdir() if path.name.isdecimal()], "checkpoints stay"


def test_a_training_that_diverges_is_a_failed_trial(tmp_path: Path) -> None:
    table = {"learning_rate": Parameter(Choice((1e30, GOOD))), "grad_clip": Parameter(Choice((0.0,)))}
    best = tune(tmp_path, table)
    failed = trials(tmp_path).query("state == 'failed'")
    assert len(failed) and (failed["learning_rate"] == 1e30).all() and best["trials"]["failed"] == len(failed)
    assert failed["reason"].str.contains(r"epoch \d, step \d+: .* is (?:nan|inf)").all()
    assert best["settings"]["learning_rate"] == GOOD


def test_a_search_without_any_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trial is complete; .*toy_trials.csv lists the reasons"):
        tune(tmp_path, {"learning_rate": Parameter(Choice((1e30,)))}, trials=2)
    assert trials(tmp_path)["state"].tolist() == ["failed", "failed"]


def test_a_setting_that_the_trainer_refuses_stops_the_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--patience must be at least 1"):
        tune(tmp_path, {"patience": Parameter(Choice((0,)))})
    assert not (tmp_path / "toy_trials.csv").exists()


@pytest.fixture(scope="module")
def one_trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_trial")
    tune(folder, trials=1)
    return folder


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"words": ["--epochs", "3"]}, "epochs 2 -> 3"),
        ({"words": ["--batch-size", "8"]}, "batch_size 4 -> 8"),
        ({"words": ["--loss", "l1"]}, "loss None -> l1"),
        ({"table": {"learning_rate": Parameter(decades(1e-6, 0.1)), "loss": RATES["loss"]}}, "search learning_rate"),
        ({"seed": 7}, "python -m tuning seed 42 -> 7"),
        ({"warm_up_epochs": 1}, "python -m tuning warm_up_epochs 3 -> 1"),
    ],
)
def test_another_search_is_refused(changes: dict[str, Any], named: str, one_trial: Path) -> None:
    before = trials(one_trial)
    with pytest.raises(UserError, match=named) as refusal:
        tune(one_trial, **{"trials": 2, **changes})
    assert "toy.db belongs to another search" in str(refusal.value)
    pd.testing.assert_frame_equal(trials(one_trial), before)


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(tmp_path, trials=1)

    def one_less(config: Any, parts: Any) -> Any:
        task = prepare(config, parts)
        task.splits = {**task.splits, "test": task.splits["test"].iloc[1:]}
        return task

    monkeypatch.setattr(made, "prepare", one_less)
    with pytest.raises(UserError, match="splits_sha256 [0-9a-f]{64} -> [0-9a-f]{64}"):
        tune(tmp_path, trials=2)
    monkeypatch.undo()
    assert tune(tmp_path, trials=2)["trials"]["complete"] == 2


def test_settings_may_be_mended_while_there_is_no_result(tmp_path: Path) -> None:
    stop_after_steps(1, lambda: tune(tmp_path, words=["--epochs", "1"]))
    tune(tmp_path, words=["--epochs", "3"], trials=1)
    assert trials(tmp_path)["epochs"].tolist() == [3]


def test_one_search_at_a_time(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "toy.trials"), pytest.raises(UserError, match="is in use .* another --name or --out"):
        tune(tmp_path)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.db").write_text("not a database, but long enough to be taken for one at first\n" * 9)
    with pytest.raises(UserError, match="toy.db cannot be used: .*not a database.*pick another --name") as refusal:
        tune(tmp_path)
    assert refusal.tb is not None  # what the traceback holds would keep the file open
    assert not [file for file in psutil.Process().open_files() if file.path.endswith("toy.db")]


def test_names_of_folders_may_be_odd(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20?c#d"
    tune(folder, trials=1)
    assert (folder / "toy.db").is_file() and {path.name for path in tmp_path.iterdir()} == {folder.name}
