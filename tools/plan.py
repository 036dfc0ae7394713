"""The study: every stage from the source of the data to the published tables, in the order in which they run.

Split by split: data, extra labels and their structures, images; trees and the pair; the pair's prediction as a prior;
ALIGNN from random weights, with retrieval, with the extra structures, correcting the prior, fine-tuned, zero-shot;
vision from pictures alone, with the composition, with the extra structures, each with retrieval; the comparison with
its ensembles. Then the transfer table, what is published, what is shipped, and the check of every published number.
Settings and minutes: `tools.recipes`.
"""

from collections.abc import Iterator

from tools.layout import STRATIFIED, Split, Study, extra_structures, local, predictions, split_files
from tools.plan_graph import graph, graph_pretraining, more_trainings
from tools.plan_vision import pictures_of, transfer, vision, vision_pretraining, vision_with_labels
from tools.stages import Stage

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
    pictures, with_composition = pictures_of(study, split)
    if split == STRATIFIED or "{crystals}" in pictures + with_composition:
        yield from vision_pretraining(study, split)
    yield from vision(study, split, "dinov3", pictures)
    yield from vision(study, split, "dinov3_composition", with_composition)
    yield from vision_with_labels(study, split, pictures)
    yield comparison(study, split)


def inputs(study: Study, split: Split) -> Iterator[Stage]:
    """Split files, extra labels of compositions near none that is held out, their structures, and images."""
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
    made = extra_structures(study, split)
    yield study.stage(
        f"{split.name}/extra_structures", "-m data.dope --data-dir", data,
        reads=[*split_files(study, split), data / "extra_labels.csv", data / "extra_labels.json"], writes=made,
    )  # fmt: skip
    yield study.stage(
        f"{split.name}/images", "render_images.py --extra-structures --data-dir", data, "--out", images,
        study.recipe.images,
        reads=[*split_files(study, split), *made], writes=[images],
    )  # fmt: skip


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
    retrieved = ("alignn", "alignn_with_labels", "dinov3", "dinov3_composition")
    networks = [name for model in retrieved for name in (model, f"{model}_neighbours")]
    graphs = ("alignn_prior", "finetuned_alignn", "pretrained_alignn")
    return (
        "composition",
        "composition_with_labels",
        "pair",
        "pair_with_labels",
        *networks,
        *graphs,
        "dinov3_with_labels",
    )


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
    out, trainings = study.published / "results" / "3dsc" / "labels", study.work / "results" / "vision_with_labels"
    yield study.stage(
        "publish/vision_with_labels", "-m tools.publish --source", trainings / STRATIFIED.name, "--out",
        out / "vision",
        reads=[trainings / STRATIFIED.name], writes=[out / "vision"], publishes=True,
    )  # fmt: skip
    made = study.data(STRATIFIED) / "extra_structures.json"
    yield study.stage(
        "publish/extra_structures", "-m tools.publish --source", made.parent, "--out", out, f"--only {made.name}",
        reads=[made], writes=[out / made.name], publishes=True,
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
