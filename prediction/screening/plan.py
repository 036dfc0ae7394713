"""What a screening consists of: numbered crystals cut into shards, and settings that its folder belongs to."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prediction.screening.inputs import Source
from prediction.screening.items import Item
from tc_common.errors import UserError
from tc_common.files import read_json, sha256, write_json

SHARD = 2_048
SETTINGS = "settings.json"
# Raised whenever the same input and settings give other rows, so that a folder holds rows of one kind.
RECIPE = 1
MODEL_FILES = (".json", ".safetensors", ".csv")


@dataclass(frozen=True)
class Plan:
    """Sources laid end to end, cut into shards."""

    sources: tuple[Source, ...]
    shard: int = SHARD
    """Crystals of a shard."""

    @cached_property
    def ends(self) -> list[int]:
        """Number of crystals up to the end of each source."""
        return list(accumulate(source.crystals for source in self.sources))

    @property
    def crystals(self) -> int:
        """Crystals in all."""
        return self.ends[-1]

    @property
    def shards(self) -> int:
        """Shards in all."""
        return -(-self.crystals // self.shard)

    def numbers(self, shard: int) -> range:
        """Numbers of a shard's crystals."""
        return range(shard * self.shard, min((shard + 1) * self.shard, self.crystals))

    def items(self, shard: int) -> Iterator[Item]:
        """Crystals of a shard, in order."""
        start, stop = self.numbers(shard).start, self.numbers(shard).stop
        place = bisect_right(self.ends, start)
        while start < stop:
            source, first = self.sources[place], self.ends[place] - self.sources[place].crystals
            until = min(stop, self.ends[place])
            yield from source.items(start - first, until - first)
            start, place = until, place + 1


@dataclass(frozen=True)
class Part:
    """A part of the shards, for job arrays: i of n."""

    index: int = 1
    """From 1 to `count`."""
    count: int = 1

    def shards(self, number: int) -> range:
        """Its shards of so many."""
        return range(self.index - 1, number, self.count)


@dataclass(frozen=True)
class Lock:
    """Lock of one part of an output folder; the operating system frees it if the process dies."""

    out: Path
    part: Part
    _lock: list[FileLock] = field(default_factory=list)

    def __enter__(self) -> "Lock":
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.out / f".screen-{self.part.index}-of-{self.part.count}.lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"another screening writes {self.out}; wait for it, or pick another --out") from None
        except OSError as error:
            raise UserError(f"cannot write {self.out}: {error.strerror or error}; pick another --out") from error
        self._lock.append(lock)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.pop().release()


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new folder; in one that is in use, refuse others.

    Raises:
        UserError: the folder's rows were made with other settings, or are of something else.
    """
    path = out / SETTINGS
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, settings)
        return
    before = read_json(path)
    for name in (*settings, *before):
        if before.get(name) != settings.get(name):
            raise UserError(
                f"{out} holds a screening with {name} {_short(before.get(name))}, not {_short(settings.get(name))}; "
                "start it with the settings it was begun with, or pick another --out"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def models_sha256(folder: Path) -> str:
    """Fingerprint of a folder of shipped models.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder of models; make one with python -m prediction.ship, or name it: --models-dir"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES)
    return sha256_of_text("\n".join(f"{path.name} {sha256(path)}" for path in files))


def sha256_of_text(text: str) -> str:
    """Hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
