"""The command end to end with a stand-in predictor: shards, resuming, kills, full disks, engines of the same bytes."""

import gc
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from prediction import screen
from prediction.screen import ScreenConfig, main
from prediction.screening import plan as plans
from prediction.screening.inputs import open_inputs
from prediction.screening.shard import Job, ModelSource, screen_shard
from tc_common.errors import UserError
from tests.prediction.screening.conftest import ROOT, write_parquet
from tests.prediction.screening.standin import DIES_AT

STAND_IN = "tests.prediction.screening.standin:load"
RESULTS = ("failed.parquet", "top.parquet")


@pytest.fixture(scope="module", autouse=True)
def stand_in() -> Iterator[None]:
    """Workers load the stand-in, and shards are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "LOADER", STAND_IN)
        patch.setattr(screen, "FIRST_LOADER", STAND_IN)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(plans, "SHARD", 64)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, stand_in: None) -> ScreenConfig:
    """Settings of a finished screening of 300 crystals, three of them bad."""
    folder = tmp_path_factory.mktemp("finished")
    write_parquet(folder / "t.parquet", 300, bad=(5, 150, 299))
    (folder / "models").mkdir()
    (folder / "models/ensemble.json").write_text("{}")
    config = ScreenConfig(
        inputs=(folder / "t.parquet",), out=folder / "out", models_dir=folder / "models", workers=1, top=10
    )
    main(config)
    return config


def content(out: Path) -> dict[str, bytes]:
    """Bytes of all results."""
    paths = [*sorted((out / "shards").glob("*.parquet")), *(out / name for name in RESULTS)]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def rows_of(out: Path) -> list[dict]:
    """All rows in the order of the shards."""
    return [row for path in sorted((out / "shards").glob("*")) for row in pq.read_table(path).to_pylist()]


def test_every_crystal_has_a_row_and_three_bad_ones_are_three_failures(finished: ScreenConfig) -> None:
    rows = rows_of(finished.out)
    assert [row["number"] for row in rows] == list(range(300))
    failed = pq.read_table(finished.out / "failed.parquet").to_pylist()
    assert [row["name"] for row in failed] == ["c5", "c150", "c299"] and all(row["error"] for row in failed)
    top = pq.read_table(finished.out / "top.parquet").to_pylist()
    best = [row["tc_K"] for row in top if row["criterion"] == "tc_K"]
    assert best == sorted((row["tc_K"] for row in rows if row["tc_K"]), reverse=True)[:10]
    assert "300 crystals: 297 predicted, 3 failed" in (finished.out / "report.md").read_text()


def test_started_again_it_computes_what_is_missing_and_nothing_else(finished: ScreenConfig, tmp_path: Path) -> None:
    again = replace(finished, out=tmp_path / "copy")
    shutil.copytree(finished.out, again.out)
    kept = again.out / "shards/000000.parquet"
    (again.out / "shards/000002.parquet").unlink()
    stamp = kept.stat().st_mtime_ns
    main(again)
    assert content(again.out) == content(finished.out) and kept.stat().st_mtime_ns == stamp


def test_other_settings_in_the_same_folder_are_refused(finished: ScreenConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='holds a screening with model "ensemble", not "student"'):
        main(replace(finished, model="student"))
    with pytest.raises(UserError, match=r"holds a screening with cascade 0\.0, not 0\.5"):
        main(replace(finished, cascade=0.5))
    write_parquet(tmp_path / "t.parquet", 299)
    with pytest.raises(UserError, match="holds a screening with inputs"):
        main(replace(finished, inputs=(tmp_path / "t.parquet",)))
    main(replace(finished, top=10))  # how many are ranked is no setting of the rows


def test_parts_of_a_job_array_make_the_whole(finished: ScreenConfig, tmp_path: Path) -> None:
    parts = [replace(finished, out=tmp_path / "parts", shard=f"{index}/2") for index in (1, 2)]
    main(parts[0])
    assert not (tmp_path / "parts/top.parquet").exists()
    main(parts[1])
    assert content(tmp_path / "parts") == content(finished.out)


def test_a_killed_worker_costs_only_its_shard(
    finished: ScreenConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies").write_text("c100")
    monkeypatch.setenv(DIES_AT, str(tmp_path / "dies"))
    main(replace(finished, out=tmp_path / "again", workers=2))
    assert not (tmp_path / "dies").exists(), "nobody was killed"
    assert content(tmp_path / "again") == content(finished.out)


def test_a_shard_that_kills_every_process_is_named(
    finished: ScreenConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prediction.screening.local.MOST_TRIES", 1)
    monkeypatch.setattr(screen, "LOADER", "tests.prediction.screening.standin:die")
    with pytest.raises(UserError, match=r"the process of shard 0 \(crystals 0 to 63\) died 1 times"):
        main(replace(finished, out=tmp_path / "dying"))


def start_command(config: ScreenConfig) -> "subprocess.Popen[bytes]":
    """The command in a process of its own, with shards of 64."""
    code = (
        "import prediction.screening.plan as plans, prediction.screen as screen\n"
        "from tc_common.cli import parse\n"
        f"plans.SHARD, screen.LOADER = 64, {STAND_IN!r}\n"
        "if __name__ == '__main__': screen.main(parse(screen.ScreenConfig, prog='screen', description=''))"
    )
    arguments = [str(config.inputs[0]), "--out", str(config.out), "--models-dir", str(config.models_dir)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments, "--workers", "1", "--top", "10"], cwd=ROOT)


def test_killed_with_9_and_started_again_the_result_has_the_same_bytes(finished: ScreenConfig, tmp_path: Path) -> None:
    killed = replace(finished, out=tmp_path / "killed")
    process = start_command(killed)
    wait_for(lambda: len(list((killed.out / "shards").glob("0*.parquet"))) >= 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(workers, timeout=30)[1], "workers outlive the killed driver"
    main(killed)
    assert content(killed.out) == content(finished.out)


def wait_for(happened: Callable[[], bool], seconds: float = 200) -> None:
    """Wait until it happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_a_full_disk_stops_with_the_shards_name_and_loses_no_finished_shard(
    finished: ScreenConfig, tmp_path: Path
) -> None:
    sources, _ = open_inputs(finished.inputs, tmp_path / "inputs")
    model = ModelSource("ensemble", finished.models_dir, loader=STAND_IN)
    job = Job(plans.Plan(tuple(sources), 64), model, tmp_path / "shards")
    screen_shard(job, 0)
    before = job.path(0).read_bytes()
    with file_size_limit(1000), pytest.raises(UserError, match=r"cannot write .*000001\.parquet: .*; free space"):
        screen_shard(job, 1)
    assert [path.name for path in job.folder.iterdir()] == ["000000.parquet"]
    assert job.path(0).read_bytes() == before


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may become larger: the system refuses the write in its middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_another_screening_writes_is_refused(finished: ScreenConfig) -> None:
    with plans.Lock(finished.out, plans.Part()), pytest.raises(UserError, match="another screening writes"):
        main(finished)


