"""The study: every stage from the source of the data to the published tables, in the order in which they run.

Split by split: data, extra labels, images; trees and the pair; the pair's prediction as a prior; ALIGNN from random
weights, with retrieval, correcting the prior, fine-tuned, zero-shot; vision from pictures alone and with the
composition, each with retrieval; the comparison with its ensembles. Then the transfer table, what is published, what
is shipped, and the check of every published number. Settings and minutes: `tools.recipes`.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.layout import STRATIFIED, Split, Study, predictions, shown, split_files
from tools.stages import ROOT, Stage

# Models of the shipped ensemble: trees, and the best network of each kind.
SHIPPED = ("composition", "composition_with_labels", "pair", "pair_with_labels")
SHIPPED_GRAPH, SHIPPED_VISION = "alignn_neighbours", "dinov3_composition_neighbours"


def stages_of(study: Study) -> list[Stage]:
    """The whole study."""
    return [
        *([graph_pretraining(study)] if study.jarvis_dir else []),
        *(stage for split in study.splits for stage in of_split(study, split)),
        *more_trainings(study),
        *transfer(study),
        runs(study),
        *publishing(study),
        *shipping(study),
        *tables(study),
    ]


def of_split(study: Study, split: Split) -> Iterator[Stage]:
    """Everything on one split."""
    yield from inputs(study, split)
    yield baselines(study, split)
    yield prior(study, split)
    yield from graph(study, split)
    recipe = study.recipe
    pictures, with_composition = recipe.dinov3, recipe.dinov3_composition
    if split != STRATIFIED:
        pictures, with_composition = recipe.dinov3_held_out, recipe.dinov3_composition_held_out
    if split == STRATIFIED or "{crystals}" in pictures + with_composition:
        yield from vision_pretraining(study, split)
    yield from vision(study, split, "dinov3", pictures)
    yield from vision(study, split, "dinov3_composition", with_composition)
    yield comparison(study, split)


def inputs(study: Study, split: Split) -> Iterator[Stage]:
    """Split files, extra labels of compositions near none that is held out, and images."""
    data, images = study.data(split), study.images(split)
    source = ("--source", study.data_source, "--unpack-dir", study.work / "unpacked")
    division = f"--split {split.kind} --seed {split.seed}"
    yield study.stage(
        f"{split.name}/data", "-m data.prepare", *source, division, "--out", data, study.recipe.data,
        reads=local(study, study.data_source), writes=split_files(study, split),
    )  # fmt: skip
    yield study.stage(
        f"{split.name}/labels", "-m data.supercon --source", study.labels_source, "--splits", data, "--out", data,
        reads=[*split_files(study, split), *local(study, study.labels_source)],
        writes=[data / "extra_labels.csv", data / "extra_labels.json"],
    )  # fmt: skip
    yield study.stage(
        f"{split.name}/images", "render_images.py --data-dir", data, "--out", images, study.recipe.images,
        reads=split_files(study, split), writes=[images],
    )  # fmt: skip


def local(study: Study, source: str | Path) -> list[Path]:
    """A source that a stage of the study makes itself."""
    return [source] if isinstance(source, Path) and source.is_relative_to(study.work) else []


def baselines(study: Study, split: Split) -> Stage:
    """Trees and the pair, without and with the extra labels."""
    data, labels = study.data(split), study.data(split) / "extra_labels.csv"
    return study.stage(
        f"{split.name}/baselines", "-m baselines --pair --data-dir", data, "--extra-labels", labels,
        "--results-dir", study.results(split),
        reads=[*split_files(study, split), labels],
        writes=predictions(
            study.results(split), "composition", "composition_with_labels", "pair", "pair_with_labels"
        ),
    )  # fmt: skip


def prior(study: Study, split: Split) -> Stage:
    """The pair's prediction of every material, of training materials out of fold."""
    data, labels = study.data(split), study.data(split) / "extra_labels.csv"
    return study.stage(
        f"{split.name}/prior", "-m baselines.prior --data-dir", data, "--extra-labels", labels,
        "--out", data / "prior.csv",
        reads=[*split_files(study, split), labels], writes=[data / "prior.csv", data / "prior.json"],
    )  # fmt: skip


