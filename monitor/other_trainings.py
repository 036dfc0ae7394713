"""Other trainings of this project on this computer."""

from dataclasses import dataclass
from datetime import datetime

import psutil

from monitor.commands import TRAINERS, Command


@dataclass(frozen=True)
class Neighbour:
    """A trainer that somebody else started."""

    pid: int
    command: str
    folder: str
    """Where it was started."""
    since: str

    def __str__(self) -> str:
        return f"pid {self.pid} (since {self.since}, in {self.folder}): {self.command}"


def neighbours(ours: set[int], module: str | None) -> list[Neighbour]:
    """Running trainers, loaders left out.

    Args:
        ours: processes that do not count, nor their children.
        module: also counts as a trainer (what follows `-m` in our own command).
    """
    wanted = {*TRAINERS, module} - {None}
    found = {}
    for process in psutil.process_iter(["pid", "ppid", "cmdline", "cwd", "create_time"]):
        words = process.info["cmdline"] or []
        watches = any(word.endswith("monitor_and_optimize.py") for word in words)
        if Command(tuple(words)).module in wanted and not watches and process.pid not in ours:
            found[process.pid] = process.info
    return [_neighbour(facts) for pid, facts in sorted(found.items()) if facts["ppid"] not in {*found, *ours}]


def _neighbour(facts: dict[str, object]) -> Neighbour:
    words, started = facts["cmdline"], facts["create_time"]
    assert isinstance(words, list) and isinstance(started, float) and isinstance(facts["pid"], int)
    since = datetime.fromtimestamp(started).isoformat(" ", timespec="minutes")
    return Neighbour(facts["pid"], " ".join(words), str(facts["cwd"]), since)
