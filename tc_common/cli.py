"""Command lines: a frozen dataclass becomes flags, a mistake one line; log lines; settings of earlier versions."""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tc_common.errors import UserError, one_line
from tc_common.extras import missing_package, version
from tc_common.help import help_text

Config = TypeVar("Config")
log = logging.getLogger("supervision")


def parse(config: type[Config], *, prog: str, description: str | None, args: Sequence[str] | None = None) -> Config:
    """Turn command-line flags into `config`; `--help` shows each field's docstring and default.

    Raises:
        UserError: an unknown flag, a value of the wrong type, or one that `__post_init__` refuses.
    """
    words = list(sys.argv[1:] if args is None else args)
    if {"-h", "--help"} & {*words}:
        _answer(help_text(config, prog, description, words))
    if "--version" in words:
        _answer(f"SuperVision {version()}")
    return _parsed(config, prog, words)


def _answer(text: str) -> NoReturn:
    escape_what_terminals_lack()
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `--help | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def _parsed(config: type[Config], prog: str, words: Sequence[str]) -> Config:
    import tyro  # not for --help

    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(config, prog=prog, args=words, add_help=False)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_unframed(message.getvalue())} (see {prog} --help)") from None


def _unframed(boxed: str) -> str:
    """First section of tyro's framed message, unwrapped, with the flags it suggests."""
    lines = [line.strip("│ \n") for line in boxed.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((number for number, line in enumerate(lines) if line.startswith("──")), len(lines))
    first = re.sub(r"\s+([.,])", r"\1", " ".join(lines[:rule]))
    close = [line.split()[0] for line in lines[rule:] if line.startswith("--")]
    return first.rstrip(".") + (f"; did you mean {' or '.join(close)}?" if close else "")


def escape_what_terminals_lack() -> None:
    """Make printing survive: a character that the terminal's encoding lacks (R² in ASCII) is escaped, no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[], object]) -> None:
    """Run a command line: a user's mistake is one line on stderr and exit status 2, Ctrl-C is 130."""
    escape_what_terminals_lack()
    try:
        main()
    except UserError as error:
        _refuse(error)
    except ImportError as error:
        if (said := missing_package(error)) is None:
            raise
        _refuse(said)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _refuse(error: UserError) -> NoReturn:
    print(f"error: {one_line(error, most=10_000)}", file=sys.stderr)
    raise SystemExit(2) from None


def set_up_log(path: Path | None, is_main: bool = True) -> None:
    """Send the run's lines to the terminal and, where `path` is given, appended with their time to that file.

    Raises:
        UserError: the file cannot be opened.
    """
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    log.propagate = False
    log.setLevel(logging.INFO if is_main else logging.ERROR)
    log.addHandler(logging.StreamHandler())
    if path and is_main:
        log.addHandler(_file_handler(path))


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--log-file {path} cannot be written: {error.strerror}; name another file") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


# Settings that were removed, and the only value with which a checkpoint or a card that states them is still read.
REMOVED_SETTINGS = {
    "plateau_patience": 5, "mixture_channels": False, "lora_rank_stabilised": False, "lora_dora": False,
}  # fmt: skip
RENAMED_SETTINGS = {"color_waves": "fourier_features", "pictures": "render_options"}


def current_settings(settings: dict[str, Any], origin: Path | str) -> dict[str, Any]:
    """Settings written by an earlier version under their names of today, without those that were removed since.

    Raises:
        UserError: a removed setting had another value than its default; named, with `origin`, where it was read.
    """
    for name, value in settings.items():
        if name in REMOVED_SETTINGS and value != REMOVED_SETTINGS[name]:
            raise UserError(f"{origin} was made with {name} = {value}, which no longer exists; train again without it")
    return {
        RENAMED_SETTINGS.get(name, name): current_settings(value, origin) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in REMOVED_SETTINGS
    }
