"""ReduceLROnPlateau: a schedule that looks at a metric, a state machine inside the graph."""

from __future__ import annotations

import math
from typing import Any

from lazyflow.context import current_graph
from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast, maximum, where
from lazyflow.optim.groups import stored
from lazyflow.optim.lr_scheduler.driven import groups_with
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Choice, Integer, Number, PerGroup
from lazyflow.runtime.dtypes import DType, float64, int64, is_floating
from lazyflow.runtime.errors import ArgumentTypeError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable


class ReduceLROnPlateau(LRScheduler):
    """The base rate times ``factor`` once for each time that a metric has stopped to get better.

    It remembers the best metric, the number of bad steps since, the steps of cooldown left, and how often
    each group's rate was reduced: variables of the graph, kept in checkpoints. So its rate is no function of
    the step: it has no curve, and compositions do not take it.

    Args:
        optimizer: The optimizer whose rates it makes.
        mode: "min" or "max": whether a lower or a higher metric is better.
        factor: Factor of a reduction, in (0, 1).
        patience: Bad steps that are tolerated, >= 0.
        threshold: How much better counts as better, >= 0.
        threshold_mode: "rel": as a fraction of the best metric; "abs": as a difference.
        cooldown: Steps after a reduction in which bad steps are not counted, >= 0.
        min_lr: The lowest rate, >= 0, or a list of one per group.
        eps: A reduction that changes the rate by no more than this is not made, >= 0.
        verbose: See :class:`LRScheduler`.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> with lf.Graph() as graph:
        ...     loss = lf.placeholder("loss", ())
        ...     optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        ...     scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        ...     with graph.program("epoch", fetches={"lr": optimizer.lr}):
        ...         scheduler.step(loss)
        >>> session = lf.compile(graph).session(backend="numpy")
        >>> [float(session.run("epoch", loss=loss)["lr"]) for loss in (3.0, 2.0, 2.0, 2.0, 2.0)]
        [1.0, 1.0, 1.0, 1.0, 0.5]
    """

    mode: Choice = Choice(default="min", others=("max",))
    factor: Number[float] = Number(default=0.1, above=0.0, below=1.0)
    patience: Integer[int] = Integer(default=10, low=0)
    threshold: Number[float] = Number(default=1e-4, low=0.0)
    threshold_mode: Choice = Choice(default="rel", others=("abs",))
    cooldown: Integer[int] = Integer(default=0, low=0)
    min_lr: PerGroup[Any] = PerGroup(default=0.0, low=0.0)
    eps: Number[float] = Number(default=1e-8, low=0.0)

    composable = False

    def check(self) -> None:
        """Make the memory, and refuse a clock."""
        if not self.reads_own_clock:
            raise self.refuse("clock= is given, but the rate is no function of a step", expected="clock=None")
        worst = math.inf if self.mode == "min" else -math.inf
        self._best = self._memory("best", worst, float64)
        self._bad = self._memory("bad", 0, int64)
        self._cooling = self._memory("cooldown", 0, int64)
        groups = groups_with(self.optimizer, self.option)
        self._reductions = {index: self._memory(f"reductions/{index}", 0, int64) for index in groups}

    def _memory(self, name: str, initial: float, dtype: DType) -> Variable:
        key = f"plateau/{name}" if self.option == "lr" else f"plateau/{self.option}/{name}"
        return stored(lambda: self.optimizer.name, key, self.location, initial, (), dtype)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return self._reduced(group, base, self._reductions[group])

    def _reduced(self, group: int, base: Tensor, reductions: Tensor) -> Tensor:
        lower = maximum(base * self.factor ** cast(reductions, float64), self.min_lr[group])
        return where(reductions > 0, lower, base)

    def step(self, metric: Tensor) -> None:  # type: ignore[override]  # PyTorch's signature
        """Append to the open program that the scheduler looks at the metric of the run.

        Args:
            metric: Floating scalar Tensor: what should get better.

        Raises:
            ArgumentTypeError: if the metric is no floating scalar Tensor.
            GraphError: outside of a program; at a second step in one program; if the optimizer has two
                schedulers.
        """
        program = current_graph("scheduler.step()").program_for("scheduler.step()")
        value = _as_metric(metric)
        super().step()
        when = self.optimizer.applied_in(program)
        better = self._is_better(value)
        cooling = self._cooling > 0
        bad = where(better | cooling, 0, self._bad + 1)
        reduces = bad > self.patience
        left = where(cooling, self._cooling - 1, 0)
        self._best.assign(where(better, value, self._best), when=when)
        self._bad.assign(where(reduces, 0, bad), when=when)
        self._cooling.assign(where(reduces, self.cooldown, left), when=when)
        for group, reductions in self._reductions.items():
            base = self.optimizer.param_groups[group].base(self.option)
            rate = self.optimizer.value(self.option, group)
            matters = rate - self._reduced(group, base, reductions + 1) > self.eps
            reductions.assign(where(reduces & matters, reductions + 1, reductions), when=when)

    def _is_better(self, metric: Tensor) -> Tensor:
        if self.threshold_mode == "rel":
            share = 1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold
            limit = self._best * share
        else:
            limit = self._best - self.threshold if self.mode == "min" else self._best + self.threshold
        return metric < limit if self.mode == "min" else metric > limit


def _as_metric(metric: object) -> Tensor:
    here = f"at {user_line()}"
    if not isinstance(metric, Tensor):
        text = f"ReduceLROnPlateau.step: metric={metric!r} is no Tensor"
        hint = 'a number that is known outside: lf.placeholder("metric", ()), fed in each run'
        raise ArgumentTypeError(message(text, expected="a floating scalar Tensor", here=here, hint=hint))
    if metric.shape != () or not is_floating(metric.dtype):
        text = "ReduceLROnPlateau.step: the metric is no floating scalar"
        raise ArgumentTypeError(message(text, metric=metric.describe(), here=here))
    return cast(metric, float64)
