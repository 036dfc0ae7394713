"""Inputs of a few crystals, and a folder in the place of the shipped models."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[3]
SAMPLE = sorted((ROOT / "data/sample/cifs").glob("*.cif"))


@pytest.fixture
def cifs(tmp_path: Path) -> Path:
    """A folder of twelve crystals, four of them in a folder below."""
    folder = tmp_path / "cifs"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(SAMPLE[:12]):
        (folder / ("more" if number < 4 else ".") / path.name).write_bytes(path.read_bytes())
    (folder / "README.txt").write_text("no crystal")
    return folder


def write_parquet(path: Path, count: int, bad: tuple[int, ...] = ()) -> None:
    """A table of `count` crystals `name, cif`, some of which are no CIF."""
    texts = [SAMPLE[number % len(SAMPLE)].read_text() for number in range(count)]
    for number in bad:
        texts[number] = "data_x\n_no 1"
    names = [f"c{number}" for number in range(count)]
    pq.write_table(pa.table({"name": names, "cif": texts}), path, row_group_size=64)
