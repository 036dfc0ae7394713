"""Which graphs share a batch: one of every size, and never more angles than the memory holds.

Computing time and memory go with angles, of which crystals have between 200 and 30,000; 32 at random need anything
up to the largest 32. So crystals are sorted into as many buckets of like size as a batch has places, and a batch
draws one from each: every batch is as large as the others, the memory that one frees fits the next, and batch
normalisation sees the same mixture every time. (Batches of like crystals would be cuprates in one step and elements
in the next, with statistics that fit neither when the network is used.)
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def bucketed_groups(sizes: NDArray[np.int64], batch: int, seed: int) -> Callable[[int], list[list[int]]]:
    """Groups of at most `batch` crystals, one of each size, in an order that depends on (seed, epoch) alone.

    Every crystal once an epoch; no group of one where there are more, because batch normalisation needs two.
    """
    number = max(1, min(math.ceil(len(sizes) / batch), len(sizes) // 2))

    def groups(epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((seed, epoch))
        shuffled = generator.permutation(len(sizes))
        by_size = shuffled[np.argsort(sizes[shuffled], kind="stable")]
        buckets = [generator.permutation(by_size[start : start + number]) for start in range(0, len(by_size), number)]
        return [[int(bucket[place]) for bucket in buckets if place < len(bucket)] for place in range(number)]

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
