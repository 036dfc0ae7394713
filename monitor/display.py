"""Shows the state of a training: on one screen that is drawn anew, or in a line now and then."""

import math
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.measuring import Sample

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


WIDTH = 60


@dataclass(frozen=True, kw_only=True)
class View:
    """What the screen shows."""

    title: str
    sample: Sample
    usual_seconds_per_step: float
    seconds_left: float
    max_rss_MB: float
    restarts: int
    recent: tuple[str, ...]
    lines: tuple[str, ...]


def fraction_done(note: dict[str, object]) -> float:
    """Part of the planned steps that is done, 0 to 1; 0 before the first step."""
    epochs, epoch, step, steps = (_number(note.get(name)) for name in ("epochs", "epoch", "step", "steps"))
    if not epochs or not steps:
        return 0.0
    return min((epoch - 1 + step / steps) / epochs, 1.0)


def seconds_left(done_at_start: float, done: float, elapsed_s: float) -> float:
    """Time to the last epoch at the pace of this start (early stopping may come before); NaN before the first step."""
    gained = done - done_at_start
    return elapsed_s * (1 - done) / gained if gained > 0 else math.nan


def line(view: View) -> str:
    """The state in one plain line."""
    note = view.sample.note
    parts = [f"{fraction_done(note):.1%} done", f"{duration(view.seconds_left)} left", _memory(view), _speed(view)]
    return f"{_place(note)}  " + "  ".join(part for part in parts if part)


def screen(view: View) -> str:
    """The state on a screen of about twenty lines."""
    done = fraction_done(view.sample.note)
    filled = round(WIDTH * done)
    sections = [
        view.title,
        f"[{'#' * filled}{'.' * (WIDTH - filled)}] {done:.1%}  {duration(view.seconds_left)} left",
        f"{_place(view.sample.note)}  {_errors(view.sample.note)}",
        f"memory      {_memory(view)}",
        f"throughput  {_speed(view)}",
        f"restarts    {view.restarts}",
        "",
        *view.recent,
        "",
        *view.lines,
    ]
    return "\n".join(sections)


def duration(seconds: float) -> str:
    """Such as 1 h 05 min; ? if unknown."""
    if not math.isfinite(seconds):
        return "?"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _place(note: dict[str, object]) -> str:
    if "epoch" not in note:
        return str(note.get("phase", "not started yet"))
    epoch, step = f"epoch {note['epoch']}/{note['epochs']}", f"step {note['step']}/{note['steps']}"
    return f"{epoch}  {step}  {note.get('phase', '')}".rstrip()


def _errors(note: dict[str, object]) -> str:
    shown = {"loss": "train loss {:.4f}", "val_mae_K": "val MAE {:.3f} K", "best_val_mae_K": "best {:.3f} K"}
    return "  ".join(text.format(note[name]) for name, text in shown.items() if name in note)


def _memory(view: View) -> str:
    limit = f" of {view.max_rss_MB:.0f}" if math.isfinite(view.max_rss_MB) else ""
    swap = f", swapping in {view.sample.swap_in_MB_s:.0f} MB/s" if view.sample.swap_in_MB_s >= 1 else ""
    return f"{view.sample.rss_MB:.0f}{limit} MB, {view.sample.available_MB:.0f} MB available{swap}"


def _speed(view: View) -> str:
    note = view.sample.note
    seconds = _number(note.get("seconds_per_step"))
    if not seconds:
        return ""
    cut = f"{note['batch_size']} x {note['grad_accumulation']}" if "batch_size" in note else "?"
    per_second = _number(note.get("samples")) / seconds
    return f"{per_second:.3g} samples/s, {seconds:.3g} s/step (usually {view.usual_seconds_per_step:.3g}), batch {cut}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
