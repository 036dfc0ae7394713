"""Which graphs share a batch: of like size, and never more angles than the memory holds.

Computing time and memory go with angles, of which crystals have between 100 and 100,000; 32 crystals at random would
need anything up to the largest 32. Sorted pools keep batches alike, so that memory freed by one fits the next.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

# Batches are cut from pools of so many batches' crystals: enough to sort, few enough to keep the order random.
POOL = 16


def bucketed_groups(sizes: NDArray[np.int64], batch: int, seed: int) -> Callable[[int], list[list[int]]]:
    """Groups of `batch` crystals of like size, in an order that depends on (seed, epoch) alone.

    Every crystal once an epoch. A last group of one joins its neighbour: batch normalisation needs two values.
    """

    def groups(epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(len(sizes))
        pools = [order[start : start + POOL * batch] for start in range(0, len(order), POOL * batch)]
        sorted_pools = [pool[np.argsort(sizes[pool], kind="stable")].tolist() for pool in pools]
        cut = [pool[start : start + batch] for pool in sorted_pools for start in range(0, len(pool), batch)]
        if len(cut) > 1 and len(cut[-1]) == 1:
            cut[-2:] = [cut[-2] + cut[-1]]
        return [cut[number] for number in generator.permutation(len(cut))]

    return groups


def bounded_pieces(sizes: NDArray[np.int64], indices: Sequence[int], batch: int, most: int) -> list[list[int]]:
    """Cut `indices`, in their order, into pieces of at most `batch` crystals and `most` angles or one crystal."""
    pieces: list[list[int]] = []
    angles = 0
    for index in indices:
        angles += int(sizes[index])
        if not pieces or len(pieces[-1]) == batch or angles > most:
            pieces.append([])
            angles = int(sizes[index])
        pieces[-1].append(index)
    return pieces