def graph(study: Study, split: Split) -> Iterator[Stage]:
    """ALIGNN in its five forms."""
    recipe, prior_file = study.recipe, study.data(split) / "prior.csv"
    yield graph_training(study, split, "alignn", recipe.alignn)
    yield graph_retrieval(study, f"{split.name}/alignn_neighbours", split, study.models(split, "alignn"))
    yield graph_training(study, split, "alignn_prior", "--prior", prior_file, recipe.alignn, reads=[prior_file])
    init = ("--init", jarvis_weights(study)) if study.jarvis_dir else ()
    made = [jarvis_weights(study)] if study.jarvis_dir else []
    yield graph_training(study, split, "finetuned_alignn", *init, recipe.finetuned_alignn, reads=made)
    weights = ("--weights", jarvis_weights(study)) if study.jarvis_dir else ()
    yield study.stage(
        f"{split.name}/pretrained_alignn", "-m gat_pipeline.evaluate_pretrained", *weights,
        "--data-dir", study.data(split), "--models-dir", study.work / "cache",
        "--results-dir", study.results(split), *graph_cache(study),
        reads=[*split_files(study, split), *made], writes=predictions(study.results(split), "pretrained_alignn"),
    )  # fmt: skip


def graph_cache(study: Study) -> tuple[str, Path]:
    """Built graphs, the same for all splits."""
    return "--cache-dir", study.work / "cache" / "graphs"


def graph_training(study: Study, split: Split, model: str, *flags: str | Path, reads: Sequence[Path] = ()) -> Stage:
    """One training of ALIGNN."""
    models = study.models(split, model)
    return study.stage(
        f"{split.name}/{model}", "-m gat_pipeline.train", *flags, f"--name {model}", "--data-dir", study.data(split),
        "--models-dir", models, "--results-dir", study.results(split), *graph_cache(study),
        reads=[*split_files(study, split), *reads], writes=[models, *predictions(study.results(split), model)],
    )  # fmt: skip


def graph_retrieval(study: Study, name: str, split: Split, models: Path, results: Path | None = None) -> Stage:
    """Retrieval for a training of ALIGNN."""
    results, model = results or study.results(split), "alignn_neighbours"
    into = models.with_name(f"{models.name}_neighbours")
    return study.stage(
        name, "-m gat_pipeline.add_retrieval --checkpoint", models / "alignn_best.pth", f"--name {model}",
        "--data-dir", study.data(split), "--models-dir", into, "--results-dir", results, *graph_cache(study),
        reads=[*split_files(study, split), models], writes=[into, *predictions(results, model)],
    )  # fmt: skip


def jarvis_weights(study: Study) -> Path:
    """Weights pre-trained on JARVIS."""
    return study.work / "models" / "graph_pretraining" / "alignn_jarvis_supercon.safetensors"


def graph_pretraining(study: Study) -> Stage:
    """ALIGNN on the superconductors of JARVIS, whose Tc is computed."""
    assert study.jarvis_dir is not None
    folder = jarvis_weights(study).parent
    return study.stage(
        "graph_pretraining", "-m gat_pipeline.pretrain --source-dir", study.jarvis_dir, "--output",
        jarvis_weights(study), "--models-dir", folder, "--results-dir", folder, *graph_cache(study),
        study.recipe.graph_pretraining,
        reads=local(study, study.jarvis_dir), writes=[folder],
    )  # fmt: skip


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


def vision(study: Study, split: Split, model: str, flags: str) -> Iterator[Stage]:
    """One training on pictures, and its retrieval."""
    models, results, retrieval = study.models(split, model), study.results(split), f"{model}_neighbours"
    read = [*split_files(study, split), study.images(split)]
    begins = [crystals(study, split)] if "{crystals}" in flags else []
    folders = ("--data-dir", study.data(split), "--images-dir", study.images(split), "--results-dir", results)
    yield study.stage(
        f"{split.name}/{model}", "-m dinov3_pipeline.train", filled(study, split, flags), f"--name {model}", *folders,
        "--models-dir", models, *image_cache(study),
        reads=[*read, *begins], writes=[models, *predictions(results, model)],
    )  # fmt: skip
    into = study.models(split, retrieval)
    yield study.stage(
        f"{split.name}/{retrieval}", "-m dinov3_pipeline.add_retrieval --checkpoint", models / "dino_best.pth",
        f"--name {retrieval}", *folders, "--models-dir", into, *image_cache(study),
        reads=[*read, models], writes=[into, *predictions(results, retrieval)],
    )  # fmt: skip


