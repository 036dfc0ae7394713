"""The engine on a Ray cluster, of one machine or several: Ray Data over the shards with a pool of actors.

Ray starts, restarts and feeds the actors; a shard whose actor or node dies is computed again elsewhere. Input, output
and the project's folder must have the same path on every machine.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prediction.screening.shard import Job, screen_shard
from tc_common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
MOST_TRIES = 3
# Shards that an actor holds beside the one that it computes: more would be computed again when it dies.
SHARDS_AHEAD = 1


class ShardActor:
    """One worker process of Ray: it keeps the predictor between shards."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute one shard; a user's mistake (a full disk) comes back as text."""
        try:
            return {"crystals": screen_shard(self.job, int(row["item"])), "error": ""}
        except UserError as error:
            return {"crystals": 0, "error": str(error)}


def run_ray(
    job: Job, shards: Sequence[int], workers: int, address: str | None = None, gpus: float = 0.0
) -> Iterator[int]:
    """Compute shards; yield the crystals of each as it is finished.

    Args:
        address: of a running cluster; None starts one on this machine.
        gpus: of each actor; 0.25 lets four share one.

    Raises:
        UserError: a shard's own, or what Ray says of a cluster that cannot be used.
    """
    import ray
    from ray.exceptions import RayError

    with cluster(workers, address):
        try:
            names = ray.data.from_items(list(shards), override_num_blocks=len(shards))
            rows = names.map(
                ShardActor,  # type: ignore[arg-type]  # Ray makes actors of a class
                fn_constructor_args=(job,),
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1 + SHARDS_AHEAD),
                num_cpus=1,
                num_gpus=gpus or None,
                ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": MOST_TRIES},
            )
            for row in rows.iter_rows():
                if row["error"]:
                    raise UserError(row["error"])
                yield int(row["crystals"])
        except RayError as error:
            raise UserError(f"Ray could not go on ({type(error).__name__}: {_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


@contextmanager
def cluster(workers: int, address: str | None) -> Iterator[None]:
    """A connection to Ray: quiet, without dashboard and without usage reports."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    here: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own deprecations are not the user's
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR,
                runtime_env={"env_vars": environment}, **here,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray-address {address}: {_first_line(error)}") from error
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
