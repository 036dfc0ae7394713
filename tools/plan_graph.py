"""The graph network's stages of the study: ALIGNN in its forms, on each split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.layout import STRATIFIED, Split, Study, extra_structures, local, predictions, split_files
from tools.stages import Stage


def graph(study: Study, split: Split) -> Iterator[Stage]:
    """ALIGNN in its seven forms."""
    recipe, prior_file = study.recipe, study.data(split) / "prior.csv"
    yield graph_training(study, split, "alignn", recipe.alignn)
    yield graph_retrieval(study, split, "alignn")
    with_labels = recipe.alignn_labels if split == STRATIFIED else recipe.alignn_labels_held_out
    extra = extra_structures(study, split)
    yield graph_training(study, split, "alignn_with_labels", f"{with_labels} --extra-structures", reads=extra)
    yield graph_retrieval(study, split, "alignn_with_labels", reads=extra)
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


def graph_retrieval(
    study: Study,
    split: Split,
    trained: str,
    reads: Sequence[Path] = (),
    folder: tuple[str, Path, Path] | None = None,
) -> Stage:
    """Retrieval for a training of ALIGNN; `folder` is where it is if not with the split's: stage, models, results."""
    name, models, results = folder or (split.name, study.models(split, trained), study.results(split))
    model, into = f"{trained}_neighbours", models.with_name(f"{models.name}_neighbours")
    return study.stage(
        f"{name}/{model}", "-m gat_pipeline.add_retrieval --checkpoint", models / "alignn_best.pth", f"--name {model}",
        "--data-dir", study.data(split), "--models-dir", into, "--results-dir", results, *graph_cache(study),
        reads=[*split_files(study, split), *reads, models], writes=[into, *predictions(results, model)],
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
        yield graph_retrieval(study, STRATIFIED, "alignn", folder=(f"seeds/seed_{seed}", models, results))
    each = [
        path for seed in study.training_seeds for path in predictions(folder / f"seed_{seed}", "alignn_neighbours")
    ]
    yield study.stage(
        "seeds/mean", "compare_models.py mean", folder / "seed_*", "--model alignn_neighbours --results-dir", folder,
        "--data-dir", data,
        reads=[*split_files(study, STRATIFIED), *each], writes=predictions(folder, "alignn_neighbours"),
    )  # fmt: skip
