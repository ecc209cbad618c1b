"""Variable: a Tensor with a stored value; Parameter: one that optimizers update."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from inspect import signature
from types import CodeType, FunctionType
from typing import Any, TypeAlias

import numpy as np

from lazyflow.append import as_shape, as_tensor, element_type, graph_of
from lazyflow.compiler import graph as ir
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Origin, Value, make
from lazyflow.compiler.rules import Type, show
from lazyflow.context import current_graph
from lazyflow.location import user_line
from lazyflow.runtime import dtypes
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GraphError,
    ShapeError,
    message,
)
from lazyflow.tensor import FUNCTIONS, Array, Tensor, TensorLike

Initializer: TypeAlias = Callable[[tuple[int, ...], DType], Tensor]


class Variable(Tensor):
    """A Tensor with a stored value that outlives a run.

    It may be made outside of a graph; the first graph that uses it adopts it.

    Args:
        initial: An array (lists become float32), a number with ``shape``, or an initializer
            ``(shape, dtype) -> Tensor`` that is evaluated in the ``init`` program.
        shape: Static sizes; needed where ``initial`` is no array.
        dtype: The element type; of the array, or float32 / int64 / bool by the number's kind, unless given.
        name: Its key in the state; in a Module, the path of its attribute unless given.
        trainable: Whether optimizers update it (a Parameter).
        location: The line that made it; the user's present one unless given.
    """

    __slots__ = ("_read", "_shape", "_start", "adopted", "ir", "naming", "owner")

    def __init__(
        self,
        initial: Any,
        shape: Sequence[int] | None = None,
        dtype: object = None,
        name: str | None = None,
        trainable: bool = False,
        location: str | None = None,
    ) -> None:
        if name is not None and (not isinstance(name, str) or not name):
            raise ArgumentTypeError(f"Variable: name {name!r} is not a name; expected a string")
        start, self._shape, found = _initial(initial, shape, dtype)
        self.naming: Callable[[], str] | None = None if name is None else lambda: name
        self.owner: object = None
        self.adopted = False  # whether a graph uses it
        self._read: Value | None = None  # in that graph, once an op takes it as an input
        self.ir = ir.Variable(name or "", self._shape, found, trainable, location=location or user_line())
        self._start_from(start)

    @property
    def initial(self) -> Any:
        """What it starts from: an array, a number or an initializer. Another may be set before compile."""
        return self._start

    @initial.setter
    def initial(self, value: Any) -> None:
        if self.adopted:
            self.graph.check_open()
        self._start_from(_initial(value, self._shape, self.dtype)[0])

    def _start_from(self, start: Any) -> None:
        self._start = start
        self.ir.initial = start if isinstance(start, bool | int | float) else 0

    @property
    def value(self) -> Value:
        """The value before the run, in the graph that adopted the variable."""
        self.adopt()
        if self._read is None:
            origins = (Origin(self.name, self.ir.location),)
            op = make(primitives.variable, (), {"variable": self.ir}, origins)
            self._read = self.graph.append(op).output
        return self._read

    def adopt(self) -> None:
        """Enter the state of the open graph, if no graph has adopted the variable yet.

        Raises:
            GraphError: if no graph is open, or it is compiled, or traces an update rule.
        """
        if self.adopted:
            return
        graph = current_graph("use of a Variable")
        graph.check_open()
        if graph.is_rule:
            raise GraphError(
                message(
                    "update: a rule reads a Variable that is not its own",
                    variable=self.describe(),
                    hint="name it in the optimizer's `state`, or pass it as a number of the group",
                )
            )
        self.graph = graph
        self.adopted = True
        graph.variables[self.ir] = self

    def forget(self, ops: Container[Op]) -> None:
        """Be read by a new op, if one of these read it: for the maker of a graph that takes them back."""
        if self._read is not None and self._read.op in ops:
            self._read = None

    def release(self) -> None:
        """Let another graph adopt it: for the maker of a graph to which nothing is appended any more."""
        del self.graph
        self.adopted, self._read = False, None

    @property
    def shape(self) -> tuple[int, ...]:
        """Static sizes."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.ir.dtype

    @property
    def name(self) -> str:
        """Its key in the state: the given name, or the path in its module; final at compile."""
        if self.naming is not None:
            return self.naming()
        return self.ir.name or "(unnamed)"

    @property
    def location(self) -> str:
        """The user's line that made it."""
        return self.ir.location

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {Type(self.shape, self.dtype)}>"

    def assign(self, value: TensorLike, when: Tensor | None = None) -> Tensor:
        """Append the assignment of the next value to the open program.

        Args:
            value: A Tensor of the variable's shape and dtype (numbers and arrays become constants).
            when: A bool scalar; where it is false the variable keeps its value.

        Returns:
            The value after the run (``next``).

        Raises:
            GraphError: outside of a program, or at a second assignment in one program.
            ShapeError, DTypeError: if the value does not fit.
        """
        _ = self.value
        program = self.graph.program_for(f"{self.name}.assign()")
        tensor = as_tensor(value, None if isinstance(value, Tensor | np.ndarray) else self.dtype)
        if tensor.shape != self.shape and tensor.ndim == 0:
            tensor = FUNCTIONS["broadcast_to"](tensor, self.shape)
        self._check_fit(tensor)
        inputs = (tensor,) if when is None else (tensor, _check_condition(when, "assign"))
        graph = graph_of((self, *inputs), "assign")
        attributes = {"variable": self.ir, "guarded": when is not None}
        # the variable's name is a whole path: no scope is put before it
        origins = graph.pinned or (Origin(f"{self.name}.assign", user_line()),)
        op = make(primitives.assign, [t.value for t in inputs], attributes, origins)
        program.add_effect(op)
        return Tensor(graph, graph.append(op).output)

    def _check_fit(self, tensor: Tensor) -> None:
        if tensor.shape != self.shape:
            raise ShapeError(
                message(
                    f"assign: {self.name!r} is {show(self.shape)}, the value is {show(tensor.shape)}",
                    value=tensor.describe(),
                    variable=self.describe(),
                )
            )
        if tensor.dtype != self.dtype:
            raise DTypeError(
                message(
                    f"assign: {self.name!r} is {self.dtype.name}, the value is {tensor.dtype.name}",
                    value=tensor.describe(),
                    hint=f"value.astype({self.dtype.name!r})",
                )
            )

    @property
    def next(self) -> Tensor:
        """The value after the run, in a program that assigns it (the old one where the update is skipped).

        Raises:
            GraphError: if the open program has not assigned it yet.
        """
        _ = self.value
        program = self.graph.program_for(f"{self.name}.next")
        value = program.next_values.get(self.ir)
        if value is None:
            raise GraphError(
                message(
                    f"next: {self.name!r} is not assigned in program {program.ir.name!r} yet",
                    here=f"at {user_line()}",
                    hint="call optimizer.step() or assign() first",
                )
            )
        return Tensor(self.graph, value)


