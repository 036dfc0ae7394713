"""Graphs of a table of materials: built once by several processes, then read from one file.

The file's name is a digest of every CIF's bytes, the graph options and the recipe's version, so a changed crystal or
option never reads an old graph. It is written atomically, so trainers that start together may use the same folder.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gat_pipeline.graphs import RECIPE, CrystalGraph, GraphOptions, build_graph
from tc_common.cli import log
from tc_common.crystals import read_crystal
from tc_common.environment import usable_cores
from tc_common.errors import UserError
from tc_common.files import atomic_write

# Below this number of CIFs, starting processes costs more than they save.
WORTH_PROCESSES = 64
CHUNK = 16
REASONS_SHOWN = 5


def graphs_of(cifs: Sequence[Path], options: GraphOptions, cache_dir: Path | None) -> list[CrystalGraph]:
    """Graphs of these CIFs, in their order, from the cache or built now.

    Raises:
        UserError: CIFs that have no graph, each with its reason (the first few; the rest counted).
    """
    if cache_dir is None:
        return _build(cifs, options)
    path = cache_dir / f"{_digest(cifs, options)}.npz"
    cached = _load(path)
    if cached is not None:
        return cached
    graphs = _build(cifs, options)
    _save(path, graphs)
    return graphs


def _build(cifs: Sequence[Path], options: GraphOptions) -> list[CrystalGraph]:
    results = list(_in_processes(cifs, options))
    refused = [result for result in results if isinstance(result, str)]
    if refused:
        shown = "; ".join(refused[:REASONS_SHOWN])
        more = f"; and {len(refused) - REASONS_SHOWN} more" if len(refused) > REASONS_SHOWN else ""
        raise UserError(f"{len(refused)} crystals have no graph: {shown}{more}; take them out of the split files")
    return [result for result in results if isinstance(result, CrystalGraph)]


def _in_processes(cifs: Sequence[Path], options: GraphOptions) -> Iterable[CrystalGraph | str]:
    processes = usable_cores()
    build = partial(graph_or_reason, options=options)
    if processes == 1 or len(cifs) < WORTH_PROCESSES:
        return [build(cif) for cif in cifs]
    # fork: the builders need neither torch nor its start-up time
    method = "fork" if os.name == "posix" else "spawn"
    with ProcessPoolExecutor(processes, mp_context=get_context(method)) as pool:
        return list(pool.map(build, cifs, chunksize=CHUNK))


def graph_or_reason(cif: Path, options: GraphOptions) -> CrystalGraph | str:
    """The graph, or why there is none."""
    try:
        structure = read_crystal(cif)
    except UserError as error:
        return str(error)
    try:
        return build_graph(structure, options)
    except UserError as error:
        return f"{cif}: {error}"


def elements_of(cifs: Iterable[str]) -> list[list[str]]:
    """Symbols of the elements in each of these CIFs."""
    structures = (read_crystal(Path(cif)) for cif in cifs)
    return [sorted({element.symbol for element in structure.composition.elements}) for structure in structures]


def _digest(cifs: Sequence[Path], options: GraphOptions) -> str:
    digest = hashlib.sha256(json.dumps([RECIPE, options.plain()], sort_keys=True).encode())
    for cif in cifs:
        try:
            digest.update(hashlib.sha256(cif.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{cif}: cannot be read ({error.strerror}); run python -m data.prepare again") from error
    return digest.hexdigest()[:32]


# ---- one file for many graphs: arrays laid end to end, and their lengths -----------------------------------------

_NAMES = tuple(field.name for field in fields(CrystalGraph))


def _save(path: Path, graphs: list[CrystalGraph]) -> None:
    arrays: dict[str, NDArray] = {name: np.concatenate([getattr(graph, name) for graph in graphs]) for name in _NAMES}
    lengths = {f"{name}_length": np.array([len(getattr(graph, name)) for graph in graphs]) for name in _NAMES}
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **lengths)


def _load(path: Path) -> list[CrystalGraph] | None:
    """The graphs, or None where there is no file or a damaged one (a zip keeps a checksum of every array)."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            columns = [np.split(stored[name], np.cumsum(stored[f"{name}_length"])[:-1]) for name in _NAMES]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.info(f"{path} is damaged ({error}); its graphs are built again")
        return None
    return [CrystalGraph(*arrays) for arrays in zip(*columns, strict=True)]
