"""What a search found: a table with a row per trial, and the best trial as a command line of the trainer."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, Trial, TrialState

from tc_common.environment import git_commit, processor
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json
from tuning.pipelines import Pipeline, as_words
from tuning.study import TuneConfig

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def write_tables(
    study: optuna.Study, config: TuneConfig, pipeline: Pipeline, fixed: Sequence[str], names: list[str]
) -> dict[str, Any]:
    """Write `<name>_trials.csv` and, once a trial is complete, `<name>_best.json`, whose content is returned.

    Raises:
        UserError: all trials have ended and none is complete.
    """
    ended = [trial for trial in study.trials if trial.state in STATES]
    write_csv(config.path("_trials.csv"), pd.DataFrame([row_of(trial, names) for trial in ended]))
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    if complete:
        content = best_of(study, config, pipeline, fixed)
        write_json(config.path("_best.json"), content)
        return content
    if len(ended) >= config.trials:
        raise UserError(f"no trial is complete; {config.path('_trials.csv')} lists the reasons")
    return {}


def row_of(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """A line of the table; `val_mae_K` is the best of the trial's epochs, `seconds` what it took, stops left out."""
    errors_K = trial.intermediate_values
    return {
        "number": number_of(trial),
        "state": STATES[trial.state],
        "val_mae_K": min(errors_K.values(), default=None),
        "epochs": len(errors_K),
        "seconds": seconds_of(trial),
        **{name: trial.params[name] for name in names},
        "reason": trial.user_attrs.get("reason", ""),
    }


def best_of(study: optuna.Study, config: TuneConfig, pipeline: Pipeline, fixed: Sequence[str]) -> dict[str, Any]:
    """The best complete trial, and what it takes to train it again and to trust it."""
    best = study.best_trial
    counts = Counter(STATES[trial.state] for trial in study.trials if trial.state in STATES)
    return {
        "val_mae_K": best.value,
        "trial": number_of(best),
        "epochs": len(best.intermediate_values),
        "settings": best.params,
        "command": pipeline.command([*fixed, *as_words(best.params)]),
        "trials": {state: counts[state] for state in STATES.values()},
        "seconds": round(sum(seconds_of(trial) for trial in study.trials), 1),
        "seed": config.seed,
        **study.user_attrs["data"],
        "search": study.user_attrs["settings"],
        "git_commit": git_commit(),
        "optuna": optuna.__version__,
        "processor": processor(),
    }


def number_of(trial: Trial | FrozenTrial) -> int:
    """From 1, as people count."""
    return trial.number + 1


def seconds_of(trial: FrozenTrial) -> float:
    """Wall-clock time of preparing, training and validating."""
    return round(float(trial.user_attrs.get("seconds", 0.0)), 1)


def say_trial(params: dict[str, Any]) -> str:
    """Parameters on one line, numbers to four digits."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in params.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def say_best(content: dict[str, Any], config: TuneConfig) -> str:
    """The end of the search for whoever started it."""
    trials = ", ".join(f"{number} {state}" for state, number in content["trials"].items())
    return "\n".join(
        (
            f"{trials}; {content['seconds']:.0f} s",
            f"best: trial {content['trial']}, validation MAE {content['val_mae_K']:.3f} K "
            f"after {content['epochs']} epochs: {say_trial(content['settings'])}",
            f"train it with: {content['command']}",
            f"written: {config.path('_trials.csv')}, {config.path('_best.json')}",
        )
    )
