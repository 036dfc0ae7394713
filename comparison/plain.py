"""Numbers as JSON knows them."""

from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same content without numpy and paths; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
