"""Make the published study: data, trainings, comparison, published results, shipped models, tables, check.

    python -m tools.study --list                  # every stage, whether it is done, and the minutes that remain
    python -m tools.study                         # run what is not done, one stage after another
    python -m tools.study --data-source 3DSC_MP.tar.gz --labels-source Supercon_data_by_2018_Stanev.csv   # offline
    python -m tools.study --only 'stratified/*' --until comparison
    python -m tools.study --small                 # the same stages on the shipped sample, in minutes

Started again it goes on: a stage is skipped when the same command, after the same stages, has ended well, and a
training that was stopped resumes. It stops at the first stage that fails, with the path of its log. All is written
below `--work-dir`, and by the stages called publish, ship and tables into results/3dsc, models and the READMEs.
What the stages are: tools/plan.py; their settings and minutes: tools/recipes.py.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from tc_common.cli import parse, run
from tc_common.lock import lock_folder
from tools.layout import Study
from tools.plan import stages_of
from tools.recipes import FULL, SMALL
from tools.small_inputs import JARVIS, LABELS, inputs_stage
from tools.stages import ROOT, listing, records_of, run_stages, selected


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Settings."""

    data_source: str = "3dsc"
    """Crystals as `python -m data.prepare --source` takes them: 3dsc downloads; a path names the archive or its folder
    (with --small always the sample)."""
    labels_source: str = "download"
    """SuperCon as `python -m data.supercon --source` takes it: download, or the path of its table."""
    jarvis_dir: Path | None = None
    """Folder of the JARVIS superconductors: pre-train ALIGNN on them (default: take the shipped weights)."""
    training_seeds: tuple[int, ...] = (42,)
    """Seeds of ALIGNN's trainings on the stratified split; with several, their mean is published too."""
    work_dir: Path | None = None
    """Folder for all that is made, with records and logs of the stages (default: runs/study, runs/study_small)."""
    publish_dir: Path | None = None
    """Folder with results/, models/ and README.md (default: the project; with --small published/ in --work-dir)."""
    small: bool = False
    """Run the same stages on the shipped sample with tiny settings: it shows that they work, not the accuracy."""
    list: bool = False
    """Show the stages, which are done, and the minutes that remain; run nothing."""
    only: tuple[str, ...] = ()
    """Run these stages alone, if they are not done: names or shell patterns; alignn means that of every split."""
    until: str | None = None
    """Stop after the last stage of this name."""
    python: Path = Path(sys.executable)
    """Interpreter that runs the commands."""
    threads: int = 1
    """Threads of each command (>= 1); the published trainings had one."""

    def __post_init__(self) -> None:
        seeds = self.training_seeds
        if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
            raise ValueError("--training-seeds must name at least one seed >= 0, none of them twice")
        if self.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {self.threads}")


def main(config: StudyConfig) -> None:
    """List the stages, or run them.

    Raises:
        UserError: a stage failed, or another study runs in the folder.
    """
    study = study_of(config)
    stages = [*([inputs_stage(study)] if config.small else []), *stages_of(study)]
    chosen = selected(stages, config.only, config.until)
    if config.list:
        print(listing(chosen, records_of(stages, study.work)))
        return
    with lock_folder(study.work, "--work-dir", "study"):
        run_stages(chosen, stages, study.work, str(config.python), config.threads)
    print(f"all {len(chosen)} stages are done")


def study_of(config: StudyConfig) -> Study:
    """Folders and settings; paths are absolute, because commands run in the project's folder."""
    work = (config.work_dir or ROOT / "runs" / ("study_small" if config.small else "study")).resolve()
    published = (config.publish_dir or (work / "published" if config.small else ROOT)).resolve()
    if config.small:
        return Study(
            work=work, published=published, recipe=SMALL, data_source="sample", labels_source=work / LABELS,
            jarvis_dir=work / JARVIS, training_seeds=config.training_seeds,
        )  # fmt: skip
    return Study(
        work=work, published=published, recipe=FULL, data_source=source(config.data_source),
        labels_source=source(config.labels_source), training_seeds=config.training_seeds,
        jarvis_dir=None if config.jarvis_dir is None else config.jarvis_dir.resolve(),
    )  # fmt: skip


def source(named: str) -> str | Path:
    """A source by name, or the path of one that is there."""
    return Path(named).resolve() if Path(named).exists() else named


if __name__ == "__main__":
    run(lambda: main(parse(StudyConfig, prog="python -m tools.study", description=__doc__ or "")))
