"""Where a number comes from."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """Commit of the project that runs, or "unknown" outside a clone."""
    root = Path(__file__).parent.parent
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
