"""Command lines: a frozen dataclass becomes flags, a mistake becomes one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from tc_common.errors import UserError

Config = TypeVar("Config")


def parse(config: type[Config], *, prog: str, description: str, args: Sequence[str] | None = None) -> Config:
    """Turn command-line flags into `config`; `--help` shows each field's docstring and default.

    Raises:
        UserError: an unknown flag, a value of the wrong type, or one that `__post_init__` refuses.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(config, prog=prog, description=description, args=args)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_one_line(complaints.getvalue())} (see {prog} --help)") from None


def _one_line(boxed: str) -> str:
    """First section of tyro's framed message, unwrapped, with the flags it suggests."""
    lines = [line.strip("│ \n") for line in boxed.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((number for number, line in enumerate(lines) if line.startswith("──")), len(lines))
    message = re.sub(r"\s+([.,])", r"\1", " ".join(lines[:rule]))
    close = [line.split()[0] for line in lines[rule:] if line.startswith("--")]
    return message.rstrip(".") + (f"; did you mean {' or '.join(close)}?" if close else "")


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
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
