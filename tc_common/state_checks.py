"""Whether a stored state has the keys, types and shapes of the one that it shall replace: a file may be edited."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def mismatch(found: Any, expected: Any, where: str) -> str:
    """The first place where `found` is built differently from `expected`, as a phrase; empty if there is none.

    Compared are keys, types, lengths, and the shapes and kinds of tensors, not values (but NaN is no number). `found`
    may have more keys, and may lack those that begin with `_`: torch's own, which come and go with its releases. An
    empty list means a list of any length, an empty string any; another string, a name in a state, must be the same.
    """
    if isinstance(expected, dict):
        return _mismatch_of_dicts(found, expected, where)
    if isinstance(expected, (list, tuple)):
        return _mismatch_of_sequences(found, expected, where)
    if isinstance(expected, Tensor):
        return _mismatch_of_tensors(found, expected, where)
    if expected is None or isinstance(expected, bool):
        fits = found is None or isinstance(found, bool)
    elif isinstance(expected, (int, float)):
        fits = is_number(found) and (isinstance(found, int) or isinstance(expected, float))
    else:
        fits = isinstance(found, type(expected)) and expected in ("", found)
    wanted = repr(expected) if isinstance(expected, str) and expected else type(expected).__name__
    return "" if fits else f"{where} is {found!r:.60}, no {wanted}"


def mistyped(settings: Any, types: dict[str, Any], where: str) -> str:
    """The first of the settings that is there, is not None and has another type than in `types`, as a phrase."""
    if not isinstance(settings, dict):
        return f"{where} is a {type(settings).__name__}, no dict"
    stated = {name: like for name, like in types.items() if settings.get(name) is not None}
    return mismatch(settings, stated, where)


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, and neither a bool nor NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _mismatch_of_dicts(found: Any, expected: dict[Any, Any], where: str) -> str:
    if not isinstance(found, dict):
        return f"{where} is a {type(found).__name__}, no dict"
    missing = [name for name in expected if name not in found and not str(name).startswith("_")]
    if missing:
        return f"{where} lacks {missing[0]}"
    shared = [name for name in expected if name in found]
    return next((said for name in shared if (said := mismatch(found[name], expected[name], f"{where}.{name}"))), "")


def _mismatch_of_sequences(found: Any, expected: list[Any] | tuple[Any, ...], where: str) -> str:
    if type(found) is not type(expected):
        return f"{where} is a {type(found).__name__}, no {type(expected).__name__}"
    if expected and len(found) != len(expected):
        return f"{where} has {len(found)} entries, not {len(expected)}"
    pairs = enumerate(zip(found, expected, strict=False))
    return next((said for at, (one, other) in pairs if (said := mismatch(one, other, f"{where}[{at}]"))), "")


def _mismatch_of_tensors(found: Any, expected: Tensor, where: str) -> str:
    if not isinstance(found, Tensor):
        return f"{where} is a {type(found).__name__}, no tensor"
    if found.shape != expected.shape:
        return f"{where} has the shape {tuple(found.shape)}, not {tuple(expected.shape)}"
    same = kind_of(found) == kind_of(expected)
    return "" if same else f"{where} holds {found.dtype}, not {expected.dtype}"


def kind_of(tensor: Tensor) -> str:
    """Floating-point numbers of any precision are of one kind; every other type is its own."""
    return "floating point" if tensor.is_floating_point() else str(tensor.dtype)


def optimizer_mismatch(state: Any, optimizer: Optimizer) -> str:
    """The first place where a stored state does not fit `optimizer`, as a phrase; torch would only see in a step."""
    groups = optimizer.state_dict()["param_groups"]
    if said := mismatch(state, {"state": {}, "param_groups": groups}, "optimizer_state_dict"):
        return said
    for group, ours in zip(state["param_groups"], groups, strict=True):
        for name, value in ours.items():
            if (value is None or isinstance(value, bool)) and group[name] is not value:
                return f"optimizer_state_dict.param_groups: {name} is {group[name]!r:.60}, not {value}"
    template = _state_after_a_step(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, stored in state["state"].items():
        where = f"optimizer_state_dict.state.{number}"
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            return f"{where} belongs to no parameter"
        like = {name: parameters[number] if value.ndim else value for name, value in template.items()}
        if said := mismatch(stored, like, where):
            return said
    return ""


def _state_after_a_step(optimizer: Optimizer) -> dict[str, Tensor]:
    """What such an optimiser keeps of a parameter: scalars, and vectors for those of the parameter's shape."""
    parameter, accepted = torch.zeros(1, requires_grad=True), inspect.signature(type(optimizer)).parameters
    options = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    like: Any = type(optimizer)([parameter], **options)
    parameter.grad = torch.zeros(1)
    like.step()
    return {name: value for name, value in like.state[parameter].items() if isinstance(value, Tensor)}
