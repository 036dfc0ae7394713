"""What stands in the shards is what the shipped predictor says, to the last bit; the cascade with real trees."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prediction import Failure, load_predictor
from prediction.screening.cascade import least_score_K
from prediction.screening.first_stage import load_trees, trees_name
from prediction.screening.inputs import open_inputs
from prediction.screening.plan import Plan
from prediction.screening.shard import Job, ModelSource, screen_shard
from tc_common.errors import UserError
from tests.prediction.conftest import ShippedStudy

FIRST = "prediction.screening.first_stage:load_trees"


@pytest.fixture
def plan(shipped: ShippedStudy, tmp_path: Path) -> Plan:
    """The twelve test materials of the tiny study."""
    cifs = [shipped.cif("test", row) for row in range(len(shipped.splits["test"]))]
    return Plan(tuple(open_inputs(cifs, tmp_path / "inputs")[0]))


def test_a_shard_has_the_predictors_numbers(shipped: ShippedStudy, plan: Plan, tmp_path: Path) -> None:
    job = Job(plan, ModelSource("ensemble", shipped.models), tmp_path / "shards")
    assert screen_shard(job, 0) == 12
    predictor = load_predictor(shipped.models, "ensemble")
    rows = pq.read_table(job.path(0)).to_pylist()
    for row, said in zip(rows, predictor.predict_many([Path(row["name"]) for row in rows]), strict=True):
        assert not isinstance(said, Failure)
        assert (row["tc_K"], row["lower_K"], row["upper_K"]) == (said.tc_K, said.lower_K, said.upper_K)
        assert row["formula"] == said.formula and row["error"] is None and row["model"] == "ensemble"
        for member in said.members:
            assert row[f"{member.name}_tc_K"] == member.tc_K and row[f"{member.name}_weight"] == member.weight
        assert row["nearest_1_formula"] == said.nearest[0].formula
        assert [kind for kind in row["warning_kinds"].split(",") if kind] == [
            *dict.fromkeys(caution.kind for caution in said.cautions)
        ]


def test_the_cascade_keeps_the_trees_where_they_promise_little(
    shipped: ShippedStudy, plan: Plan, tmp_path: Path
) -> None:
    first = Job(plan, ModelSource("trees", shipped.models, loader=FIRST), tmp_path / "first")
    screen_shard(first, 0)
    limit_K = least_score_K(first.folder, 1, 0.25)
    job = Job(plan, ModelSource("ensemble", shipped.models), tmp_path / "shards", first.folder, limit_K)
    screen_shard(job, 0)
    rows = pq.read_table(job.path(0)).to_pylist()
    trees, ensemble = load_trees(shipped.models, ""), load_predictor(shipped.models, "ensemble")
    chosen = [row for row in rows if row["model"] == "ensemble"]
    assert 3 <= len(chosen) < 12
    for row in rows:
        predictor = ensemble if row in chosen else trees
        # in another batch, single precision may differ in the last digits
        assert row["tc_K"] == pytest.approx(predictor.predict(Path(row["name"])).tc_K, rel=1e-5)
        assert (row["lower_K"] is None) == (row not in chosen)


def test_a_folder_without_trees_has_no_first_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ships no trees"):
        trees_name(tmp_path)
