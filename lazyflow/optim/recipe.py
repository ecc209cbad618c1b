"""What surrounds an update: the arguments of ``optimizer.step()``, checked, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lazyflow.optim.average import Average, same
from lazyflow.optim.loss_scale import LossScaler, StaticLossScaler
from lazyflow.optim.options import Scalar, checked_integer, checked_scalar
from lazyflow.runtime.dtypes import is_floating, is_integer
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError, message
from lazyflow.tensor import Tensor

SETTABLE = ("clip_value", "clip_norm")  # numbers that are variables of the optimizer


@dataclass(frozen=True, eq=False)
class Recipe:
    """The arguments of ``step``, which documents them, and the user's line.

    Raises:
        ArgumentTypeError, ArgumentError: if one of them is of the wrong type, or out of range.
    """

    location: str
    accumulate: int = 1
    weight: Scalar | None = None
    loss_scale: StaticLossScaler | None = None
    clip_value: Scalar | None = None
    clip_norm: Scalar | None = None
    skip_nonfinite: bool = False
    average: Average | None = None

    def __post_init__(self) -> None:
        checked_integer("accumulate", self.accumulate, "step", self.location, low=1)
        self._check_weight()
        for name in SETTABLE:
            if getattr(self, name) is not None:
                value = checked_scalar(name, getattr(self, name), "step", self.location, low=0.0)
                object.__setattr__(self, name, value)
        self._check_kind("loss_scale", StaticLossScaler | None, "a LossScaler, a StaticLossScaler or None")
        self._check_kind("skip_nonfinite", bool, "True or False")
        self._check_kind("average", Average | None, "optim.EMA(decay), optim.SWA() or None")

    def _check_weight(self) -> None:
        weight = self.weight
        if weight is None or (isinstance(weight, Tensor) and _is_real(weight) and weight.shape == ()):
            return
        object.__setattr__(self, "weight", checked_scalar("weight", weight, "step", self.location, above=0.0))

    def _check_kind(self, name: str, kind: Any, expected: str) -> None:
        if not isinstance(getattr(self, name), kind):
            text = f"step: {name}={getattr(self, name)!r} is of the wrong type"
            raise ArgumentTypeError(message(text, expected=expected, here=f"at {self.location}"))

    @property
    def skips(self) -> bool:
        """Whether an update is skipped where a gradient is not finite; a dynamic loss scale needs it."""
        return self.skip_nonfinite or isinstance(self.loss_scale, LossScaler)

    def check_groups(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Refuse two clips by norm.

        Raises:
            ArgumentError: if a group is clipped by its own norm and ``clip_norm`` is given.
        """
        for index, group in enumerate(groups):
            if self.clip_norm is not None and group["clip_grad_max_norm"] is not None:
                text = f"step: clip_norm is given, and group {index} has clip_grad_max_norm"
                expected = "the norm over all groups, or the norm of each group"
                raise ArgumentError(message(text, expected=expected, here=f"at {self.location}"))

    def check_scaled(self) -> None:
        """Refuse to take a scale out of the gradients of a program in which no loss was scaled.

        Raises:
            GraphError: if the scaler has scaled no loss.
        """
        scaler = self.loss_scale
        if scaler is not None and not scaler.used:
            text = f"step: loss_scale={scaler.name!r} has scaled no loss"
            hint = "scaler.scale(loss).backward() first"
            here = f"at {self.location}"
            raise GraphError(message(text, made=f"at {scaler.location}", here=here, hint=hint))

    def check_beside(self, other: Recipe, name: str) -> None:
        """Refuse a recipe that cannot share variables with that of another program.

        Args:
            other: The recipe of the same optimizer in another program.
            name: The optimizer's name.

        Raises:
            GraphError: if they do not agree.
        """
        if self.accumulate != other.accumulate:
            self._differs("accumulate", other, name, "one unfinished group of micro-batches per optimizer")
        mine, theirs = self.average, other.average
        if mine is not theirs and (mine is None or not mine.same_as(theirs)):
            self._differs("average", other, name, "one average per parameter")
        for setting in SETTABLE:
            values = (getattr(self, setting), getattr(other, setting))
            if not any(v is None or isinstance(v, Tensor) for v in values) and not same(*values):
                self._differs(setting, other, name, "one number per optimizer; or scalar Tensors")

    def _differs(self, setting: str, other: Recipe, name: str, expected: str) -> None:
        raise GraphError(
            message(
                f"step: {setting}={getattr(self, setting)!r} of {name!r} is "
                f"{getattr(other, setting)!r} in another program",
                first=f"at {other.location}",
                second=f"at {self.location}",
                expected=expected,
            )
        )


def _is_real(tensor: Tensor) -> bool:
    return is_floating(tensor.dtype) or is_integer(tensor.dtype)
