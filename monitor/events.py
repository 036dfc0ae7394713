"""Event log of the monitor: samples and decisions, one JSON object a line."""

import json
import math
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from monitor.measuring import Sample
from tc_common.errors import UserError

RECENT = 6


class EventLog:
    """Appends to a JSONL file; remembers the last decisions for the screen.

    Args:
        echo: where decisions go as well, a line each.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path, echo: TextIO | None = None) -> None:
        self.path = path
        self.recent: deque[str] = deque(maxlen=RECENT)
        self.echo = echo
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.stream = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UserError(f"--log-file {path} cannot be written: {error.strerror}; name another file") from error

    def see_sample(self, pid: int, sample: Sample, usual_seconds_per_step: float) -> None:
        """Note a sample."""
        usual = None if math.isnan(usual_seconds_per_step) else usual_seconds_per_step
        memory = {name: round(getattr(sample, name), 1) for name in ("rss_MB", "available_MB", "swap_in_MB_s")}
        self._write("sample", {"pid": pid, **memory, "usual_seconds_per_step": usual, "note": sample.note})

    def decide(self, event: str, message: str, **facts: Any) -> None:
        """Note a decision, for the file and for the eye."""
        self.recent.append(f"{datetime.now():%H:%M:%S} {message}")
        if self.echo is not None:
            print(f"monitor: {message}", file=self.echo, flush=True)
        self._write(event, {"message": message, **facts})

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _write(self, event: str, facts: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self.stream.write(json.dumps({"time": now, "event": event, **facts}, default=str) + "\n")
        except OSError as error:  # a full disk must not cost the training its watchdog
            self.recent.append(f"{self.path} cannot be written: {error.strerror}")
