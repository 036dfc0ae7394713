"""The vision network's stages of the study: pre-training on crystals, trainings on each split, the transfer table."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from tools.layout import STRATIFIED, Split, Study, extra_structures, predictions, shown, split_files
from tools.stages import ROOT, Stage


def crystals(study: Study, split: Split) -> Path:
    """Weights pre-trained on the crystals of one split; those of the stratified split are the shipped ones."""
    published = study.published / "models" / "pretrained" if split == STRATIFIED else None
    return (published or study.models(split, "vision_pretraining")) / "dino_crystals.safetensors"


def vision_pretraining(study: Study, split: Split) -> Iterator[Stage]:
    """A vision backbone on crystals without their Tc, except those of held-out compositions."""
    models, data = study.models(split, "vision_pretraining"), study.data(split)
    history = study.work / "results" / "transfer" / "pretraining" if split == STRATIFIED else models
    made = [models / f"dino_crystals.{ending}" for ending in ("safetensors", "json")]
    yield study.stage(
        f"{split.name}/vision_pretraining", "-m dinov3_pipeline.pretrain --data-dir", data, "--exclude-split", data,
        "--images-dir", study.images(split), "--output", made[0], "--models-dir", models, "--results-dir", history,
        *image_cache(study), study.recipe.vision_pretraining,
        reads=[*split_files(study, split), study.images(split)],
        writes=[models, history / "dino_crystals_history.csv"],
    )  # fmt: skip
    if split == STRATIFIED:
        into = study.published / "models" / "pretrained"
        yield study.stage(
            "publish/vision_weights", "-m tools.publish --source", models, "--out", into, "--only dino_crystals.*",
            reads=made, writes=[into / path.name for path in made], publishes=True,
        )  # fmt: skip


def image_cache(study: Study) -> tuple[str, Path]:
    """Decoded images."""
    return "--cache-dir", study.work / "cache" / "images"


def pictures_of(study: Study, split: Split) -> tuple[str, str]:
    """Flags of the trainings on this split: of pictures alone, and with the composition branch."""
    recipe = study.recipe
    if split == STRATIFIED:
        return recipe.dinov3, recipe.dinov3_composition
    return recipe.dinov3_held_out, recipe.dinov3_composition_held_out


def vision(study: Study, split: Split, model: str, flags: str) -> Iterator[Stage]:
    """One training on pictures, and its retrieval."""
    yield training(
        study, split, f"{split.name}/{model}", model, flags, study.results(split), study.models(split, model)
    )
    models, results, retrieval = study.models(split, model), study.results(split), f"{model}_neighbours"
    into = study.models(split, retrieval)
    yield study.stage(
        f"{split.name}/{retrieval}", "-m dinov3_pipeline.add_retrieval --checkpoint", models / "dino_best.pth",
        f"--name {retrieval}", *folders(study, split), "--results-dir", results, "--models-dir", into,
        reads=[*split_files(study, split), study.images(split), models],
        writes=[into, *predictions(results, retrieval)],
    )  # fmt: skip


def vision_with_labels(study: Study, split: Split, pictures: str) -> Iterator[Stage]:
    """Trainings on the structures of the extra labels too, with several seeds, and their mean."""
    folder = study.work / "results" / "vision_with_labels" / split.name
    model = "dinov3_with_labels"
    seeds = study.recipe.training_seeds if split == STRATIFIED else study.recipe.training_seeds_held_out
    for seed in seeds:
        flags, models = f"{pictures} --extra-structures --seed {seed}", study.models(split, f"{model}_{seed}")
        name = f"{split.name}/seed_{seed}/{model}"
        yield training(study, split, name, model, flags, folder / f"seed_{seed}", models)
    each = [path for seed in seeds for path in predictions(folder / f"seed_{seed}", model)]
    yield study.stage(
        f"{split.name}/{model}", "compare_models.py mean", folder / "seed_*", f"--model {model} --results-dir",
        study.results(split), "--data-dir", study.data(split),
        reads=[*split_files(study, split), *each], writes=predictions(study.results(split), model),
    )  # fmt: skip


def training(study: Study, split: Split, name: str, model: str, flags: str, results: Path, models: Path) -> Stage:
    """A training with these flags, into these folders."""
    read = [*split_files(study, split), study.images(split)]
    read += extra_structures(study, split) if "--extra-structures" in flags else []
    begins = [crystals(study, split)] if "{crystals}" in flags else []
    return study.stage(
        name, "-m dinov3_pipeline.train", filled(study, split, flags), f"--name {model}", *folders(study, split),
        "--results-dir", results, "--models-dir", models,
        reads=[*read, *begins], writes=[models, *predictions(results, model)],
    )  # fmt: skip


def folders(study: Study, split: Split) -> tuple[str | Path, ...]:
    """Where a training on pictures reads."""
    return ("--data-dir", study.data(split), "--images-dir", study.images(split), *image_cache(study))


def filled(study: Study, split: Split, flags: str) -> str:
    """Vision flags with the weights that `{crystals}` stands for."""
    path = crystals(study, split)
    shipped = path == ROOT / "models" / "pretrained" / path.name
    return flags.replace("{crystals}", "crystals" if shipped else shlex.quote(shown(path)))


def transfer(study: Study) -> Iterator[Stage]:
    """Vision from random and from pre-trained weights; the head, adapters, or everything trained."""
    folder, cells = study.work / "results" / "transfer", []
    for cell, (flags, seeds) in study.recipe.transfer.items():
        for seed in seeds:
            results, models = folder / cell / f"seed_{seed}", study.work / "models" / "transfer" / f"{cell}_{seed}"
            cells += predictions(results, "dinov3")
            name, of_seed = f"transfer/{cell}_{seed}", f"{flags} --seed {seed}"
            yield training(study, STRATIFIED, name, "dinov3", of_seed, results, models)
    yield study.stage(
        "transfer/table", "-m comparison.transfer", folder,
        reads=cells, writes=[folder / "transfer.csv", folder / "transfer.md"],
    )  # fmt: skip
