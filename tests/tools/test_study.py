"""The study: every command is one that its program takes, and what a stage reads an earlier one has written."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import compare_models
from baselines.__main__ import BaselineConfig
from baselines.prior import PriorConfig
from comparison.published.check import CheckConfig
from comparison.transfer import TransferConfig
from data.dope import DopeConfig
from data.prepare import PrepareConfig
from data.supercon import SuperconConfig
from dinov3_pipeline import add_retrieval as dinov3_retrieval
from dinov3_pipeline import train as vision_train
from dinov3_pipeline.pretrain import PretrainConfig as VisionPretrainConfig
from dinov3_pipeline.train import VisionConfig
from gat_pipeline import add_retrieval as graph_retrieval
from gat_pipeline import train as graph_train
from gat_pipeline.evaluate_pretrained import ZeroShotConfig
from gat_pipeline.pretrain import PretrainConfig as GraphPretrainConfig
from gat_pipeline.train import GraphTrainConfig
from prediction.distil import DistilConfig
from prediction.ship import ShipConfig
from render_images import RenderConfig
from tc_common.cli import parse
from tc_common.errors import UserError
from tools.layout import Study, words
from tools.plan import stages_of
from tools.publish import PublishConfig
from tools.recipes import FULL, SMALL, SPLIT_SEEDS
from tools.small_inputs import JARVIS, LABELS, InputsConfig, inputs_stage
from tools.stages import ROOT, Stage, records_of
from tools.study import StudyConfig, main, study_of

SETTINGS: dict[str, Any] = {
    "data.prepare": PrepareConfig,
    "data.supercon": SuperconConfig,
    "data.dope": DopeConfig,
    "render_images.py": RenderConfig,
    "baselines": BaselineConfig,
    "baselines.prior": PriorConfig,
    "gat_pipeline.pretrain": GraphPretrainConfig,
    "gat_pipeline.train": GraphTrainConfig,
    "gat_pipeline.add_retrieval": graph_retrieval.RetrievalConfig,
    "gat_pipeline.evaluate_pretrained": ZeroShotConfig,
    "dinov3_pipeline.pretrain": VisionPretrainConfig,
    "dinov3_pipeline.train": VisionConfig,
    "dinov3_pipeline.add_retrieval": dinov3_retrieval.RetrievalConfig,
    "comparison.transfer": TransferConfig,
    "comparison.published.check": CheckConfig,
    "prediction.ship": ShipConfig,
    "prediction.distil": DistilConfig,
    "tools.publish": PublishConfig,
    "tools.small_inputs": InputsConfig,
}
WRITTEN = ("out", "output", "models_dir", "results_dir", "cache_dir", "work", "unpack_dir", "page")
"""Flags that name what a command writes."""
SHARED = ("cache", "unpacked", "distil")
"""Folders of the work folder that several stages fill, or that one fills and nobody else reads."""
WORK, PUBLISHED = Path("/study/work"), Path("/study/published")


def full(**changes: Any) -> Study:
    """The published study, with everything that can be asked of it; on one grouped split, as the others are alike."""
    recipe = dataclasses.replace(FULL, split_seeds=(42,))
    asked: dict[str, Any] = {
        "jarvis_dir": Path("/jarvis"),
        "training_seeds": (42, 43),
        "recipe": recipe,
        "published": PUBLISHED,
    }
    return Study(work=WORK, **{**asked, **changes})


def small() -> Study:
    sources: dict[str, Any] = {"data_source": "sample", "labels_source": WORK / LABELS, "jarvis_dir": WORK / JARVIS}
    return Study(work=WORK, published=PUBLISHED, recipe=SMALL, **sources)


def plan(study: Study) -> list[Stage]:
    return [*([inputs_stage(study)] if study.recipe is SMALL else []), *stages_of(study)]


def settings_of(stage: Stage) -> Any:
    """A stage's command as its program parses it."""
    program, *flags = stage.command[1:] if stage.command[0] == "-m" else stage.command
    if program == "compare_models.py":
        return compare_models.parsed(flags)
    return parse(SETTINGS[program], prog=program, description="", args=flags)