def test_a_cascade_predicts_the_promising_by_the_whole_model(finished: ScreenConfig, tmp_path: Path) -> None:
    main(replace(finished, cascade=0.1, out=tmp_path / "cascade"))
    good = [row for row in rows_of(tmp_path / "cascade") if row["error"] is None]
    whole = [row for row in good if row["model"] == "ensemble"]
    assert 0.1 * len(good) <= len(whole) < 0.2 * len(good)  # equal crystals are promising together
    rest = [row for row in good if row["model"] == "trees"]
    assert len(rest) + len(whole) == 297
    assert min(row["tc_K"] for row in whole) >= max(row["tc_K"] for row in rest)
    assert all(row["lower_K"] is None for row in rest) and all(row["lower_K"] for row in whole)


@pytest.fixture
def ray_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray, or a skip with the reason."""
    pytest.importorskip("ray", reason="the extra `screen` is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield
    with warnings.catch_warnings():  # on a busy machine Ray's own processes end after it has let go of them
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("ray_workers")
def test_ray_gives_the_bytes_of_local_also_when_an_actors_process_is_killed(
    finished: ScreenConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies").write_text("c200")
    monkeypatch.setenv(DIES_AT, str(tmp_path / "dies"))
    main(replace(finished, out=tmp_path / "ray", engine="ray", workers=2))
    assert not (tmp_path / "dies").exists(), "nobody was killed"
    assert content(tmp_path / "ray") == content(finished.out)


def own_processes() -> dict[str, psutil.Process]:
    """What this process has started, by name: Ray's list of actors needs its dashboard."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found[" ".join(process.cmdline()).strip()] = process
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("ray_workers")
def test_an_actor_that_ray_kills_costs_only_its_shards(finished: ScreenConfig, tmp_path: Path) -> None:
    import ray

    from prediction.screening.cluster import run_ray

    job = Job(
        plans.Plan(tuple(open_inputs(finished.inputs, tmp_path / "inputs")[0]), 8),
        ModelSource("ensemble", finished.models_dir, loader=STAND_IN),
        tmp_path / "ray/shards",
    )
    crystals = 0
    for number, done in enumerate(run_ray(job, range(job.plan.shards), 2)):
        crystals += done
        if number == 2:
            next(process for name, process in own_processes().items() if "ShardActor" in name).kill()
    assert crystals == 300 and len(list(job.folder.glob("*.parquet"))) == job.plan.shards
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": "3/2"}, "--shard must be i/n"),
        ({"cascade": 1.0}, "--cascade must be"),
        ({"workers": 0}, "must be at least 1"),
        ({"ray_address": "auto"}, "go with --engine ray"),
        ({"gpus_per_worker": 0.5, "engine": "ray"}, "goes with --device cuda"),
        ({"inputs": ()}, "name at least one"),
    ],
)
def test_flags_that_make_no_sense_are_refused(finished: ScreenConfig, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(finished, **changes)
