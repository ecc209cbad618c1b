"""Averages of parameters over the updates: EMA and SWA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from lazyflow.append import constant
from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast, where
from lazyflow.ops.shaping import broadcast_to
from lazyflow.optim.options import Scalar, checked_integer, checked_scalar
from lazyflow.runtime.dtypes import DType, float64
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter


class Average(ABC):
    """What ``optimizer.step(average=...)`` keeps of each parameter, moved inside its update.

    With the parameter w after the update and a share s in [0, 1], ``average = average + s * (w - average)``;
    the first time the average is w. Before it, the average is the parameter's initial value.
    """

    key: ClassVar[str]  # the state's name: PARAM/KEY

    def same_as(self, other: Average | None) -> bool:
        """Whether the other is of the same kind, with the same numbers."""
        if type(self) is not type(other):
            return False
        mine, theirs = vars(self), vars(other)
        return all(same(value, theirs[name]) for name, value in mine.items() if name != "location")

    @property
    @abstractmethod
    def numbers(self) -> dict[str, Scalar]:
        """The numbers that a live session may set, by name."""

    @abstractmethod
    def share(self, numbers: dict[str, Tensor], taken: Tensor, t: Tensor) -> Tensor:
        """The share of the new parameter; where it is 0 the average is not moved, and 1 copies.

        Args:
            numbers: The ``numbers``, as float64 scalars.
            taken: How often the average was moved, a float64 scalar.
            t: The number of this update, from 1, a float64 scalar.
        """


def same(a: object, b: object) -> bool:
    """Whether two settings are one: equal, or the same Tensor."""
    return a is b or (not (isinstance(a, Tensor) or isinstance(b, Tensor)) and a == b)


@dataclass(frozen=True, eq=False)
class EMA(Average):
    """The exponential moving average: ``ema = decay * ema + (1 - decay) * w``, w after the first update.

    As PyTorch's ``AveragedModel`` with ``get_ema_multi_avg_fn``.

    Args:
        decay: How much of the average stays, in [0, 1): a number, or a scalar Tensor such as a schedule.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> with lf.Graph() as graph:
        ...     w = lf.Parameter([4.0], name="w")
        ...     optimizer = optim.SGD([w], lr=1.0)
        ...     with graph.program("train"):
        ...         optimizer.step({w: w * 0.5}, average=EMA(0.75))
        >>> session = lf.compile(graph).session(backend="numpy")
        >>> for _ in range(2):
        ...     _ = session.run("train")
        ...     print(session.get("w"), session.get("w/ema"))
        [2.] [2.]
        [1.] [1.75]
    """

    decay: Scalar
    location: str = field(default_factory=user_line, repr=False, kw_only=True)

    key: ClassVar[str] = "ema"

    def __post_init__(self) -> None:
        decay = checked_scalar("decay", self.decay, "EMA", self.location, low=0.0, below=1.0)
        object.__setattr__(self, "decay", decay)

    @property
    def numbers(self) -> dict[str, Scalar]:
        return {"decay": self.decay}

    def share(self, numbers: dict[str, Tensor], taken: Tensor, t: Tensor) -> Tensor:
        return where(taken == 0.0, 1.0, 1.0 - numbers["decay"])


@dataclass(frozen=True, eq=False)
class SWA(Average):
    """Stochastic weight averaging: the mean of w after the updates start + every, start + 2 * every, ...

    Args:
        start: The number of updates before the first period, >= 0.
        every: The length of a period in updates, >= 1.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
    Algorithm 1, where c is ``every`` and the mean does not hold the weights that it starts from.
    """

    start: int = 0
    every: int = 1
    location: str = field(default_factory=user_line, repr=False, kw_only=True)

    key: ClassVar[str] = "swa"

    def __post_init__(self) -> None:
        checked_integer("start", self.start, "SWA", self.location, low=0)
        checked_integer("every", self.every, "SWA", self.location, low=1)

    @property
    def numbers(self) -> dict[str, Scalar]:
        return {}

    def share(self, numbers: dict[str, Tensor], taken: Tensor, t: Tensor) -> Tensor:
        since = t - float(self.start)
        now = (since > 0.0) & (since % float(self.every) == 0.0)
        return cast(where(now, 1.0 / (taken + 1.0), 0.0), float64)


def initial_value(parameter: Parameter) -> Callable[[tuple[int, ...], DType], Tensor]:
    """An initializer: the initial value of a parameter, the same draw where it is drawn."""

    def initial(shape: tuple[int, ...], dtype: DType) -> Tensor:
        first = parameter.initial
        if isinstance(first, int | float):
            return broadcast_to(constant(first, dtype), shape)
        return parameter.next  # the program that assigns it is open

    return initial
