"""One shard: read, predict, write. Every engine calls this function, in whatever process."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prediction.screening.columns import flat, schema_of, table_of, write_table
from prediction.screening.items import Item, read_item
from prediction.screening.plan import Plan

# The first stage's bounds are no intervals of the whole model's coverage: they are left to its own files.
NO_INTERVAL = {"lower_K": None, "upper_K": None, "coverage": None}


@dataclass(frozen=True)
class ModelSource:
    """Where the predictor comes from."""

    model: str
    models_dir: Path
    device: str = "cpu"
    loader: str = "prediction:load_predictor"
    """Module and function that load it."""


@dataclass(frozen=True)
class Job:
    """Everything that a shard needs to know."""

    plan: Plan
    model: ModelSource
    folder: Path
    """Where the shards of this stage are written."""
    first_stage: Path | None = None
    """Shards of the cascade's first stage."""
    least_score_K: float = 0.0
    """Crystals of the first stage with a lower score keep its prediction."""

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return shard_path(self.folder, shard)


def shard_path(folder: Path, shard: int) -> Path:
    """File of a shard in a folder."""
    return folder / f"{shard:06d}.parquet"


def done_shards(folder: Path) -> set[int]:
    """Shards that are finished."""
    if not folder.is_dir():
        return set()
    return {int(path.stem) for path in folder.iterdir() if path.suffix == ".parquet" and path.stem.isdecimal()}


@lru_cache(maxsize=2)
def predictor_of(source: ModelSource) -> Any:
    """The predictor, once a process; one thread, or the processes of a machine get in each other's way."""
    module, _, name = source.loader.partition(":")
    predictor = getattr(import_module(module), name)(source.models_dir, source.model, device=source.device)
    single_thread()
    return predictor


def single_thread() -> None:
    """Let the libraries of this process compute in one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def screen_shard(job: Job, shard: int) -> int:
    """Predict a shard's crystals and write its file; the number of its crystals.

    Raises:
        UserError: the file cannot be written.
    """
    predictor = predictor_of(job.model)
    if job.first_stage is None:
        rows = predicted(predictor, list(job.plan.numbers(shard)), list(job.plan.items(shard)))
        table = table_of(rows, schema_of(predictor.members))
    else:
        table = _second_stage(job, predictor, shard)
    write_table(job.path(shard), table)
    return table.num_rows


def predicted(predictor: Any, numbers: list[int], items: list[Item]) -> Iterator[dict[str, Any]]:
    """Rows of crystals."""
    names = [item.name for item in items]
    for number, found in zip(numbers, predictor.predict_many(items, names, read_item), strict=True):
        yield flat(number, found.to_dict())


def _second_stage(job: Job, predictor: Any, shard: int) -> pa.Table:
    """The first stage's rows, with those of promising crystals predicted anew by the whole model."""
    assert job.first_stage is not None
    before = pq.read_table(shard_path(job.first_stage, shard))
    promising = scores(before) >= job.least_score_K
    items = [item for item, again in zip(job.plan.items(shard), promising, strict=True) if again]
    numbers = [number for number, again in zip(job.plan.numbers(shard), promising, strict=True) if again]
    rows = [{**row, **NO_INTERVAL} for row in before.to_pylist()]
    for number, row in zip(numbers, predicted(predictor, numbers, items), strict=True):
        rows[number - job.plan.numbers(shard).start] = row
    members = dict.fromkeys([*predictor.members, *_members(before.schema)])
    return table_of(rows, schema_of([*members]))


def _members(schema: pa.Schema) -> list[str]:
    return [name.removesuffix("_weight") for name in schema.names if name.endswith("_weight")]


def scores(table: pa.Table) -> np.ndarray:
    """How promising crystals are to the trees, in K: the upper bound of their interval; of failures -1.

    It is high for a high Tc, and for a low one that the trees are unsure of.
    """
    upper_K = table["upper_K"].to_numpy(zero_copy_only=False).astype(float)
    tc_K = table["tc_K"].to_numpy(zero_copy_only=False).astype(float)
    return np.nan_to_num(np.where(np.isnan(upper_K), tc_K, upper_K), nan=-1.0)
