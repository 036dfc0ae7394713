"""What a finished screening comes to: failures, the best by three criteria, and a report.

One shard is in memory at a time, and the best so far.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from prediction.screening.shard import shard_path
from tc_common.files import atomic_write, write_json, write_text
from tc_common.splits import TC_RANGES, tc_strata

Array = NDArray[np.float64]
FAILED, TOP, REPORT = "failed.parquet", "top.parquet", "report.json"
CRITERIA = ("lower_K", "tc_K", "expected_improvement_K")
REASONS = 20


@dataclass(frozen=True)
class Ranking:
    """How the best are chosen."""

    count: int = 100
    """Of each criterion."""
    threshold_K: float = 40.0
    """Tc over which an improvement counts."""


@dataclass
class Counts:
    """Sums over all shards."""

    crystals: int = 0
    failed: int = 0
    flagged: int = 0
    ranges: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table) -> None:
        """Count a shard."""
        good = table.filter(pc.is_null(table["error"]))
        tc_K = _floats(good, "tc_K")
        self.crystals += table.num_rows
        self.failed += table.num_rows - good.num_rows
        self.ranges.update(TC_RANGES[stratum] for stratum in tc_strata(tc_K))
        self.models.update(good["model"].to_pylist())
        kinds = [text.split(",") for text in good["warning_kinds"].to_pylist() if text]
        self.flagged += len(kinds)
        self.warnings.update(kind for each in kinds for kind in each)
        self.reasons.update(error[:80] for error in table["error"].to_pylist() if error is not None)


def summarise(out: Path, shards: Path, number: int, ranking: Ranking, facts: dict[str, Any]) -> Counts:
    """Write `failed.parquet`, `top.parquet`, `report.json` and `report.md` of all shards.

    Args:
        shards: folder of the shards; number: how many there are.
        facts: what else the report states, such as times.
    """
    counts, best = Counts(), dict.fromkeys(CRITERIA)
    schema = pq.read_schema(shard_path(shards, 0))
    with atomic_write(out / FAILED) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as failed:
        for table in _tables(shards, number):
            counts.add(table)
            failed.write_table(table.filter(pc.is_valid(table["error"])))
            good = _with_improvement(table.filter(pc.is_null(table["error"])), ranking.threshold_K)
            best = {name: _best([found, good], name, ranking.count) for name, found in best.items()}
    write_top(out / TOP, best)
    write_json(out / REPORT, {**plain(counts), "threshold_K": ranking.threshold_K, **facts})
    write_text(out / "report.md", report(counts, best, ranking, facts))
    return counts


def _tables(shards: Path, number: int) -> Iterator[pa.Table]:
    for shard in range(number):
        yield pq.read_table(shard_path(shards, shard))


def _floats(table: pa.Table, name: str) -> Array:
    found: Array = table[name].to_numpy(zero_copy_only=False).astype(float)
    return found


# ---- the best ----------------------------------------------------------------------------------------------------


def expected_improvement(tc_K: Array, upper_K: Array, coverage: Array, threshold_K: float) -> Array:
    """Mean of what Tc exceeds the threshold by, in K (n,): Jones, Schonlau & Welch 1998, doi 10.1023/A:1008306431147.

    Tc is taken as normal; its SD from the upper half of the interval, because the lower is cut at 0 K. Without an
    interval the SD is 0.
    """
    z = ndtri((1 + np.nan_to_num(coverage, nan=0.9)) / 2)
    sd_K = np.nan_to_num((upper_K - tc_K) / z, nan=0.0).clip(1e-9)
    excess_K = tc_K - threshold_K
    density = np.exp(-((excess_K / sd_K) ** 2) / 2) / np.sqrt(2 * np.pi)
    improvement: Array = excess_K * ndtr(excess_K / sd_K) + sd_K * density
    return improvement.clip(0)


def _with_improvement(table: pa.Table, threshold_K: float) -> pa.Table:
    tc_K, upper_K, coverage = (_floats(table, name) for name in ("tc_K", "upper_K", "coverage"))
    return table.append_column(CRITERIA[2], pa.array(expected_improvement(tc_K, upper_K, coverage, threshold_K)))


def _best(tables: list[pa.Table | None], criterion: str, count: int) -> pa.Table:
    """The first `count` rows by a criterion, of equal ones those that came first."""
    table = pa.concat_tables([each for each in tables if each is not None])
    order = np.lexsort((_floats(table, "number"), -np.nan_to_num(_floats(table, criterion), nan=-np.inf)))
    return table.take(pa.array(order[:count]))


def write_top(path: Path, best: dict[str, Any]) -> None:
    """Write the best of every criterion, with `criterion` and `rank` (from 1) as first columns."""
    parts = []
    for name, table in best.items():
        ranks = pa.array(range(1, table.num_rows + 1), pa.int64())
        part = table.add_column(0, "rank", ranks)
        parts.append(part.add_column(0, "criterion", pa.array([name] * table.num_rows, pa.string())))
    with atomic_write(path) as temporary:
        pq.write_table(pa.concat_tables(parts), temporary, compression="zstd")


# ---- the report --------------------------------------------------------------------------------------------------


def plain(counts: Counts) -> dict[str, Any]:
    """Counts for JSON: `flagged_fraction` is that of the crystals that were predicted."""
    predicted = counts.crystals - counts.failed
    return {
        "crystals": counts.crystals,
        "predicted": predicted,
        "failed": counts.failed,
        "flagged_fraction": counts.flagged / predicted if predicted else 0.0,
        "predicted_by": dict(sorted(counts.models.items())),
        "tc_ranges": {name: counts.ranges[name] for name in TC_RANGES},
        "warnings": dict(sorted(counts.warnings.items())),
        "reasons": dict(counts.reasons.most_common(REASONS)),
    }


def report(counts: Counts, best: dict[str, Any], ranking: Ranking, facts: dict[str, Any]) -> str:
    """A short page for people."""
    said = plain(counts)
    most = max(counts.ranges.values(), default=1)
    bars = [
        f"| {name} | {counts.ranges[name]} | {'#' * round(40 * counts.ranges[name] / most)} |" for name in TC_RANGES
    ]
    first = [
        f"| {row['formula']} | {row['tc_K']:.1f} | {_shown(row['lower_K'])} to {_shown(row['upper_K'])} | "
        f"{row['name'].replace('|', '/')} |"
        for row in best["lower_K"].slice(0, 10).to_pylist()
    ]
    reasons = [f"| {number} | {reason.replace('|', '/')} |" for reason, number in said["reasons"].items()]
    lines = [
        "# Screening",
        "",
        f"{said['crystals']} crystals: {said['predicted']} predicted, {said['failed']} failed (`{FAILED}`). Of those "
        f"predicted, {said['flagged_fraction']:.1%} have a warning. {facts.get('time', '')}".rstrip(),
        "",
        "| Tc | crystals | |", "| --- | ---: | --- |", *bars, "",
        f"The ten best by the lower end of the interval (`{TOP}` has {ranking.count} by each criterion):", "",
        "| formula | Tc (K) | interval (K) | name |", "| --- | ---: | --- | --- |", *first, "",
    ]  # fmt: skip
    if reasons:
        lines += ["| failures | reason |", "| ---: | --- |", *reasons, ""]
    return "\n".join(lines)


def _shown(kelvin: float | None) -> str:
    return "?" if kelvin is None else f"{kelvin:.1f}"
