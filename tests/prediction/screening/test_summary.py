"""Rankings against numbers by hand, the cascade's limit against a sort, rows against the predictor's JSON."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from prediction.screening.cascade import least_score_K
from prediction.screening.columns import flat, schema_of, table_of, write_table
from prediction.screening.items import time_limit
from prediction.screening.plan import Part, Plan
from prediction.screening.shard import scores, shard_path
from prediction.screening.summary import CRITERIA, Ranking, expected_improvement, summarise
from tc_common.crystals import CrystalError

NEAR = {
    "formula": "Pb",
    "tc_K": 7.2,
    "lowest_K": 7.0,
    "highest_K": 7.2,
    "entries": 2,
    "source": "3DSC",
    "distance": 0.1,
}
GOOD = {
    "name": "a", "formula": "MgB2", "error": None, "model": "ensemble", "tc_K": 38.2, "lower_K": 30.1, "upper_K": 41.0,
    "coverage": 0.9, "members": [{"name": "pair", "tc_K": 37.0, "lower_K": None, "upper_K": 44.0, "weight": 0.4}],
    "known": NEAR, "nearest": [NEAR, NEAR, NEAR], "warnings": [{"kind": "pressure", "text": "dense"}],
    "remarks": ["one", "two"],
}  # fmt: skip


def test_a_row_has_all_of_the_json_flat() -> None:
    table = table_of(
        [flat(7, GOOD), flat(8, {"name": "b", "formula": "", "error": "no\nCIF", "model": "m"})], schema_of(["pair"])
    )
    good, bad = table.to_pylist()
    assert good["number"] == 7 and good["tc_K"] == 38.2 and good["pair_upper_K"] == 44.0 and good["pair_weight"] == 0.4
    assert good["known_tc_K"] == 7.2 and good["nearest_3_formula"] == "Pb" and good["known_entries"] == 2
    assert good["warnings"] == "dense" and good["warning_kinds"] == "pressure" and good["remarks"] == "one; two"
    assert bad["error"] == "no CIF" and bad["tc_K"] is None and bad["known_tc_K"] is None


def test_a_base_model_without_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="no column pair_lower_K"):
        table_of([flat(0, GOOD)], schema_of(["alignn"]))


def test_expected_improvement_is_the_integral_it_stands_for() -> None:
    tc_K, upper_K, threshold_K = 30.0, 50.0, 40.0
    sd = (upper_K - tc_K) / norm.ppf(0.95)
    integral = quad(lambda x: (x - threshold_K) * norm.pdf(x, tc_K, sd), threshold_K, 300)[0]
    found = expected_improvement(np.array([tc_K]), np.array([upper_K]), np.array([0.9]), threshold_K)
    assert found[0] == pytest.approx(integral, rel=1e-6)
    sure = expected_improvement(np.array([45.0, 30.0]), np.full(2, np.nan), np.full(2, np.nan), threshold_K)
    assert sure == pytest.approx([5.0, 0.0], abs=1e-6)


def write_shards(folder: Path, tc_K: np.ndarray, shard: int) -> int:
    """Shards of predictions that differ in Tc; every tenth crystal is a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        flat(n, {**GOOD, "name": f"c{n}", "tc_K": each, "lower_K": 0.5 * each, "upper_K": 100 - each})
        if n % 10
        else flat(n, {"name": f"c{n}", "formula": "", "error": "bad", "model": "ensemble"})
        for n, each in enumerate(tc_K)
    ]
    number = -(-len(rows) // shard)
    for place in range(number):
        write_table(
            shard_path(folder, place), table_of(rows[place * shard : (place + 1) * shard], schema_of(["pair"]))
        )
    return number


def test_the_best_are_those_of_one_sort_over_everything(tmp_path: Path) -> None:
    tc_K = np.random.default_rng(0).uniform(0, 90, 95)
    number = write_shards(tmp_path / "s", tc_K, 20)
    counts = summarise(tmp_path, tmp_path / "s", number, Ranking(7, 40.0), {})
    top = pq.read_table(tmp_path / "top.parquet").to_pylist()
    good = [n for n in range(95) if n % 10]
    for criterion, key in (("tc_K", lambda n: -tc_K[n]), ("lower_K", lambda n: -tc_K[n])):
        rows = [row for row in top if row["criterion"] == criterion]
        assert [row["number"] for row in rows] == sorted(good, key=key)[:7]
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert {row["criterion"] for row in top} == {*CRITERIA}
    assert (counts.crystals, counts.failed) == (95, 10) and sum(counts.ranges.values()) == 85
    assert pq.read_table(tmp_path / "failed.parquet")["name"].to_pylist() == [f"c{n}" for n in range(0, 95, 10)]


def test_the_cascades_limit_takes_the_fraction_of_all_shards_together(tmp_path: Path) -> None:
    tc_K = np.sort(np.random.default_rng(1).uniform(0, 90, 200))  # shards differ: the last has the promising ones
    number = write_shards(tmp_path, tc_K, 50)
    limit_K = least_score_K(tmp_path, number, 0.1)
    every = np.concatenate([scores(pq.read_table(shard_path(tmp_path, shard))) for shard in range(number)])
    assert 18 <= (every >= limit_K).sum() <= 19  # of 180; two may share a bin of 0.01 K
    assert (scores(pq.read_table(shard_path(tmp_path, 0))) == -1).sum() == 5  # failures are never promising


def test_without_bounds_the_score_is_tc() -> None:
    table = pa.table({"tc_K": [3.0, None], "upper_K": pa.array([None, None], pa.float64())})
    assert scores(table).tolist() == [3.0, -1.0]


def test_parts_share_the_shards_without_rest() -> None:
    taken = [shard for index in (1, 2, 3) for shard in Part(index, 3).shards(10)]
    assert sorted(taken) == list(range(10))


def test_a_slow_read_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(CrystalError, match=r"not read within 0\.05 s"), time_limit(0.05):
        while True:
            pass
    assert time.monotonic() - started < 5


def test_the_plan_numbers_all_crystals_once() -> None:
    from prediction.screening.inputs import Source

    plan = Plan((Source(Path("a"), 5), Source(Path("b"), 0), Source(Path("c"), 6)), 4)
    assert plan.crystals == 11 and plan.shards == 3
    assert [number for shard in range(3) for number in plan.numbers(shard)] == list(range(11))
