"""The cascade: trees for all crystals, the whole model for those that they find promising or are unsure of.

The limit is one for the whole input, so a shard of cuprates is not cut to its best tenth. Scores are counted in bins
of 0.01 K, shard after shard: memory does not grow with their number.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from prediction.screening.shard import scores, shard_path
from tc_common.files import write_json

FIRST_STAGE = "first_stage"
BIN_K = 0.01
HIGHEST_K = 1_000.0


def least_score_K(folder: Path, shards: int, fraction: float) -> float:
    """Lowest score (K) with which a crystal belongs to the most promising `fraction`, at least; failures never do."""
    edges = np.arange(0.0, HIGHEST_K + BIN_K, BIN_K)
    counts = np.zeros(len(edges) - 1, np.int64)
    for shard in range(shards):
        found = scores(pq.read_table(shard_path(folder, shard), columns=["tc_K", "upper_K"]))
        counts += np.histogram(found[found >= 0].clip(max=HIGHEST_K), edges)[0]
    from_above = np.cumsum(counts[::-1])
    wanted = int(np.ceil(fraction * counts.sum()))
    return float(edges[::-1][1:][np.searchsorted(from_above, wanted)]) if wanted else HIGHEST_K


def write_limit(out: Path, fraction: float, limit_K: float) -> None:
    """Record the limit."""
    write_json(out / "cascade.json", {"fraction": fraction, "least_score_K": limit_K})
