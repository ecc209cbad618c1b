"""Schedules that begin with low rates."""

from __future__ import annotations

import math
from typing import Any

from lazyflow.append import constant
from lazyflow.ops.elementwise import cos, maximum, minimum, where
from lazyflow.optim.lr_scheduler.compose import Composition
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Choice, Flag, Integer, Number, required
from lazyflow.optim.optimizer import Optimizer
from lazyflow.runtime.dtypes import float64
from lazyflow.tensor import Tensor


class WarmUpLR(Composition):
    """Low rates for the first steps, then another schedule.

    With base rate b, inner schedule s (b itself where there is none) and n = warmup_iters, for steps k < n:

        linear:    from b * warmup_factor in a line up to s(n); then s(k)
        linear, warmup_prefix:  from b * warmup_factor in a line up to b; then s(k - n)
        constant:  b * warmup_factor; then s(k), or s(k - n) with warmup_prefix

    Args:
        optimizer: The optimizer whose rates it makes, or the scheduler that follows the warm-up.
        warmup_factor: The first rate as a fraction of the base rate, in [0, 1].
        warmup_iters: Steps of the warm-up, >= 0; at least 1 where nothing follows it, and no more than the
            schedule that it runs over has.
        warmup_method: "linear" or "constant".
        warmup_prefix: Whether the inner schedule begins behind the warm-up; else it runs from step 0 on.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> from lazyflow.optim.lr_scheduler import StepLR
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> inner = StepLR(optimizer, step_size=6, gamma=0.5)
        >>> WarmUpLR(inner, warmup_factor=0.2, warmup_iters=4).curve(8)
        array([0.2, 0.4, 0.6, 0.8, 1. , 1. , 0.5, 0.5])
    """

    optimizer: Any = required()
    warmup_factor: Number[float] = Number(default=1.0 / 3, low=0.0, high=1.0)
    warmup_iters: Integer[int] = Integer(default=5, low=0)
    warmup_method: Choice = Choice(default="linear", others=("constant",))
    warmup_prefix: Flag = Flag(default=False)

    def find_optimizer(self, given: dict[str, Any]) -> Optimizer:
        """The optimizer, or that of the inner scheduler."""
        inner = given["optimizer"]
        self.inner = inner if isinstance(inner, LRScheduler) else None
        self.parts = [] if self.inner is None else [self.inner]
        return super().find_optimizer(given) if self.inner is None else self.inner.optimizer

    def check(self) -> None:
        """Refuse a warm-up without steps or longer than the whole, and take the inner schedule over."""
        if self.inner is None and self.warmup_iters == 0:
            text = "warmup_iters=0 is out of range: nothing follows the warm-up"
            raise self.refuse(text, expected="an integer >= 1, or a scheduler in place of the optimizer")
        if self.inner is not None:
            self._check_length(self.inner)
            self.adopt([self.inner])

    def _check_length(self, inner: LRScheduler) -> None:
        whole = inner.length
        if whole is not None and not self.warmup_prefix and self.warmup_iters > whole:
            raise self.refuse(
                f"warmup_iters={self.warmup_iters} is longer than the whole {type(inner).__name__}",
                expected=f"an integer in [0, {whole}]",
                hint="warmup_prefix=True lets the schedule begin behind the warm-up",
            )

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        whole = self.warmup_iters if self.inner is None else self.inner.length
        return whole if whole is None or not self.warmup_prefix else whole + self.warmup_iters

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        """A number of a group at a step."""
        count = self.warmup_iters
        after = self._inner(name, group, base, maximum(step - count, 0.0) if self.warmup_prefix else step)
        if count == 0 or name != self.option:
            return after
        start = base * self.warmup_factor
        if self.warmup_method == "constant":
            return where(step < count, start, after)
        end = base if self.warmup_prefix else self._inner(name, group, base, constant(float(count), float64))
        return where(step < count, start + (end - start) * (step / count), after)

    def _inner(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        return base if self.inner is None else self.inner.value_for(name, group, base, step)


class WarmupCosineLR(LRScheduler):
    """A line up to the base rate, and half a cosine down, as optax's ``warmup_cosine_decay_schedule``.

    With base rate b, w = warmup_steps and n = decay_steps:

        rate = b * (init_factor + (1 - init_factor) * k / w)                                  for k < w
        rate = b * ((1 - alpha) * (0.5 * (1 + cos(pi * (k - w) / (n - w)))) ** exponent + alpha)   for k < n
        rate = b * alpha                                                                      from then on

    Args:
        optimizer: The optimizer whose rates it makes.
        warmup_steps: Steps of the warm-up, >= 0.
        decay_steps: The step at which the rate is lowest, warm-up included, > warmup_steps.
        init_factor: The first rate as a fraction of the base rate, in [0, 1].
        alpha: The last rate as a fraction of the base rate, in [0, 1].
        exponent: > 0; bends the decay.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> WarmupCosineLR(optimizer, warmup_steps=2, decay_steps=6).curve(7).round(3)
        array([0.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 0.   ])
    """

    warmup_steps: Integer[int] = Integer(low=0)
    decay_steps: Integer[int] = Integer(low=1)
    init_factor: Number[float] = Number(default=0.0, low=0.0, high=1.0)
    alpha: Number[float] = Number(default=0.0, low=0.0, high=1.0)
    exponent: Number[float] = Number(default=1.0, above=0.0)

    def check(self) -> None:
        """Refuse a warm-up longer than the whole."""
        if self.decay_steps <= self.warmup_steps:
            text = (
                f"warmup_steps={self.warmup_steps} is longer than the whole: decay_steps={self.decay_steps}"
            )
            raise self.refuse(text, expected="decay_steps > warmup_steps")

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return self.decay_steps

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        if step < self.warmup_steps:
            return base * (self.init_factor + (1.0 - self.init_factor) * (step / max(self.warmup_steps, 1)))
        progress = minimum((step - self.warmup_steps) / (self.decay_steps - self.warmup_steps), 1.0)
        fall = (0.5 * (1.0 + cos(math.pi * progress))) ** self.exponent
        return base * ((1.0 - self.alpha) * fall + self.alpha)