@pytest.mark.parametrize("study", [full(), small()], ids=["full", "small"])
def test_every_command_is_one_that_its_program_takes_and_writes_where_it_may(study: Study) -> None:
    for stage in plan(study):
        try:
            settings = settings_of(stage)
        except UserError as error:
            pytest.fail(f"{stage.name}: {stage.line()}: {error}")
        for path in written(settings):
            allowed = [WORK, *[PUBLISHED] * stage.publishes]
            assert any(path.is_relative_to(folder) for folder in allowed), f"{stage.name} writes {path}"


def written(settings: Any) -> Iterator[Path]:
    if isinstance(settings, compare_models.ReadmeConfig):
        yield settings.file
        return
    values = {name: getattr(settings, name, None) for name in WRITTEN}
    yield from (ROOT / value for value in values.values() if isinstance(value, Path))


@pytest.mark.parametrize("study", [full(), small()], ids=["full", "small"])
def test_what_a_stage_reads_is_written_before_and_named(study: Study) -> None:
    stages = plan(study)
    records_of(stages, WORK)  # raises where an input is no output of an earlier stage
    for stage in stages:
        for word in stage.command:
            path = Path(word.partition("*")[0] if "*" in word else word)
            inside = path.is_relative_to(WORK) and path.relative_to(WORK).parts[:1] not in [(name,) for name in SHARED]
            if inside and path != WORK:
                named = [*stage.inputs, *stage.outputs]
                assert any(related(path, other) for other in named), f"{stage.name} does not name {path}"


def related(path: Path, other: Path) -> bool:
    return path == other or path in other.parents or other in path.parents or str(other).startswith(str(path))


@pytest.mark.parametrize("study", [full(), small()], ids=["full", "small"])
def test_no_two_stages_write_one_file_and_only_those_that_publish_write_outside(study: Study) -> None:
    owners: dict[Path, str] = {}
    for stage in plan(study):
        for path in stage.outputs:
            assert path not in owners, f"{stage.name} and {owners[path]} write {path}"
            owners[path] = stage.name
            assert path.is_relative_to(WORK) or (stage.publishes and path.is_relative_to(PUBLISHED))


def test_the_study_holds_all_models_on_all_splits() -> None:
    stages = {stage.name: stage for stage in stages_of(full(recipe=FULL, training_seeds=(42,), jarvis_dir=None))}
    graphs = ("alignn", "alignn_neighbours", "alignn_prior", "finetuned_alignn", "pretrained_alignn")
    pictures = ("dinov3", "dinov3_neighbours", "dinov3_composition", "dinov3_composition_neighbours")
    labels = ("alignn_with_labels", "dinov3_with_labels")
    of_labels = (labels[0], f"{labels[0]}_neighbours", f"seed_43/{labels[1]}", labels[1])
    inputs = ("data", "labels", "extra_structures", "images", "baselines", "prior")
    models = (*inputs, *graphs, *pictures, *of_labels, "comparison")
    splits = ["stratified", *(f"chemical-system/seed_{seed}" for seed in (42, 43, 44, 45, 46))]
    assert SPLIT_SEEDS == (42, 43, 44, 45, 46)
    assert {f"{split}/{model}" for split in splits for model in models} <= stages.keys()
    assert "graph_pretraining" not in stages and "seeds/mean" not in stages
    for model in models[len(inputs) :]:  # the same settings everywhere but for vision's, in folders of their own
        first, other = (stages[f"{split}/{model}"].line().replace(split, "") for split in (splits[0], splits[-1]))
        if model in ("dinov3", "dinov3_composition", "seed_43/dinov3_with_labels", "alignn_with_labels"):
            assert ("--tune head" in other or "gat_pipeline" in other) and "--init random" in other and first != other
            continue
        assert first == other.replace(" --cluster chemical-system", "")


