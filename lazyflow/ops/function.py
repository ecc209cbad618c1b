"""What all functions share: their table, their gradient rules, promotion of operands, and scopes of names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeAlias, TypeVar

import numpy as np

from lazyflow.append import append, constant, constant_of
from lazyflow.compiler import primitives
from lazyflow.compiler.primitives import Primitive
from lazyflow.context import current_graph, find_graph
from lazyflow.location import user_line
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Dimension
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ArgumentTypeError, DTypeError, ShapeError, message
from lazyflow.tensor import FUNCTIONS, Array, Axis, Tensor, TensorLike, decide

# One entry per input of the op: its gradient, a function that makes it (called only where it is wanted), or
# None where the derivative is zero. A gradient of the broadcast shape is summed to the input's.
Gradient: TypeAlias = Tensor | Callable[[], Tensor] | None
Rule: TypeAlias = Callable[..., Sequence[Gradient]]
F = TypeVar("F", bound=Callable[..., Any])

RULES: dict[Primitive, Rule | None] = {}


def function(f: F) -> F:
    """Enter a function into the table from which Tensor's operators and methods take it."""
    FUNCTIONS[f.__name__] = f
    return f


def composition(f: F) -> F:
    """Enter a function made of several ops, whose names then begin with the function's."""
    name = f.__name__

    @wraps(f)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        graph = find_graph()
        if graph is None:
            return f(*args, **kwargs)
        before = graph.prefix
        graph.prefix = f"{before}/{name}" if before else name
        try:
            return f(*args, **kwargs)
        finally:
            graph.prefix = before

    FUNCTIONS[name] = scoped
    return scoped  # type: ignore[return-value]


def gradient_rule(primitive: Primitive) -> Callable[[Rule], Rule]:
    """Declare the gradient rule of a primitive: ``(dy, y, *inputs)`` to one gradient per input.

    ``dy`` is the gradient of the loss by the output ``y``. Where the op has attributes, ``attributes(y)``
    gives them.
    """

    def declare(rule: Rule) -> Rule:
        RULES[primitive] = rule
        return rule

    return declare


def no_gradient(*declared: Primitive) -> None:
    """State that primitives have no gradient: nothing flows through what they compute."""
    RULES.update(dict.fromkeys(declared))


no_gradient(primitives.constant, primitives.placeholder, primitives.variable)  # leaves: nothing goes further
# made by passes, when gradients are in place
no_gradient(primitives.kernel, primitives.update_batch, primitives.matmul_transposed)
no_gradient(primitives.assign, primitives.update, primitives.print_)  # a next value is not differentiated


def attributes(y: Tensor) -> dict[str, Any]:
    """The attributes of the op that makes ``y``."""
    return y.value.op.attributes


# --- operands ---------------------------------------------------------------------------------------------

_NUMBERS = (bool, int, float, np.generic)


def number(value: bool | int | float, dtype: DType) -> Tensor:
    """A number as a constant of rank 0, made in ``dtype``: one op per graph, however often it is used.

    Raises:
        DTypeError: if the dtype is of integers or bools and does not hold it.
    """
    graph = current_graph("number")
    negative = isinstance(value, float) and math.copysign(1.0, value) < 0.0
    key = (value, type(value), negative, dtype)
    if key not in graph.numbers:
        graph.numbers[key] = constant_of(_number(value, negative, dtype)).value
    return Tensor(graph, graph.numbers[key])


@lru_cache(maxsize=4096, typed=True)
def _number(value: bool | int | float, negative: bool, dtype: DType) -> Array:
    """The array of a number, shared; as keys 0.0 and -0.0 are one, so that the sign is an argument."""
    array = stored(value, dtype)
    array.setflags(write=False)
    return array


def stored(value: bool | int | float, dtype: DType) -> Array:
    """A number in ``dtype``; floats beyond the range of a floating type become infinite.

    Raises:
        DTypeError: if the dtype is of integers or bools and does not hold it.
    """
    try:
        with np.errstate(over="ignore"):
            wide = dtypes.float64 if dtype in dtypes.HALF else dtype
            array = np.asarray(value, wide).astype(dtype)
        if dtypes.is_floating(dtype) or array == value:
            return array
    except (OverflowError, ValueError):
        pass  # told below, as for a number that numpy would cut
    raise DTypeError(
        message(
            f"number: {dtype.name} does not hold {value!r}",
            here=f"at {user_line()}",
            hint="cast the tensor to a wider type, or the number to the tensor's",
        )
    )