class Parameter(Variable):
    """A trainable Variable: what optimizers update. See :class:`Variable` for the arguments."""

    __slots__ = ()

    def __init__(
        self, initial: Any, shape: Sequence[int] | None = None, dtype: object = None, name: str | None = None
    ) -> None:
        super().__init__(initial, shape, dtype, name, trainable=True)
        if not dtypes.is_floating(self.dtype):
            raise DTypeError(
                message(
                    f"Parameter: {self.dtype.name} cannot be trained",
                    expected="a floating type",
                    hint="lf.Variable for a value that is not trained",
                )
            )


def _check_condition(when: Tensor, call: str) -> Tensor:
    if not isinstance(when, Tensor) or when.dtype != dtypes.bool_ or when.shape != ():
        found = when.describe() if isinstance(when, Tensor) else repr(when)
        raise ArgumentTypeError(message(f"{call}: when must be a bool scalar Tensor", got=found))
    return when


def _initial(initial: Any, shape: Any, dtype: object) -> tuple[Any, tuple[int, ...], DType]:
    """The initial value, static shape and dtype that the arguments of a Variable mean."""
    if type(initial) in (bool, int, float) and dtype is not None and shape is not None:  # the usual one
        return initial, _static(shape), dtypes.as_dtype(dtype)
    if isinstance(initial, Tensor):
        raise ArgumentTypeError(
            message(
                "Variable: a Tensor is no initial value",
                tensor=initial.describe(),
                here=f"at {user_line()}",
                hint="an array, a number with shape=(3, 4), or an initializer (shape, dtype) -> Tensor",
            )
        )
    given = None if dtype is None else element_type(dtype)
    if callable(initial):
        if shape is None:
            raise ArgumentError("Variable: an initializer needs shape=")
        _check_initializer(initial)
        return initial, _static(shape), given or dtypes.float32
    if isinstance(initial, bool | int | float | np.generic):
        number = initial.item() if isinstance(initial, np.generic) else initial
        found = given or (
            element_type(initial.dtype) if isinstance(initial, np.generic) else _default_dtype(initial)
        )
        return number, _static(shape if shape is not None else ()), found
    if isinstance(initial, list | tuple):
        array = _of_list(initial, given or dtypes.float32)
    elif isinstance(initial, np.ndarray):
        array = initial.astype(given or element_type(initial.dtype))
    else:
        raise ArgumentTypeError(
            message(
                f"Variable: {initial!r} is no initial value",
                expected="an array, a number with shape=, or an initializer (shape, dtype) -> Tensor",
            )
        )
    if shape is not None and _static(shape) != array.shape:
        raise ShapeError(f"Variable: shape {tuple(shape)} is not that of the array, {array.shape}")
    array = np.array(array, order="C")
    array.setflags(write=False)
    return array, _static(array.shape), array.dtype


def _check_initializer(initial: Callable[..., Any]) -> None:
    if isinstance(initial, FunctionType) and _takes_two(initial.__code__):
        return  # the usual one; a signature takes longer to make than the variable
    try:
        signature(initial).bind((), dtypes.float32)
    except (TypeError, ValueError) as error:
        name = getattr(initial, "__name__", "initial")
        raise ArgumentTypeError(
            message(
                f"Variable: {name} is no initializer: {error}",
                expected="(shape, dtype) -> Tensor",
                here=f"at {user_line()}",
                hint=f"{name}(...), where that makes one, as nn.init.normal(std=0.02) does",
            )
        ) from None


def _takes_two(code: CodeType) -> bool:
    return code.co_argcount == 2 and not code.co_kwonlyargcount


def _of_list(numbers: list[Any] | tuple[Any, ...], dtype: DType) -> Array:
    try:
        return np.asarray(numbers, dtype)
    except (TypeError, ValueError) as error:
        text = f"Variable: {numbers!r} is not a list of numbers: {error}"
        raise ArgumentTypeError(message(text, here=f"at {user_line()}")) from None


def _default_dtype(number: bool | int | float) -> DType:
    if isinstance(number, bool):
        return dtypes.bool_
    return dtypes.int64 if isinstance(number, int) else dtypes.float32


def _static(shape: Any) -> tuple[int, ...]:
    if type(shape) is tuple and all(type(size) is int and size > 0 for size in shape):
        return shape  # the usual one
    sizes = as_shape(shape, "Variable")
    if not all(isinstance(size, int) for size in sizes):
        raise ShapeError(f"Variable: shape {show(sizes)} is not static; a stored value has one size")
    return tuple(size for size in sizes if isinstance(size, int))
