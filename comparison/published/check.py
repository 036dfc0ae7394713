"""Make every published number again from the committed predictions, and fail where one differs.

    python -m comparison.published.check

needs neither data nor network: for each table of README.md it recomputes the scores of the folder that the table
names, holds `comparison.json`, `<model>_metrics.json`, the reports and the README against them, and looks every
number in prose up where `results/claims.csv` says it comes from.
"""

from dataclasses import dataclass
from pathlib import Path

from comparison.published.claims import check_claims, read_claims
from comparison.published.differences import text_differences
from comparison.published.readme import block, named_blocks, read_text
from comparison.published.recompute import recompute
from tc_common.cli import parse, run
from tc_common.errors import UserError

COVERED = {"README.md": "Results"}
CLAIMS = Path("results/claims.csv")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Settings of the check."""

    root: Path = Path()
    """Folder that holds README.md and results/."""


def check_tables(root: Path) -> list[str]:
    """What differs in the folders that the README's tables name, and in the tables."""
    lines: list[str] = []
    for folder, table in named_blocks(read_text(root / "README.md")).items():
        found, comparison = recompute(root / folder)
        found += text_differences(f"README.md, table of {folder}", table, block(folder, comparison))
        lines += found
        print(f"{'ok  ' if not found else 'FAIL'} {folder}", flush=True)
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