def as_operand(value: object, call: str) -> Tensor | bool | int | float:
    """A Tensor, or a number; arrays and lists become constants, numpy's scalars count as numbers.

    Raises:
        ArgumentTypeError: if it is none of these.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, _NUMBERS):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool | int | float):
            return plain
    if isinstance(value, np.ndarray | list | tuple):
        return constant(value)
    raise ArgumentTypeError(
        message(
            f"{call}: {value!r} is no operand",
            expected="a Tensor, a number, or an array",
            here=f"at {user_line()}",
            hint="lf.size(x, axis) is the size of an axis as a Tensor"
            if isinstance(value, Dimension)
            else None,
        )
    )


def _strength(operand: Tensor | bool | int | float) -> tuple[DType, int]:
    if isinstance(operand, Tensor):
        return operand.dtype, 2 if operand.shape else 1
    if isinstance(operand, bool):
        return dtypes.bool_, 0
    return (dtypes.int64 if isinstance(operand, int) else dtypes.float32), 0


def common(call: str, *values: TensorLike, least: DType = dtypes.bool_) -> list[Tensor]:
    """The operands in their common dtype.

    Args:
        call: The function's name, for messages.
        values: Tensors and arrays, which decide the dtype, and numbers, which only matter by their kind.
        least: What the result is where it would be of a lower kind (float32 for functions of real numbers).
    """
    operands = [value if isinstance(value, Tensor) else as_operand(value, call) for value in values]
    if not all(isinstance(operand, Tensor) for operand in operands):
        check_open(call)
    dtype = dtypes.promote(map(_strength, operands))
    if dtypes.kind(dtype) < dtypes.kind(least):
        dtype = least
    if dtype == dtypes.float32 and decide.get() is not None and not any(map(_decides_floats, operands)):
        dtype = dtypes.float64  # a schedule is traced, and rates are float64: 0.1 ** sum(step >= 10) is too
    return [to_dtype(operand, dtype) for operand in operands]


def _decides_floats(operand: Tensor | bool | int | float) -> bool:
    return isinstance(operand, Tensor) and dtypes.is_floating(operand.dtype)


def to_dtype(operand: Tensor | bool | int | float, dtype: DType) -> Tensor:
    """An operand in the given dtype: a number is made in it, a Tensor cast where it differs."""
    if not isinstance(operand, Tensor):
        return number(operand, dtype)
    return operand if operand.dtype == dtype else append(primitives.cast, operand, dtype=dtype)


def tensor(value: TensorLike, call: str) -> Tensor:
    """One operand as a Tensor; a number has the default dtype of its kind."""
    return value if isinstance(value, Tensor) else common(call, value)[0]


def real(value: TensorLike, call: str) -> Tensor:
    """One operand of a floating type: integers and bools become float32."""
    if isinstance(value, Tensor) and value.dtype in dtypes.FLOATING:
        return value
    return common(call, value, least=dtypes.float32)[0]


def check_open(call: str) -> None:
    """Raise GraphError where no graph is open, for functions that take no Tensor."""
    current_graph(call)


# --- axes -------------------------------------------------------------------------------------------------


def one_axis(axis: object, rank: int, call: str) -> int:
    """An axis counted from the front.

    Raises:
        ArgumentTypeError: if it is no integer.
        ShapeError: if a tensor of this rank has no such axis.
    """
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise ArgumentTypeError(message(f"{call}: axis {axis!r} is no integer", here=f"at {user_line()}"))
    if not -rank <= axis < rank:
        raise ShapeError(
            message(
                f"{call}: axis {axis} is not an axis of a tensor of rank {rank}",
                expected=f"{-rank} to {rank - 1}" if rank else "no axis: the tensor is a scalar",
                here=f"at {user_line()}",
            )
        )
    return int(axis) % rank


def all_axes(axis: Axis, rank: int, call: str) -> tuple[int, ...]:
    """The axes meant by None (all), an integer or a sequence, in order, each once.

    Raises:
        ArgumentTypeError, ShapeError: if one is no axis, or is given twice.
    """
    if axis is None:
        return tuple(range(rank))
    if isinstance(axis, int | np.integer):
        return (one_axis(axis, rank, call),)
    if not isinstance(axis, list | tuple):
        raise ArgumentTypeError(message(f"{call}: axis {axis!r} is no integer and no tuple of them"))
    axes = sorted(one_axis(a, rank, call) for a in axis)
    if len(set(axes)) != len(axes):
        raise ShapeError(message(f"{call}: axis {tuple(axis)} names an axis twice", here=f"at {user_line()}"))
    return tuple(axes)
