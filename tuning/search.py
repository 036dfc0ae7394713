"""The search: trials one after the other by the project's training loop, judged by validation MAE."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from tc_common.callbacks import Callback
from tc_common.cli import log, set_up_log
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.lock import lock_folder
from tc_common.runs import fit
from tc_common.signals import leave_on_signals
from tc_common.splits import splits_sha256
from tc_common.training import TrainingError
from tuning.pipelines import PARTS, Pipeline, as_words
from tuning.report import number_of, say_trial, write_tables
from tuning.spaces import Table
from tuning.study import TuneConfig, finished, identity, next_trial, open_study, require_same


class Judge(Callback):
    """Training callback: report every epoch's validation MAE to the study, prune a trial that falls behind.

    Raises:
        TrialPruned: by `end_epoch`; never in the last epoch, where nothing would be saved.
    """

    def __init__(self, trial: Trial, epochs: int) -> None:
        self.trial, self.epochs = trial, epochs
        # an epoch that was reported but not saved before the kill comes again, with the same number
        self.reported = set(trial.study.trials[trial.number].intermediate_values)

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        epoch = int(row["epoch"])
        if epoch not in self.reported:
            self.trial.report(row["val_mae_K"], epoch)
        if epoch < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned


@dataclass(frozen=True)
class Search:
    """A pipeline, the flags of the search, and the trainer's flags that all trials have."""

    pipeline: Pipeline
    config: TuneConfig
    fixed: tuple[str, ...]
    table: Table

    @property
    def folder(self) -> Path:
        """Folder of the running trial's checkpoints and of the search's lock."""
        return self.config.path(".trials")

    def run(self) -> dict[str, Any]:
        """Run trials until the study has all of them; returns the content of `<name>_best.json`.

        Raises:
            UserError: the study belongs to another search or is in use, the trainer refuses its settings or data, or
                no trial is complete.
            Stopped: SIGINT or SIGTERM came; the same command continues.
        """
        settings = self.pipeline.read(self.fixed)
        with (
            leave_on_signals(),
            lock_folder(self.folder, "--name or --out"),
            open_study(self.config, identity(self.pipeline.module, self.config, self.table, settings)) as study,
        ):
            if not study.trials:
                self._forget_others(0)
            while len(finished(study)) < self.config.trials:
                self._try(study, next_trial(study, self.config, self.table))
                self._write(study)
            return self._write(study)

    def _write(self, study: optuna.Study) -> dict[str, Any]:
        return write_tables(study, self.config, self.pipeline, self.fixed, list(self.table))

    def _try(self, study: optuna.Study, trial: Trial) -> None:
        """Train with a trial's parameters and report the result to the study."""
        number = number_of(trial)
        self._forget_others(number)
        resumed = " goes on" if self._place(number).exists() else ""
        log.info(f"trial {number} of {self.config.trials}{resumed}: {say_trial(trial.params)}")
        try:
            best_val_mae_K = self._train(study, trial)
        except optuna.TrialPruned:
            self._reason(trial, "worse than the median of the complete trials at this epoch")
            study.tell(trial, state=TrialState.PRUNED)
        except TrainingError as error:
            self._reason(trial, str(error))
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, best_val_mae_K)
        self._forget_others(number + 1)

    def _train(self, study: optuna.Study, trial: Trial) -> float:
        """Best validation MAE (K) of one training."""
        started, before_s = time.monotonic(), trial.user_attrs.get("seconds", 0.0)
        try:
            config = self.pipeline.read([*self.fixed, *as_words(trial.params)])
            task = self.pipeline.prepare(config, PARTS)
            data = {"splits_sha256": splits_sha256(task.splits), "structures_sha256": task.structures_sha256}
            data |= {"samples": task.fingerprint, "init": task.init}
            require_same(study, "data", data, self.config)
            folder = self._place(number_of(trial))
            own = replace(config, models_dir=folder, results_dir=folder, resume="auto")
            return fit(task, own, Judge(trial, config.epochs)).best_val_mae
        finally:
            trial.set_user_attr("seconds", before_s + time.monotonic() - started)

    def _reason(self, trial: Trial, text: str) -> None:
        log.info(f"trial {number_of(trial)} ends: {text}")
        trial.set_user_attr("reason", text)

    def _place(self, number: int) -> Path:
        return self.folder / str(number)

    def _forget_others(self, number: int) -> None:
        """Remove the checkpoints of every trial but this one."""
        for folder in self.folder.iterdir():
            if folder.name.isdecimal() and folder != self._place(number):
                shutil.rmtree(folder)


def search(pipeline: Pipeline, config: TuneConfig, fixed: Sequence[str]) -> dict[str, Any]:
    """Search the settings of `pipeline` that the `fixed` flags leave open (see `Search.run`).

    Raises:
        UserError: a flag is refused; see `Search.run`.
    """
    settings = pipeline.read(fixed)
    set_up_log(settings.log_file)
    if place(settings.device, settings.precision).world > 1:
        raise UserError("python -m tuning runs in one process; start it without accelerate launch")
    return Search(pipeline, config, tuple(fixed), pipeline.space(fixed, config.search)).run()
