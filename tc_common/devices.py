"""Where a training runs: device, precision, and rank among several processes."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from tc_common.errors import UserError

Precision: TypeAlias = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Placement:
    """One process of a training: its device, whether bf16 is used, its rank among `world` processes."""

    device: torch.device
    bf16: bool
    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Values of all processes, by rank, on every process."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def largest(self, *values: float) -> list[float]:
        """Largest of each value over all processes: how they agree what to do next."""
        if self.world == 1:
            return list(values)
        largest = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return [float(value) for value in largest]

    def gather_vectors(self, vector: Tensor) -> list[Tensor]:
        """Vectors of one length from all processes, by rank, on every process."""
        vectors = [vector.clone() for _ in range(self.world)]
        if self.world > 1:
            torch.distributed.all_gather(vectors, vector)
        return vectors

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which matrix products run in bf16 (or nothing, in fp32)."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def find_device(device: str) -> torch.device:
    """The device of that name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        UserError: the device asked for is not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [name for name, there in available.items() if there]
    if device == "auto":
        return torch.device(usable[0])
    if device.partition(":")[0] not in usable:
        named = ", ".join(reversed(usable))
        raise UserError(f"--device {device} is not available on this machine; use auto or one of: {named}")
    return torch.device(device)


def place(device: str, precision: Precision) -> Placement:
    """Find the device and the rank (`accelerate launch` starts several processes; alone, rank 0 of 1).

    Raises:
        UserError: the device asked for is not on this machine.
    """
    from accelerate import PartialState  # of the extra `study`; predicting needs `find_device` alone

    chosen = find_device(device)
    state = PartialState(cpu=device.partition(":")[0] == "cpu")
    if device == "auto" or ":" not in device:
        chosen = state.device
    bf16 = precision == "bf16" or (precision == "auto" and _bf16_is_fast(chosen))
    return Placement(chosen, bf16, state.process_index, state.num_processes)


def _bf16_is_fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 natively (emulated, it is slower than fp32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move a batch's tensors; ids and the like stay."""
    return {key: value.to(device) if hasattr(value, "to") else value for key, value in batch.items()}