def filled(study: Study, split: Split, flags: str) -> str:
    """Vision flags with the weights that `{crystals}` stands for."""
    path = crystals(study, split)
    shipped = path == ROOT / "models" / "pretrained" / path.name
    return flags.replace("{crystals}", "crystals" if shipped else shlex.quote(shown(path)))


def comparison(study: Study, split: Split) -> Stage:
    """All models of one split, and their ensembles, fitted and plain."""
    results = study.results(split)
    cluster = "--cluster chemical-system" if split.kind == "chemical-system" else ""
    return study.stage(
        f"{split.name}/comparison", "compare_models.py models --ensemble --equal-weights", cluster,
        "--results-dir", results, "--data-dir", study.data(split), study.recipe.comparison,
        reads=[*split_files(study, split), *predictions(results, *models_of_a_split())],
        writes=[results / "comparison.json", *predictions(results, "ensemble", "ensemble_equal")],
    )  # fmt: skip


def models_of_a_split() -> tuple[str, ...]:
    """Names of all models but the ensembles."""
    graphs = ("alignn", "alignn_neighbours", "alignn_prior", "finetuned_alignn", "pretrained_alignn")
    pictures = ("dinov3", "dinov3_neighbours", "dinov3_composition", "dinov3_composition_neighbours")
    return ("composition", "composition_with_labels", "pair", "pair_with_labels", *graphs, *pictures)


def more_trainings(study: Study) -> Iterator[Stage]:
    """ALIGNN with several training seeds on the stratified split, and the mean of them with retrieval."""
    if len(study.training_seeds) < 2:
        return
    folder, data = study.work / "results" / "seeds", study.data(STRATIFIED)
    for seed in study.training_seeds:
        models, results = study.work / "models" / "seeds" / f"seed_{seed}", folder / f"seed_{seed}"
        yield study.stage(
            f"seeds/seed_{seed}/alignn", "-m gat_pipeline.train", study.recipe.alignn, f"--seed {seed}",
            "--data-dir", data, "--models-dir", models, "--results-dir", results, *graph_cache(study),
            reads=split_files(study, STRATIFIED), writes=[models, *predictions(results, "alignn")],
        )  # fmt: skip
        yield graph_retrieval(study, f"seeds/seed_{seed}/alignn_neighbours", STRATIFIED, models, results)
    each = [
        path for seed in study.training_seeds for path in predictions(folder / f"seed_{seed}", "alignn_neighbours")
    ]
    yield study.stage(
        "seeds/mean", "compare_models.py mean", folder / "seed_*", "--model alignn_neighbours --results-dir", folder,
        "--data-dir", data,
        reads=[*split_files(study, STRATIFIED), *each], writes=predictions(folder, "alignn_neighbours"),
    )  # fmt: skip


def transfer(study: Study) -> Iterator[Stage]:
    """Vision from random and from pre-trained weights; the head, adapters, or everything trained."""
    folder, cells = study.work / "results" / "transfer", []
    data, images = study.data(STRATIFIED), study.images(STRATIFIED)
    for cell, (flags, seeds) in study.recipe.transfer.items():
        begins = [crystals(study, STRATIFIED)] if "{crystals}" in flags else []
        for seed in seeds:
            results, models = folder / cell / f"seed_{seed}", study.work / "models" / "transfer" / f"{cell}_{seed}"
            cells += predictions(results, "dinov3")
            yield study.stage(
                f"transfer/{cell}_{seed}", "-m dinov3_pipeline.train", filled(study, STRATIFIED, flags),
                f"--seed {seed} --data-dir", data, "--images-dir", images, "--models-dir", models, "--results-dir",
                results, *image_cache(study),
                reads=[*split_files(study, STRATIFIED), images, *begins],
                writes=[models, *predictions(results, "dinov3")],
            )  # fmt: skip
    yield study.stage(
        "transfer/table", "-m comparison.transfer", folder,
        reads=cells, writes=[folder / "transfer.csv", folder / "transfer.md"],
    )  # fmt: skip


