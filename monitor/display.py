"""Shows the state of a training: on one screen that is drawn anew, or in a line now and then."""

import os
import shutil
import sys
import time
from collections.abc import Iterable

from monitor.measuring import Sample
from monitor.summary import View, fraction_done, line, screen, seconds_left

SECONDS_BETWEEN_LINES = 60.0
LINES_OF_THE_CHILD = 8
CLEAR = "\x1b[H\x1b[2J"


class Display:
    """Draws on standard output; `live` where a person looks at a terminal."""

    def __init__(self, title: str, max_rss_MB: float) -> None:
        self.title, self.max_rss_MB = title, max_rss_MB
        self.live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.drawn_at = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """The training starts, or starts again: its pace is measured from here."""
        self.done_at_start: float | None = None
        self.started_at = time.monotonic()

    def draw(
        self, sample: Sample, usual_seconds_per_step: float, restarts: int, recent: Iterable[str], lines: Iterable[str]
    ) -> None:
        """Show a sample, the last decisions and the training's own last lines."""
        view = View(
            title=self.title,
            sample=sample,
            usual_seconds_per_step=usual_seconds_per_step,
            seconds_left=self._seconds_left(sample),
            max_rss_MB=self.max_rss_MB,
            restarts=restarts,
            recent=tuple(recent),
            lines=tuple(lines)[-LINES_OF_THE_CHILD:],
        )
        if self.live:
            print(CLEAR + cropped(screen(view), *shutil.get_terminal_size()), flush=True)
        elif time.monotonic() - self.drawn_at > SECONDS_BETWEEN_LINES:
            self.drawn_at = time.monotonic()
            print(f"monitor: {line(view)}", flush=True)

    def _seconds_left(self, sample: Sample) -> float:
        done = fraction_done(sample.note)
        if self.done_at_start is None and done:
            self.done_at_start, self.started_at = done, time.monotonic()
        return seconds_left(self.done_at_start or 0.0, done, time.monotonic() - self.started_at)


def cropped(text: str, columns: int, rows: int) -> str:
    """As much of the text as a terminal shows without scrolling."""
    return "\n".join(line[: columns - 1] for line in text.splitlines()[: rows - 1])
