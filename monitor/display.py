"""Shows the state of a training: on one screen that is drawn anew, or in a line now and then."""

import math
import os
import shutil
import sys
import time
from collections.abc import Iterable
from typing import TypeAlias

from monitor.measuring import Sample

SECONDS_BETWEEN_LINES = 60.0
LINES_OF_THE_CHILD = 8
WIDTH = 60
CLEAR = "\x1b[H\x1b[2J"
Note: TypeAlias = dict[str, object]
"""The trainer's status."""


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
        left, memory = self._left(sample), memory_text(sample, self.max_rss_MB)
        speed = speed_text(sample.note, usual_seconds_per_step)
        if self.live:
            below = ["", *recent, "", *list(lines)[-LINES_OF_THE_CHILD:]]
            text = "\n".join([self.title, *screen(sample.note, left, memory, speed, restarts), *below])
            print(CLEAR + cropped(text, *shutil.get_terminal_size()), flush=True)
        elif time.monotonic() - self.drawn_at > SECONDS_BETWEEN_LINES:
            self.drawn_at = time.monotonic()
            print(f"monitor: {line(sample.note, left, memory, speed)}", flush=True)

    def _left(self, sample: Sample) -> str:
        done = fraction_done(sample.note)
        if self.done_at_start is None and done:
            self.done_at_start, self.started_at = done, time.monotonic()
        return duration(seconds_left(self.done_at_start or 0.0, done, time.monotonic() - self.started_at))


def cropped(text: str, columns: int, rows: int) -> str:
    """As much of the text as a terminal shows without scrolling."""
    return "\n".join(line[: columns - 1] for line in text.splitlines()[: rows - 1])


def fraction_done(note: Note) -> float:
    """Part of the planned steps that is done, 0 to 1; 0 before the first step."""
    epochs, epoch, step, steps = (_number(note.get(name)) for name in ("epochs", "epoch", "step", "steps"))
    if not epochs or not steps:
        return 0.0
    return min((epoch - 1 + step / steps) / epochs, 1.0)


def seconds_left(done_at_start: float, done: float, elapsed_s: float) -> float:
    """Time to the last epoch at the pace of this start (early stopping may come before); NaN before the first step."""
    gained = done - done_at_start
    return elapsed_s * (1 - done) / gained if gained > 0 else math.nan


def line(note: Note, left: str, memory: str, speed: str) -> str:
    """The state in one plain line."""
    return "  ".join(filter(None, (_place(note), f"{fraction_done(note):.1%} done", f"{left} left", memory, speed)))


def screen(note: Note, left: str, memory: str, speed: str, restarts: int) -> list[str]:
    """The state in a few lines."""
    done = fraction_done(note)
    bar = ("#" * round(WIDTH * done)).ljust(WIDTH, ".")
    return [
        f"[{bar}] {done:.1%}  {left} left",
        f"{_place(note)}  {_errors(note)}",
        f"memory      {memory}",
        f"throughput  {speed}",
        f"restarts    {restarts}",
    ]


def duration(seconds: float) -> str:
    """Such as 1 h 05 min; ? if unknown."""
    if not math.isfinite(seconds):
        return "?"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _place(note: Note) -> str:
    if "epoch" not in note:
        return str(note.get("phase", "not started yet"))
    epoch, step = f"epoch {note['epoch']}/{note['epochs']}", f"step {note['step']}/{note['steps']}"
    return f"{epoch}  {step}  {note.get('phase', '')}".rstrip()


def _errors(note: Note) -> str:
    shown = {"loss": "train loss {:.4f}", "val_mae_K": "val MAE {:.3f} K", "best_val_mae_K": "best {:.3f} K"}
    return "  ".join(text.format(note[name]) for name, text in shown.items() if name in note)


def memory_text(sample: Sample, max_rss_MB: float) -> str:
    """Memory held, its limit, what is available, and the swapping."""
    limit = f" of {max_rss_MB:.0f}" if math.isfinite(max_rss_MB) else ""
    swap = f", swapping in {sample.swap_in_MB_s:.0f} MB/s" if sample.swap_in_MB_s >= 1 else ""
    return f"{sample.rss_MB:.0f}{limit} MB, {sample.available_MB:.0f} MB available{swap}"


def speed_text(note: Note, usual_seconds_per_step: float) -> str:
    """Samples a second, seconds a step, and the batch; empty before the first step."""
    seconds = _number(note.get("seconds_per_step"))
    if not seconds:
        return ""
    cut = f"{note['batch_size']} x {note['grad_accumulation']}" if "batch_size" in note else "?"
    per_second = _number(note.get("samples")) / seconds
    return f"{per_second:.3g} samples/s, {seconds:.3g} s/step (usually {usual_seconds_per_step:.3g}), batch {cut}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
