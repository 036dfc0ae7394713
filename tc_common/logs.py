"""Plain lines on the terminal and, on request, in a file."""

import logging
from pathlib import Path

from tc_common.errors import UserError

log = logging.getLogger("supervision")


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
