"""Rows of the table of speeds: what each benchmark's result says, one function a result.

A row's ratio is stated where others (or the earlier code) were timed in the same run; nothing is computed across runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Found: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line: what was timed, the number here, that of others in the same run, and how many times as fast."""

    what: str
    here: str
    others: str = ""
    times: float | None = None
    spread: tuple[float, float] | None = None
    """Least and most of that ratio over the rounds."""


@dataclass(frozen=True)
class Benchmark:
    """A command, the result it writes, and the rows made of it."""

    title: str
    command: str
    file: str
    rows: Callable[[Found], Iterator[Row]]
    quick: bool = True
    """Whether it takes minutes, not hours."""


def rendering(found: Found) -> Iterator[Row]:
    for name, shown in (("covalent", "bonds by covalent radii"), ("crystal-nn", "bonds by CrystalNN")):
        rate, two = found[f"{name}_to_png_one_core"], found["two_workers"][name]
        yield Row(
            f"rendering, CIF to PNG, {shown}, one core",
            f"{rate['images_per_s']:,.0f} images/s ({rate['lowest']:,.0f} to {rate['highest']:,.0f})",
        )
        rates = f"{two['images_per_s']:,.0f} images/s"
        yield Row(
            "the same with two workers", rates, f"one worker {rate['images_per_s']:,.0f}", two["times_one_worker"]
        )


def reading(found: Found) -> Iterator[Row]:
    parity = found["parity"]
    ours, theirs = parity["median_ms"], parity["pymatgen_with_checks_median_ms"]
    what = f"reading a CIF, median of {parity['files']:,}"
    yield Row(what, f"{ours:.2f} ms", f"pymatgen with the same checks {theirs:.2f} ms", parity["ratio_of_medians"])


def graphs(found: Found) -> Iterator[Row]:
    built = found["graphs"]
    yield Row(
        f"a graph with its line graph, median of {built['structures']}",
        f"{built['ours_ms']:.2f} ms", f"alignn's builder {built['alignn_ms']:.1f} ms", built["ratio"],
    )  # fmt: skip
    runs = {(run["variant"], run["allocator"]): run for run in found["training"]}
    ours = runs["torch-bf16", True]["wall_s"]
    others = {
        "dgl_as_installed": ("DGL as installed", ("dgl", False)),
        "dgl_same_allocator": ("DGL, our allocator", ("dgl", True)),
        "alignn_pure_bf16_same_allocator": ("alignn's PyTorch model, bf16, our allocator", ("alignn-pure-bf16", True)),
    }
    for name, (shown, run) in others.items():
        what = f"a training step of ALIGNN, {runs[run]['crystals']} crystals"
        yield Row(what, f"{ours:.2f} s", f"{shown} {runs[run]['wall_s']:.2f} s", found["ratios"][name]["wall"])


def recipe(found: Found) -> Iterator[Row]:
    seconds = found["epoch_s"]
    what = f"an epoch of the published graph training, on {found['crystals']:,} crystals"
    if "before" not in seconds:
        memory = found.get("gpu_peak_MB")
        for name, value in seconds.items():
            yield Row(f"{what}, {name}", f"{value:.1f} s{f', {memory:,} MiB' if memory else ''}")
    pairs = {
        "now, one thread": ("now, one thread", "before, one thread", "before"),
        "now": ("now", "before", "before"),
        "now with a loader process": ("now, a loader process", "before", "before"),
        "two processes beside one of two threads": ("now, two processes", "now, two micro-batches", "one process"),
    }
    for name, (ours, theirs, shown) in pairs.items():
        if name in found["ratios"]:
            least, most = found["ratio_ranges"][name]
            here, others = f"{seconds[ours]:.1f} s", f"{shown} {seconds[theirs]:.1f} s"
            yield Row(f"{what}: {name}", here, others, found["ratios"][name], (least, most))


def vision(found: Found) -> Iterator[Row]:
    for what in ("training", "prediction"):
        plain = found[what]["plain-fp32"]["images_per_s"]
        for variant, value in found[what].items():
            if variant != "plain-fp32":
                times = value["times_plain_wall"]
                yield Row(
                    f"ViT-B/16 with LoRA, {what}, {variant}", f"{value['images_per_s']:.2f} images/s",
                    f"plain fp32 {plain:.2f} images/s", times["median"], (times["min"], times["max"]),
                )  # fmt: skip


def pretraining(found: Found) -> Iterator[Row]:
    rates, times = found["images_per_s"], found["times_plain"]
    yield Row(
        "a step of the vision pre-training, one core", f"{rates['bf16']:,.0f} images/s",
        f"plain fp32 {rates['plain fp32']:,.0f}", times["median"], (times["min"], times["max"]),
    )  # fmt: skip


def screening(found: Found) -> Iterator[Row]:
    rate = found["rate_student"]
    yield Row(
        "screening with the student, two workers", f"{rate['two_workers_per_s']:,.0f} crystals/s",
        f"one worker {rate['one_worker_per_s']:,.0f}", rate["two_against_one"],
    )  # fmt: skip
    if "rate_cascade" in found:
        yield Row(
            "screening, ensemble on the best 10 %", f"{found['rate_cascade']['two_workers_per_s']:,.0f} crystals/s"
        )


def page(found: Found) -> Iterator[Row]:
    doping = found["substitution"]
    yield Row("the page's first answer, processor time", f"{found['first_answer_cpu_s']:.2f} s")
    yield Row(f"{doping['points']} doped compositions on the page", f"{doping['first_cpu_s']:.1f} s of processor time")


def retrieval(found: Found) -> Iterator[Row]:
    least, most = found["ratio_range"]
    yield Row(
        f"retrieval among {found['stored']:,} materials, one core", f"{found['ms_per_crystal']:.3f} ms a crystal",
        f"scikit-learn {found['sklearn_ms_per_crystal']:.3f} ms", found["ratio"], (least, most),
    )  # fmt: skip


BENCHMARKS = (
    Benchmark("rendering", "python -m benchmarks.render_speed", "render_speed.json", rendering),
    Benchmark("reading CIFs", "python -m benchmarks.reading", "reading.json", reading),
    Benchmark("graphs and ALIGNN's step", "python -m benchmarks.graph_speed", "graph_speed.json", graphs),
    Benchmark(
        "an epoch of the published graph training", "python -m benchmarks.graph_speed --recipe",
        "graph_recipe_cpu.json", recipe,
    ),
    Benchmark(
        "the same on a GPU", "python -m benchmarks.graph_speed --recipe --device cuda --crystals 4074",
        "graph_recipe_cuda.json", recipe, quick=False,
    ),
    Benchmark(
        "ViT-B training and prediction", "python -m benchmarks.vision_speed", "vision_speed.json", vision,
        quick=False,
    ),
    Benchmark(
        "the same on a GPU", "python -m benchmarks.vision_speed --device cuda", "vision_speed_cuda.json", vision,
        quick=False,
    ),
    Benchmark("vision pre-training", "python -m benchmarks.pretraining_speed", "pretraining_speed.json", pretraining),
    Benchmark("screening", "python -m benchmarks.screening", "screening.json", screening, quick=False),
    Benchmark("the page", "python -m benchmarks.web", "web.json", page, quick=False),
    Benchmark("retrieval", "python -m benchmarks.retrieval_speed", "retrieval_speed.json", retrieval),
)  # fmt: skip