@pytest.mark.parametrize(
    ("program", "config", "flags"),
    [
        (graph_train, GraphTrainConfig, FULL.alignn),
        (vision_train, VisionConfig, FULL.dinov3.format(crystals="crystals")),
    ],
)
def test_a_trainers_docstring_has_the_command_of_the_study(program: ModuleType, config: Any, flags: str) -> None:
    (command,) = [
        block
        for block in (program.__doc__ or "").replace("\\\n", " ").split("\n\n")
        if "--epochs" in block and block.startswith("    ")
    ]
    words = command.strip().splitlines()[-1].split()
    assert words[:3] == ["python", "-m", program.__name__]
    stated, run = (parse(config, prog="train", description="", args=args) for args in (words[3:], flags.split()))
    assert stated == run


def test_every_training_has_measured_minutes() -> None:
    stages = stages_of(full())
    trainings = [stage for stage in stages if stage.command[1].endswith(("train", "pretrain"))]
    assert len(trainings) > 15 and all(stage.minutes >= 3 for stage in trainings)


def test_weights_from_crystals_are_made_for_the_split_that_trains_on_them() -> None:
    recipe = dataclasses.replace(FULL, split_seeds=(42,), dinov3_held_out=FULL.dinov3)
    stages = {stage.name: stage for stage in stages_of(full(recipe=recipe))}
    own = WORK / "models/chemical-system/seed_42/vision_pretraining/dino_crystals.safetensors"
    assert str(own) in stages["chemical-system/seed_42/dinov3"].command
    pretraining = stages["chemical-system/seed_42/vision_pretraining"].command
    assert pretraining[pretraining.index("--exclude-split") + 1] == str(WORK / "data/chemical-system/seed_42")
    assert "chemical-system/seed_42/vision_pretraining" not in {stage.name for stage in stages_of(full())}


def test_the_projects_own_crystals_are_called_by_their_name() -> None:
    stages = {stage.name: stage for stage in stages_of(full(published=ROOT))}
    command = stages["transfer/crystals_head_42"].command
    assert command[command.index("--init") + 1] == "crystals"


def test_paths_below_the_project_are_relative_and_odd_ones_whole() -> None:
    assert words("-m a --b", ROOT / "runs" / "x", Path("/with space/y")) == (
        "-m",
        "a",
        "--b",
        "runs/x",
        "/with space/y",
    )


def test_sources_are_those_of_the_callers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3DSC_MP.tar.gz").touch()
    study = study_of(StudyConfig(data_source="3DSC_MP.tar.gz"))
    assert study.data_source == tmp_path / "3DSC_MP.tar.gz" and study.labels_source == "download"
    assert study.work == ROOT / "runs" / "study" and study.published == ROOT
    assert study_of(StudyConfig(small=True)).published == ROOT / "runs" / "study_small" / "published"


def test_the_list_runs_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(StudyConfig(work_dir=tmp_path / "work", list=True, until="stratified/prior"))
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[2] for row in rows[:-1]] == [
        f"stratified/{name}" for name in ("data", "labels", "extra_structures", "images", "baselines", "prior")
    ]
    assert rows[-1] == "6 of 6 stages remain: 8 minutes of one core" and not (tmp_path / "work").exists()


def snapshot() -> dict[Path, int]:
    """Every file of the project and when it was written."""
    ours = (path for path in ROOT.rglob("*") if not {".git", ".venv", "__pycache__", "runs"} & {*path.parts})
    return {path: path.stat().st_mtime_ns for path in ours if path.is_file() and not path.name.startswith(".")}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_small_study_runs_to_the_end_and_once(tmp_path: Path) -> None:
    before = snapshot()
    command = [sys.executable, "-m", "tools.study", "--small", "--work-dir", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first, again = (
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert snapshot() == before, "the small study publishes below its own folder"
    assert "run  " not in again.stdout and again.returncode == 0
    published = tmp_path / "published"
    for split in ("stratified", "chemical-system/seed_42", "chemical-system/seed_43"):
        assert (published / "results/3dsc" / split / "dinov3_composition_neighbours_metrics.json").is_file()
    assert "| ALIGNN correcting the pair |" in (published / "README.md").read_text()
    assert (published / "models/3dsc/student.json").is_file()
    assert not [
        path for path in (published / "results").rglob("*.json") if str(tmp_path) in path.read_text(encoding="utf-8")
    ]
