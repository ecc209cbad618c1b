"""Tensor: a handle on one value of a graph.

The operators stand in a table, FUNCTIONS, which the modules of ``lazyflow.ops`` fill: functions need Tensor,
and Tensor's operators need functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from lazyflow.compiler.graph import Value
from lazyflow.compiler.rules import show
from lazyflow.context import GraphContext
from lazyflow.habits import OF_TENSORS
from lazyflow.location import user_line
from lazyflow.runtime.dimensions import Dimension, Shape
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import (
    SymbolicError,
    message,
)

Number: TypeAlias = bool | int | float
Array: TypeAlias = npt.NDArray[Any]

FUNCTIONS: dict[str, Callable[..., Any]] = {}

# While a schedule is traced: decides bool(tensor). Numbers that meet no float tensor are float64 then.
decide: ContextVar[Callable[[Tensor], bool] | None] = ContextVar("lazyflow_decide", default=None)


class Tensor:
    """A handle on one value of a graph: shape, dtype, name, and the op that makes it. Holds no numbers.

    Operators follow NumPy's broadcasting and PyTorch's promotion; ``==`` is elementwise, hash is identity.
    """

    __slots__ = ("__weakref__", "_value", "graph")
    __array_priority__ = 1000

    def __init__(self, graph: GraphContext, value: Value) -> None:
        self.graph = graph
        self._value = value

    @property
    def value(self) -> Value:
        """The value in the graph's IR."""
        return self._value

    @property
    def shape(self) -> Shape:
        """A tuple of ints and Dimensions."""
        return self.value.shape

    @property
    def dtype(self) -> DType:
        """The element type, a numpy dtype."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def name(self) -> str:
        """The name of the op that makes it, with its scopes."""
        return self.value.op.origins[0].name

    @property
    def location(self) -> str:
        """The user's line that made it."""
        return self.value.op.origins[0].location

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.value.type}>"

    def describe(self) -> str:
        """Name, type and line, for messages."""
        sizes = show(self.shape)[1:-1].rstrip(",")
        return f'"{self.name}"  {self.dtype.name}[{sizes}]  made at {self.location}'

    __hash__ = object.__hash__

    # arithmetic, comparison, logic
    def __add__(self, other: TensorLike) -> Tensor:
        return _call("add", self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return _call("add", other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return _call("sub", self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return _call("sub", other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return _call("mul", self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return _call("mul", other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return _call("div", self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return _call("div", other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return _call("floor_div", self, other)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return _call("floor_div", other, self)

    def __mod__(self, other: TensorLike) -> Tensor:
        return _call("mod", self, other)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return _call("mod", other, self)

    def __pow__(self, other: TensorLike) -> Tensor:
        return _call("pow", self, other)

    def __rpow__(self, other: TensorLike) -> Tensor:
        return _call("pow", other, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return _call("matmul", self, other)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return _call("matmul", other, self)

    def __divmod__(self, other: TensorLike) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __floor__(self) -> Tensor:
        return _call("floor", self)

    def __ceil__(self) -> Tensor:
        return _call("ceil", self)

    def __round__(self, ndigits: int | None = None) -> Tensor:
        if ndigits:
            self._refuse("round() to digits", "decimals are for showing numbers", "lf.round(x * 100) / 100")
        return _call("round", self)

    def __neg__(self) -> Tensor:
        return _call("neg", self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return _call("abs", self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("eq", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _call("ne", self, other)

    def __lt__(self, other: TensorLike) -> Tensor:
        return _call("lt", self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return _call("le", self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return _call("gt", self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return _call("ge", self, other)

    def __and__(self, other: TensorLike) -> Tensor:
        return _call("logical_and", self, other)

    def __rand__(self, other: TensorLike) -> Tensor:
        return _call("logical_and", other, self)

    def __or__(self, other: TensorLike) -> Tensor:
        return _call("logical_or", self, other)

    def __ror__(self, other: TensorLike) -> Tensor:
        return _call("logical_or", other, self)

    def __invert__(self) -> Tensor:
        return _call("logical_not", self)

    # shaping and reduction, under numpy's names
    def __getitem__(self, index: Any) -> Tensor:
        return _call("getitem", self, index)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        return _call("reshape", self, shape[0] if len(shape) == 1 and not _is_size(shape[0]) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order; reversed where none is given."""
        if not axes:
            return _call("transpose", self, None)
        return _call("transpose", self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    @property
    def T(self) -> Tensor:  # noqa: N802, numpy's name
        """The transposed tensor."""
        return self.transpose()

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The sum over the given axes, or over all."""
        return _call("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The mean over the given axes, or over all."""
        return _call("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The largest element over the given axes, or over all."""
        return _call("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The smallest element over the given axes, or over all."""
        return _call("min", self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The variance over the given axes, or over all."""
        return _call("var", self, axis=axis, ddof=ddof, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The position of the first largest element along an axis."""
        return _call("argmax", self, axis=axis, keepdims=keepdims)

    def astype(self, dtype: object) -> Tensor:
        """The elements converted to another dtype."""
        return _call("cast", self, dtype)

    def backward(self) -> None:
        """Append the gradients of this scalar by every Parameter that it depends on to the open program."""
        FUNCTIONS["backward"](self)

    # what a Tensor cannot do, with the habit that replaces it
    def __bool__(self) -> bool:
        outcome = decide.get()
        if outcome is not None:
            return outcome(self)
        return self._refuse(
            "bool()", "if tensor: ... runs once, while the graph is built", "lf.where(condition, a, b)"
        )

    def __float__(self) -> float:
        return self._refuse("float()", *_NUMBER)

    def __int__(self) -> int:
        return self._refuse("int()", *_NUMBER)

    def __index__(self) -> int:
        return self._refuse("an index or range()", *_NUMBER)

    def __complex__(self) -> complex:
        return self._refuse("complex()", *_NUMBER)

    def item(self) -> NoReturn:
        """Raises: a Tensor holds no number; fetch it."""
        self._refuse("item()", *_NUMBER)

    def numpy(self) -> NoReturn:
        """Raises: a Tensor holds no numbers; fetch it."""
        self._refuse("numpy()", *_NUMBER)

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        self._refuse("numpy.asarray()", *_NUMBER)

    def __iter__(self) -> NoReturn:
        self._refuse(
            "iteration", "the loop would run while the graph is built", "lf.split, slicing, or a reduction"
        )

    def __len__(self) -> int:
        if self.ndim and isinstance(self.shape[0], int):
            return self.shape[0]
        return self._refuse(
            "len()", "the size is bound at run time", "tensor.shape[0], or lf.size(tensor, 0)"
        )

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("`in`", "membership is a number of the run", "lf.max(tensor == value), fetched")

    def __setitem__(self, index: object, value: object) -> NoReturn:
        self._refuse("item assignment", "a Tensor never changes", "lf.where, lf.concat, or Variable.assign")

    def __format__(self, spec: str) -> str:
        return str(self) if not spec else self._refuse(f"format {spec!r}", *_NUMBER)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Tensor:
        function = FUNCTIONS.get(_UFUNCS.get(ufunc.__name__, ufunc.__name__))
        if function is None or method != "__call__" or kwargs:
            self._refuse_numpy(ufunc.__name__)
        result: Tensor = function(*inputs)
        return result

    def __array_function__(self, function: Callable[..., Any], *rest: object) -> NoReturn:
        self._refuse_numpy(function.__name__)

    if not TYPE_CHECKING:  # for a type checker, a name that is not declared stays an error

        def __getattr__(self, name: str) -> NoReturn:
            headline = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in OF_TENSORS:
                headline = message(
                    headline, tensor=self.describe(), here=f"at {user_line()}", hint=OF_TENSORS[name]
                )
            raise AttributeError(headline, name=name, obj=self)

    def _refuse_numpy(self, name: str) -> NoReturn:
        raise SymbolicError(
            message(
                f"numpy.{name} does not take a Tensor",
                tensor=self.describe(),
                here=f"at {user_line()}",
                hint="use lazyflow's function: numpy computes at once, a graph when it runs",
            )
        )

    def _refuse(self, what: str, why: str, hint: str) -> NoReturn:
        tracing = decide.get() is not None
        raise SymbolicError(
            message(
                f"{what} of a Tensor: it holds no number while the graph is built ({why})",
                tensor=self.describe(),
                here=f"at {user_line()}",
                hint="a schedule that needs the number itself: write lf.cos and its like for math.cos, "
                "or make a table with lf.tabulate(fn, steps=N)"
                if tracing
                else hint,
            )
        )


TensorLike: TypeAlias = Tensor | bool | int | float | np.ndarray[Any, Any] | np.generic
Axis: TypeAlias = int | Sequence[int] | None

_NUMBER = ("its number exists when the program runs", "fetch it: graph.program(name, fetches={'x': tensor})")
_UFUNCS = {
    "subtract": "sub",
    "multiply": "mul",
    "true_divide": "div",
    "divide": "div",
    "floor_divide": "floor_div",
    "remainder": "mod",
    "power": "pow",
    "float_power": "pow",
    "negative": "neg",
    "absolute": "abs",
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "rint": "round",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "invert": "logical_not",
}


def _call(function: str, *args: Any, **kwargs: Any) -> Tensor:
    result: Tensor = FUNCTIONS[function](*args, **kwargs)
    return result


def _is_size(value: object) -> bool:
    return isinstance(value, int | Dimension | np.integer)
