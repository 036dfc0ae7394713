"""Render every material of the split files as physics-coloured PNGs.

    python render_images.py                                   # data/processed -> data/images, 18 views a material
    python render_images.py --workers 2 --limit 20            # a quick look
    python render_images.py --contact-sheet 8                 # and one sheet of 8 materials for people to look at

Run again, it renders only what is missing or out of date. Cost and speed: benchmarks/results/render_speed.json.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from dinov3_pipeline.render import jobs as render_jobs
from dinov3_pipeline.render.contact_sheet import SheetMaterial, contact_sheet
from dinov3_pipeline.render.jobs import MaterialRow, Rendered, cannot_write
from dinov3_pipeline.render.options import RenderOptions, record_options, write_index
from tc_common import cli
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.extra_structures import read_extra_structures
from tc_common.files import atomic_write, write_json
from tc_common.splits import SPLITS, read_splits
from tc_common.structures import Structures, training_structures


@dataclass(frozen=True, kw_only=True)
class RenderConfig(RenderOptions):
    """What to render, how, and where to."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv."""
    out: Path = Path("data/images")
    """Folder for the images and their index; one run at a time."""
    workers: int = 0
    """Processes that render (>= 0; 0 = one per core)."""
    structures: Structures = "draw"
    """one renders the chosen structures; draw and all also the other ones of training compositions, for trainers
    with the same flag."""
    extra_structures: bool = False
    """Render the structures of the extra labels too (python -m data.dope), for trainers with the same flag."""
    limit: int | None = None
    """Render only N materials of each split, the same as the trainers with this --limit (>= 1)."""
    contact_sheet: int = 0
    """Also write contact_sheet.png with N materials from the lowest Tc to the highest (0 to 100; 0 = none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 0:
            raise ValueError(f"--workers {self.workers}: at least 0")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit}: at least 1")
        if not 0 <= self.contact_sheet <= 100:
            raise ValueError(f"--contact-sheet {self.contact_sheet}: from 0 to 100")

    def options(self) -> RenderOptions:
        """The part that decides the pixels."""
        return RenderOptions(**{field.name: getattr(self, field.name) for field in fields(RenderOptions)})


def main(config: RenderConfig) -> None:
    """Render what is not finished, then write index and report."""
    options = config.options()
    splits = read_splits(config.data_dir, config.limit)
    extra = read_extra_structures(config.data_dir, config.extra_structures, config.limit)
    splits["train"] = training_structures(config.data_dir, splits, config.structures, 0, extra).table
    rows = render_jobs.material_rows(splits, config.out)
    with lock_images_dir(config.out):
        record_options(config.out, options)
        finished = render(rows, options, config)
        rendered = {key for key, result in finished.items() if not result.skipped}
        report(config.out, finished)
        if not rendered:
            first = next(iter(finished.values()))
            raise UserError(f"no material of {config.data_dir} could be rendered; the first: {first.skipped}")
        index = write_index(config.out, splits, rendered, options)
        if config.contact_sheet:
            write_contact_sheet(config.out / "contact_sheet.png", splits, rendered, config)
    print(f"{config.out / 'image_metadata.csv'}: {len(index)} images of {len(rendered)} materials")


@contextmanager
def lock_images_dir(out: Path) -> Iterator[None]:
    """Make and lock the folder, and delete temporary files of a killed run.

    Raises:
        UserError: another run has locked the folder, or it cannot be written.
    """
    try:
        for split in SPLITS:
            (out / split).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".render.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{out} is being written by another run; wait for it or pick another --out") from None
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        for leftover in out.glob("*/.*.tmp"):
            leftover.unlink()
        yield
    finally:
        lock.release()


def render(
    rows: Sequence[MaterialRow], options: RenderOptions, config: RenderConfig
) -> dict[tuple[str, str], Rendered]:
    """Render the rows that are not finished; the status of every row, in their order."""
    journal = render_jobs.read_journal(config.out)
    finished = {
        (row.split, row.material_id): journal[row.split, row.material_id]
        for row in rows
        if render_jobs.is_finished(row, options, journal.get((row.split, row.material_id)))
    }
    pending = [row for row in rows if (row.split, row.material_id) not in finished]
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(pending)))
    print(f"rendering {len(pending)} of {len(rows)} materials with {workers} workers")
    results = render_jobs.run_local(pending, options, workers)
    for result in tqdm(results, total=len(pending), unit="material", disable=None if pending else True):
        render_jobs.append_journal(config.out, result)
        finished[result.split, result.material_id] = result
    return {(row.split, row.material_id): finished[row.split, row.material_id] for row in rows}


def report(out: Path, finished: dict[tuple[str, str], Rendered]) -> None:
    """Write render_report.json: what was skipped and whose bonds are incomplete; say so on the terminal."""
    skipped = [result for result in finished.values() if result.skipped]
    incomplete = [result for result in finished.values() if result.bond_failures]
    content = {
        "materials": len(finished),
        "drawn": len(finished) - len(skipped),
        "skipped": [{"material_id": r.material_id, "split": r.split, "reason": r.skipped} for r in skipped],
        "bond_failures": [
            {"material_id": r.material_id, "split": r.split, "sites": list(r.bond_failures)} for r in incomplete
        ],
    }
    write_json(out / "render_report.json", content)
    for problem, results in (("skipped", skipped), ("without some of their bonds", incomplete)):
        if results:
            print(f"{len(results)} of {len(finished)} materials {problem}: see {out / 'render_report.json'}")


def write_contact_sheet(
    path: Path, splits: dict[str, pd.DataFrame], rendered: set[tuple[str, str]], config: RenderConfig
) -> None:
    """Write a sheet of materials evenly spread over the ranks of the different Tc."""
    table = pd.concat([table.assign(split=name) for name, table in splits.items()])
    table = table[[key in rendered for key in zip(table["split"], table["material_id"], strict=True)]]
    ranked = table.sort_values(["tc", "material_id"]).drop_duplicates("tc", ignore_index=True)
    chosen = np.unique(np.linspace(0, len(ranked) - 1, config.contact_sheet).round().astype(int))
    materials = [
        SheetMaterial(formula=row.formula, tc_K=row.tc, structure=read_crystal(Path(row.cif)))
        for row in ranked.loc[chosen].itertuples()
    ]
    with atomic_write(path) as temporary:
        contact_sheet(materials, config.options()).save(temporary, format="PNG", optimize=True)
    print(path)


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(RenderConfig, prog="render_images.py", description=__doc__)))
