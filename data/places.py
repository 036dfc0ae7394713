"""Where the data room keeps its files, and how a path is written into tables."""

from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parent.parent
SAMPLE_DIR = REPO_ROOT / "data" / "sample"
DOWNLOAD_DIR = REPO_ROOT / "data" / "raw"
# What `--source jarvis` reads: the CSV files with CIF texts, put there by the user.
JARVIS_DIR = DOWNLOAD_DIR / "jarvis"
# Archives are unpacked to MP/ and CIF texts written out to jarvis/ below this folder.
UNPACK_DIR = REPO_ROOT / "data" / "final"


def relative(path: Path) -> str:
    """Path relative to the repository where inside it, else absolute; links are kept as they are."""
    path = path.absolute()
    return str(path.relative_to(REPO_ROOT) if path.is_relative_to(REPO_ROOT) else path)
