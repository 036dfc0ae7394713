"""Copy what is published of a results folder, and remove what an earlier study published there.

    python -m tools.publish --source runs/study/results/stratified --out results/3dsc/stratified
    python -m tools.publish --source runs/study/results/stratified --out runs/study/shipped --models pair alignn

Published are predictions, metrics, settings, curves, comparisons and plots, of the folder and those below it; not
checkpoints, TensorBoard files, single baselines, or the HTML page. Settings are published with the folders of the
defaults, for those of the study are private. Files that people wrote, such as README.md, are left alone.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_json, write_json
from tc_common.further import FURTHER_TESTS

TESTS = ("", "val_", *(f"{test}_" for test in FURTHER_TESTS))
ENDINGS = (*(f"_{test}predictions.csv" for test in TESTS), "_metrics.json", "_config.json", "_history.csv")
"""Files of a model, after its name."""
PATTERNS = (
    "*_predictions.csv", "*_metrics.json", "*_config.json", "*_history.csv", "*_analysis.json", "comparison.json",
    "comparison.md", "comparison_intervals.csv", "splits.csv.gz", "runs.csv", "runs_predictions.csv.gz",
    "learning_curve.csv", "transfer.csv", "transfer.md",
)  # fmt: skip
LEFT_OUT = ("baselines", "tensorboard")
PLOTS = "plots"
# Folders of the defaults, and files that the study keeps elsewhere.
FOLDERS = {"data_dir": "data/processed", "images_dir": "data/images", "models_dir": "models", "results_dir": "results"}
FILES = {"prior": "data/processed", "extra_labels": "data/processed", "output": "models/pretrained"}


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """Settings."""

    source: Path
    """Folder of the study."""
    out: Path
    """Folder to publish in."""
    models: tuple[str, ...] = ()
    """Copy the files of these models alone (default: all of them, and the comparison)."""
    only: tuple[str, ...] = ()
    """Copy the files of the folder that fit these shell patterns, and remove nothing."""


def main(config: PublishConfig) -> None:
    """Copy, remove what is no longer there, say how much.

    Raises:
        UserError: there is nothing to publish.
    """
    if config.out.resolve() == config.source.resolve():
        raise UserError(f"--out {config.out} is --source; name another folder")
    chosen = sorted(chosen_files(config))
    if not chosen:
        raise UserError(f"{config.source} holds nothing to publish; run the study's earlier stages")
    for path in chosen:
        copy(path, config.out / path.relative_to(config.source))
    stale = [] if config.only else stale_files(config, {path.relative_to(config.source) for path in chosen})
    for path in stale:
        path.unlink()
    print(f"{config.out}: {len(chosen)} files, {len(stale)} of an earlier study removed")


def chosen_files(config: PublishConfig) -> Iterator[Path]:
    """The files to copy."""
    if config.only:
        return (path for pattern in config.only for path in config.source.glob(pattern))
    if config.models:
        named = (config.source / f"{model}{ending}" for model in config.models for ending in ENDINGS)
        return (path for path in named if path.is_file())
    return published_files(config.source)


def published_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is, or was, published."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part in LEFT_OUT for part in inside):
            is_plot = path.parent.name == PLOTS and path.suffix == ".png"
            if is_plot or any(path.match(pattern) for pattern in PATTERNS):
                yield path


def stale_files(config: PublishConfig, copied: set[Path]) -> list[Path]:
    """What an earlier study published and this one does not."""
    return [path for path in published_files(config.out) if path.relative_to(config.out) not in copied]


def copy(path: Path, out: Path) -> None:
    """Copy one file, whole or not at all; settings with the folders of the defaults."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith("_config.json"):
        write_json(out, without_private_folders(read_json(path)))
        return
    with atomic_write(out) as temporary:
        shutil.copyfile(path, temporary)


def without_private_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a training as if it had read and written the default folders."""
    cache = "data/cache/graphs" if "graph" in settings else "data/cache"
    public = {**FOLDERS, "cache_dir": cache, "log_file": None, "exclude_split": None}
    public |= {name: f"{folder}/{Path(settings[name]).name}" for name, folder in FILES.items() if settings.get(name)}
    if "/" in str(settings.get("init", "")):
        public["init"] = Path(settings["init"]).name
    return settings | {name: value for name, value in public.items() if name in settings}


if __name__ == "__main__":
    run(lambda: main(parse(PublishConfig, prog="python -m tools.publish", description=__doc__ or "")))
