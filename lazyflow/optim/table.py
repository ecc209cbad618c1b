"""What a plan keeps of an optimizer: which variables hold the numbers of its groups, and whose state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lazyflow.optim.groups import Group
from lazyflow.runtime import schema
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable

Table: TypeAlias = schema.Optimizer


def make_table(
    name: str,
    kind: str,
    groups: Sequence[Group],
    members: Mapping[Parameter, Variable],
    state: Mapping[Parameter, Sequence[Variable]],
) -> Table:
    """What ``session.groups`` reads.

    Args:
        name: The optimizer's name.
        kind: Its class.
        groups: Its parameter groups.
        members: The variable that holds the group of each parameter.
        state: The state of each parameter.
    """
    return schema.Optimizer(
        name=name,
        kind=kind,
        groups=tuple(map(_row, groups)),
        members={parameter.name: group.name for parameter, group in members.items()},
        state={parameter.name: tuple(v.name for v in kept) for parameter, kept in state.items()},
    )


def _row(group: Group) -> schema.Group:
    """The settable numbers of a group, their ranges, and its structure."""
    numbers = {option: tensors for option, tensors in group.numbers.items() if _all_stored(tensors)}
    return schema.Group(
        scalars={option: tuple(tensor.name for tensor in tensors) for option, tensors in numbers.items()},
        options={option: _plain(value) for option, value in group.fixed().items()},
        ranges={option: group.options[option].range for option in numbers},
    )


def _all_stored(tensors: Sequence[Tensor]) -> bool:
    return all(isinstance(tensor, Variable) for tensor in tensors)  # a Tensor of the user's cannot be set


def _plain(value: Any) -> schema.Number | tuple[schema.Number, ...] | None:
    """A value as a plan writes it."""
    if isinstance(value, tuple):
        return tuple(_number(each) for each in value)
    return None if value is None else _number(value)


def _number(value: Any) -> schema.Number:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    number: schema.Number = value
    return number
