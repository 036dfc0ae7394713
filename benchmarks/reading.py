"""Measure the reader of crystals on all of 3DSC and the sample: parity with pymatgen, time, and damaged files.

SUPERVISION_DATA=folder OMP_NUM_THREADS=1 python -m benchmarks.reading

reads `3dsc/3DSC_MP.tar.gz` below that folder and `data/sample/cifs`, writes `benchmarks/results/reading.json` (about
five minutes). Both readers take turns of 200 files, so that their ratio is of one run; times are processor time.
"""

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from benchmarks._machine import machine
from benchmarks._pymatgen_reading import read_with_pymatgen
from benchmarks._real_crystals import unpack_3dsc
from tc_common.cli import run
from tc_common.crystals import CrystalError, check_crystal, parse_crystal, read_crystal
from tc_common.files import write_json

OUT = Path(__file__).parent / "results" / "reading.json"
SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "cifs"
SAME_A = 1e-3
MUTANTS = 1_018
AT_ONCE = 200  # files by one reader before the other has its turn: reading many is what is measured
SLOW_S = 2.0
TOKENS = ("loop_", "data_", "_cell_length_a", "'", ";\n", "0.333", "1e9", "-1", "?", ".", "Cu2+", "x,y,z", "P 1", "é")


def benchmark() -> None:
    """Run everything once and write the numbers."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack_3dsc(Path(scratch) / "unpacked")
        if folder is None:
            return
        files = sorted(folder.rglob("*.cif")) + sorted(SAMPLE.glob("*.cif"))
        report = {"machine": machine(), "parity": parity(files), "mutants": mutants(files)}
    write_json(OUT, report)
    print(f"written to {OUT}")


# ---- parity and time ---------------------------------------------------------------------------------------------


def parity(files: list[Path]) -> dict[str, Any]:
    """Both readings of every file compared, and their times."""
    ours_s: list[float] = []
    theirs_s: list[float] = []
    outcomes, differences = Counter[str](), {}
    for path, ours, theirs in both_readings(files, ours_s, theirs_s):
        outcome = compare(ours, theirs)
        outcomes[outcome] += 1
        if outcome not in ("same", "refused by both"):
            differences[path.name] = f"{outcome}: {ours if isinstance(ours, str) else ours.composition.formula}"
    return {
        "files": len(files),
        "outcomes": dict(outcomes.most_common()),
        "differences": differences,
        "median_ms": statistics.median(ours_s) * 1e3,
        "p99_ms": float(np.percentile(ours_s, 99)) * 1e3,
        "slowest_ms": max(ours_s) * 1e3,
        "pymatgen_with_checks_median_ms": statistics.median(theirs_s) * 1e3,
        "ratio_of_medians": statistics.median(theirs_s) / statistics.median(ours_s),
        "ratio_of_sums": sum(theirs_s) / sum(ours_s),
    }


def both_readings(
    files: list[Path], ours_s: list[float], theirs_s: list[float]
) -> Iterator[tuple[Path, Structure | str, Structure | str]]:
    """Every file with both readings; their times go into the lists."""
    for start in range(0, len(files), AT_ONCE):
        piece = files[start : start + AT_ONCE]
        ours = [timed(read_crystal, path) for path in piece]
        theirs = [timed(read_with_pymatgen, path) for path in piece]
        ours_s += [seconds for _, seconds in ours]
        theirs_s += [seconds for _, seconds in theirs]
        yield from ((path, one[0], other[0]) for path, one, other in zip(piece, ours, theirs, strict=True))


def timed(read: Callable[[Path], Structure], path: Path) -> tuple[Structure | str, float]:
    """A structure, or the reason why there is none; processor seconds."""
    start = time.process_time()
    try:
        found: Structure | str = read(path)
    except ValueError as error:
        found = str(error).removeprefix(f"{path}: ")
    return found, time.process_time() - start


def compare(ours: Structure | str, theirs: Structure | str) -> str:
    """What the two readings have in common."""
    if isinstance(ours, str):
        return "refused by both" if isinstance(theirs, str) else "refused by ours alone"
    if isinstance(theirs, str):
        return "read by ours alone"
    return "same" if same_sites(ours, theirs) else "other sites"


def same_sites(one: Structure, other: Structure) -> bool:
    """Whether every site of one lies within `SAME_A` of a site of the other with the same occupants."""
    if len(one) != len(other) or np.abs(one.lattice.matrix - other.lattice.matrix).max() > SAME_A:
        return False
    apart = other.frac_coords[None] - one.frac_coords[:, None]
    distance_A = np.linalg.norm((apart - np.round(apart)) @ one.lattice.matrix, axis=2)
    nearest = distance_A.argmin(axis=1)
    if len(set(nearest)) < len(one) or distance_A.min(axis=1).max() > SAME_A:
        return False
    return all(one[n].species.almost_equals(other[int(m)].species, atol=1e-6) for n, m in enumerate(nearest))


# ---- damaged files -----------------------------------------------------------------------------------------------


def mutants(files: list[Path]) -> dict[str, Any]:
    """Seeded damage to CIFs: each is read as a checked crystal or refused with one line, in time."""
    outcomes, slowest_s, faults = Counter[str](), 0.0, []
    for seed in range(MUTANTS):
        text = mutant(files, random.Random(seed))
        start = time.process_time()
        try:
            check_crystal(parse_crystal(text))
            outcomes["read"] += 1
        except CrystalError as error:
            outcomes["refused"] += 1
            if "\n" in str(error):
                faults.append(f"{seed}: several lines")
        except Exception as error:  # noqa: BLE001 any other is what is looked for
            faults.append(f"{seed}: {type(error).__name__}: {error}")
        slowest_s = max(slowest_s, time.process_time() - start)
    slow = [] if slowest_s < SLOW_S else [f"slowest {slowest_s:.1f} s"]
    return {"mutants": MUTANTS, "outcomes": dict(outcomes), "faults": faults + slow, "slowest_ms": slowest_s * 1e3}


def mutant(files: list[Path], draw: random.Random) -> str:
    """A file with one to six injuries."""
    content = bytearray(draw.choice(files).read_bytes())
    for _ in range(draw.randint(1, 6)):
        DAMAGES[draw.randrange(len(DAMAGES))](content, draw)
    return bytes(content).decode("utf-8", errors="replace")


def _flip(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def _delete(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content) - 1)
    del content[start : min(start + draw.randint(1, 60), len(content) - 1)]


def _duplicate(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content))
    content[start:start] = content[start : start + draw.randint(1, 400)]


def _truncate(content: bytearray, draw: random.Random) -> None:
    del content[draw.randint(len(content) // 2, len(content)) :]


def _swap_token(content: bytearray, draw: random.Random) -> None:
    tokens = bytes(content).split(b" ")
    tokens[draw.randrange(len(tokens))] = draw.choice(TOKENS).encode()
    content[:] = b" ".join(tokens)


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _delete, _duplicate, _truncate, _swap_token)


if __name__ == "__main__":
    run(benchmark)
