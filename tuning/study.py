"""The study: its settings, its SQLite file (refused where it belongs to another search), and the next trial.

What a trial draws depends on (seed of the search, number of the trial, the trials before it) alone, so a search that
was killed and started again ends as an undisturbed one. A trial is stored with all its parameters in one transaction;
an unfinished one was interrupted and is resumed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tc_common.errors import UserError
from tc_common.runs import FREE_SETTINGS
from tc_common.task import TrainConfig
from tuning.spaces import Table

STUDY = "tuning"
# Free for a checkpoint because their product or their content is compared there; here they change the trials.
BOUND_HERE = {"batch_size", "grad_accumulation", "init"}


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of the search; the trainer's own follow behind `--`."""

    pipeline: Literal["gat", "vision"]
    """Whose settings are searched: gat (ALIGNN) or vision (DINOv3)."""
    trials: int = 30
    """Trials of the study in all (>= 1); a larger number continues a finished study."""
    search: tuple[str, ...] = ()
    """Parameters to search (default: the usual ones that have an effect with the fixed settings)."""
    startup_trials: int = 5
    """Trials drawn at random before any is drawn by the model of the others, or pruned (>= 1)."""
    warm_up_epochs: int = 3
    """Epochs that every trial may run before it is compared with the others (>= 0)."""
    seed: int = 42
    """Seed of the search (>= 0); the trainings have their own, behind --."""
    out: Path = Path("results/3dsc/tuning")
    """Folder for the study and its tables."""
    name: str | None = None
    """Name of the study, the beginning of its files' names (default: the pipeline's)."""

    def __post_init__(self) -> None:
        for field, least in (("trials", 1), ("startup_trials", 1), ("warm_up_epochs", 0), ("seed", 0)):
            if getattr(self, field) < least:
                raise ValueError(f"--{field.replace('_', '-')} must be at least {least}, got {getattr(self, field)}")
        if not re.fullmatch(r"\w[\w-]*", self.stem):
            raise ValueError(f"--name must be letters, digits, _ and -, got {self.name!r}")

    @property
    def stem(self) -> str:
        """The study's name."""
        return self.name if self.name is not None else self.pipeline

    def path(self, ending: str) -> Path:
        """`<out>/<name><ending>`."""
        return self.out / f"{self.stem}{ending}"


@contextmanager
def open_study(config: TuneConfig, settings: dict[str, Any]) -> Iterator[optuna.Study]:
    """The study of these settings (see `identity`), from its file or new; one without a result is begun anew.

    Raises:
        UserError: the study is another search's; the file is no study, another release's, or cannot be written.
    """
    path = config.path(".db")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _storage(path)
        study = _create(storage, config)
        if not any(trial.intermediate_values or trial.state.is_finished() for trial in study.trials):
            optuna.delete_study(study_name=STUDY, storage=storage)
            study = _create(storage, config)
        require_same(study, "settings", settings, config)
        yield study
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "version" not in str(error):
            raise
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"{path} cannot be used: {reason}; free space, or pick another --name or --out") from error


def _storage(path: Path) -> optuna.storages.RDBStorage:
    """The file; without a pool no connection stays open, not even to a file that is refused while it is opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def _create(storage: optuna.storages.RDBStorage, config: TuneConfig) -> optuna.Study:
    return optuna.create_study(
        study_name=STUDY,
        storage=storage,
        load_if_exists=True,
        sampler=RandomSampler(),  # never asked: `draw` draws
        pruner=MedianPruner(n_startup_trials=config.startup_trials, n_warmup_steps=config.warm_up_epochs),
    )


def identity(module: str, config: TuneConfig, table: Table, settings: TrainConfig) -> dict[str, Any]:
    """What must agree before a study is continued, in addition to the data."""
    free = (FREE_SETTINGS - BOUND_HERE) | set(table)
    fixed = {name: value for name, value in settings.plain().items() if name not in free}
    searched = {f"search {name}": str(row.values) for name, row in table.items()}
    own = {f"python -m tuning {name}": getattr(config, name) for name in ("seed", "startup_trials", "warm_up_epochs")}
    return {"trainer": module, **fixed, **searched, **own}


def require_same(study: optuna.Study, what: str, ours: dict[str, Any], config: TuneConfig) -> None:
    """Store this metadata with the study, or compare it with the stored one.

    Raises:
        UserError: they differ (each named, then and now).
    """
    theirs = study.user_attrs.get(what)
    if theirs is None:
        study.set_user_attr(what, ours)
        return
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if differing:
        shown = ", ".join(f"{name} {theirs.get(name)} -> {ours.get(name)}" for name in differing)
        path = config.path(".db")
        raise UserError(f"{path} belongs to another search ({shown}); use those settings, or another --name or --out")


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are complete, pruned or failed."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def next_trial(study: optuna.Study, config: TuneConfig, table: Table) -> Trial:
    """The trial that was interrupted, if there is one; else a new one, begun."""
    running = study.get_trials(states=(TrialState.RUNNING,))
    if not running:
        space = {name: row.values for name, row in table.items()}
        study.add_trial(create_trial(state=TrialState.RUNNING, params=draw(study, config, table), distributions=space))
        running = study.get_trials(states=(TrialState.RUNNING,))
    assert len(running) == 1, "one search at a time"
    return Trial(study, running[0]._trial_id)


def draw(study: optuna.Study, config: TuneConfig, table: Table) -> dict[str, Any]:
    """Parameters of the next trial, by TPE from the finished ones."""
    seed = np.random.SeedSequence((config.seed, len(study.trials))).generate_state(1)[0]
    sampler = TPESampler(seed=int(seed), n_startup_trials=config.startup_trials)
    shadow = optuna.create_study(sampler=sampler)
    shadow.add_trials(study.trials)
    return shadow.ask({name: row.values for name, row in table.items()}).params