def runs(study: Study) -> Stage:
    """All models over the splits with chemical systems held out."""
    folder = study.work / "results" / "chemical-system"
    grouped = [split for split in study.splits if split.kind == "chemical-system"]
    compared = [study.results(split) / "comparison.json" for split in grouped]
    return study.stage(
        "chemical-system/runs", "compare_models.py runs", folder / "seed_*", "--results-dir", folder,
        reads=compared, writes=[folder / "runs.csv", folder / "comparison.json"],
    )  # fmt: skip


def publishing(study: Study) -> Iterator[Stage]:
    """Copy predictions, metrics, settings, curves and comparisons to `results/3dsc`."""
    names = ["stratified", "chemical-system", "transfer", *(["seeds"] if len(study.training_seeds) > 1 else [])]
    for name in names:
        source, out = study.work / "results" / name, study.published / "results" / "3dsc" / name
        yield study.stage(
            f"publish/{name}", "-m tools.publish --source", source, "--out", out,
            reads=[source], writes=[out], publishes=True,
        )  # fmt: skip


def shipping(study: Study) -> Iterator[Stage]:
    """The models that `predict.py` uses: compared by themselves, shipped, and distilled into the student."""
    data, results = study.data(STRATIFIED), study.results(STRATIFIED)
    folder, out = study.work / "shipped", study.published / "models" / "3dsc"
    names = (*SHIPPED, SHIPPED_GRAPH, SHIPPED_VISION)
    yield study.stage(
        "ship/models", "-m tools.publish --source", results, "--out", folder, "--models", *names,
        reads=predictions(results, *names), writes=predictions(folder, *names),
    )  # fmt: skip
    yield study.stage(
        "ship/ensemble", "compare_models.py models --ensemble --results-dir", folder, "--data-dir", data,
        study.recipe.comparison,
        reads=[*split_files(study, STRATIFIED), *predictions(folder, *names)],
        writes=[folder / "comparison.json", *predictions(folder, "ensemble")],
    )  # fmt: skip
    checkpoints = [study.models(STRATIFIED, name) / f"{name}_best.pth" for name in (SHIPPED_GRAPH, SHIPPED_VISION)]
    grouped = study.published / "results" / "3dsc" / "chemical-system"
    yield study.stage(
        "ship/ship", "-m prediction.ship --results-dir", folder, "--data-dir", data, "--alignn", checkpoints[0],
        f"--alignn-name {SHIPPED_GRAPH} --dinov3", checkpoints[1], f"--dinov3-name {SHIPPED_VISION} --grouped",
        grouped, "--out", out, study.recipe.ship,
        reads=[
            *split_files(study, STRATIFIED), data / "extra_labels.csv", folder / "comparison.json",
            *predictions(folder, "ensemble"), *checkpoints, grouped,
        ],
        writes=[out / "ensemble.json", out / "alignn.safetensors"], publishes=True,
    )  # fmt: skip
    yield study.stage(
        "ship/distil", "-m prediction.distil --data-dir", data, "--teacher-dir", out, "--work",
        study.work / "distil", "--out", out, study.recipe.distil,
        reads=[*split_files(study, STRATIFIED), out / "ensemble.json"],
        writes=[study.work / "distil", out / "student.json"], publishes=True,
    )  # fmt: skip


def tables(study: Study) -> Iterator[Stage]:
    """The README's tables from the published comparisons, and every published number made again."""
    results = study.published / "results" / "3dsc"
    read = [results / name for name in ("stratified", "chemical-system", "transfer")]
    for name in ("README.md", "results/README.md"):
        yield study.stage(
            f"tables/{name}", "compare_models.py readme", study.published / name, reads=read, publishes=True
        )
    yield study.stage(
        "tables/check", "-m comparison.published.check --root", study.published, reads=read, publishes=True
    )
