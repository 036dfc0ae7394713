"""Make every published number again from the committed predictions, and fail where one differs.

    python -m comparison.published.check

needs neither data nor network: for each table of README.md and results/README.md it recomputes the scores of the
folders that the table names, holds `comparison.json`, `<model>_metrics.json`, the reports and the table against them,
and looks every number in prose up where `results/claims.csv` says it comes from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.published.claims import check_claims, read_claims
from comparison.published.differences import text_differences
from comparison.published.readme import block, named_blocks, read_text
from comparison.published.recompute import recompute
from tc_common.cli import parse, run
from tc_common.errors import UserError

# Documents whose tables are recomputed, and the section in which every number must be claimed (None: all of it).
COVERED = {"README.md": "Results", "results/README.md": None}
CLAIMS = Path("results/claims.csv")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Settings of the check."""

    root: Path = Path()
    """Folder that holds README.md and results/."""


def check_tables(root: Path) -> list[str]:
    """What differs in the folders that the tables name, and in the tables; each folder is recomputed once."""
    lines: list[str] = []
    known: dict[Path, dict[str, Any]] = {}

    def again(folder: Path) -> dict[str, Any]:
        if folder not in known:
            found, known[folder] = recompute(folder)
            lines.extend(found)
            print(f"{'ok  ' if not found else 'FAIL'} {folder.relative_to(root)}", flush=True)
        return known[folder]

    for document in COVERED:
        for match in named_blocks(read_text(root / document)):
            folders = match["folders"].split()
            table = block(match["kind"], folders, (root / document).parent, again)
            lines += text_differences(f"{document}, table of {' and '.join(folders)}", match[0], table)
    return lines


def main() -> None:
    """Recompute, compare, print."""
    config = parse(
        CheckConfig,
        prog="python -m comparison.published.check",
        description="Make the published numbers again and compare.",
    )
    claims = read_claims(config.root / CLAIMS)
    lines = check_tables(config.root) + check_claims(config.root, claims, COVERED)
    if lines:
        print("\n".join(lines))
        raise UserError(lines[0] + (f" (and {len(lines) - 1} more, listed above)" if len(lines) > 1 else ""))
    print(f"all tables and {len(claims)} numbers in prose are as their files give them")


if __name__ == "__main__":
    run(main)
