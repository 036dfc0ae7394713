"""What a person wants to see of a running training, on one screen or in one line."""

import math
from dataclasses import dataclass

from monitor.measuring import Sample

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
