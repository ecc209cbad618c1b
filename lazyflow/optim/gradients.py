"""The gradients that a step takes: those of the program, or Tensors from anywhere, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from lazyflow.append import graph_of
from lazyflow.compiler.rules import show
from lazyflow.context import ProgramContext
from lazyflow.location import user_line
from lazyflow.optim.rates import Scheduled
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GraphError,
    ShapeError,
    message,
)
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter

Gradients: TypeAlias = dict[Parameter, Tensor]


def gradients_for(
    optimizer: Scheduled, program: ProgramContext, given: Mapping[Parameter, Tensor] | None
) -> Gradients:
    """The gradient of each parameter that has one, in the order of the groups.

    Args:
        optimizer: Whose parameters.
        program: The open program.
        given: A tensor per parameter, or None for the gradients of the program.

    Raises:
        GraphError: if no parameter has a gradient, or one is of another graph.
        ArgumentError, ShapeError, DTypeError: if something in ``given`` is no gradient of a parameter.
    """
    params = [parameter for group in optimizer.param_groups for parameter in group.params]
    if given is None:
        known = program.gradient_values
        graph = optimizer.join(f"{optimizer.name}.step()")
        found = {p: Tensor(graph, known[p.ir]) for p in params if p.ir in known}
    else:
        _check_given(optimizer, params, given)
        found = {p: given[p] for p in params if p in given}
    if not found:
        text = f"step: none of the {len(params)} parameters of {optimizer.name!r} has a gradient"
        raise GraphError(
            message(
                f"{text} in program {program.ir.name!r}",
                made=f"at {optimizer.location}",
                here=f"at {user_line()}",
                hint="loss.backward() first, or step(gradients={parameter: gradient})",
            )
        )
    for parameter, gradient in found.items():
        _check_gradient(parameter, gradient)
    return found


def _check_given(optimizer: Scheduled, params: list[Parameter], given: Mapping[Parameter, Tensor]) -> None:
    if not isinstance(given, Mapping):
        text = f"step: gradients={given!r} is no mapping"
        raise ArgumentTypeError(message(text, expected="{parameter: Tensor}", here=f"at {user_line()}"))
    mine = set(params)
    for parameter, gradient in given.items():
        if not isinstance(parameter, Parameter) or parameter not in mine:
            text = f"step: {parameter!r} is no parameter of optimizer {optimizer.name!r}"
            raise ArgumentError(message(text, made=f"at {optimizer.location}", here=f"at {user_line()}"))
        if not isinstance(gradient, Tensor):
            text = f"step: the gradient of {parameter.name!r} is no Tensor: {gradient!r}"
            hint = "feed it: lf.placeholder(name, shape)"
            raise ArgumentTypeError(message(text, here=f"at {user_line()}", hint=hint))


def _check_gradient(parameter: Parameter, gradient: Tensor) -> None:
    graph_of((gradient,), "step")
    if (gradient.shape, gradient.dtype) == (parameter.shape, parameter.dtype):
        return
    rows = {"gradient": gradient.describe(), "here": f"at {user_line()}"}
    if gradient.shape != parameter.shape:
        shapes = f"{show(parameter.shape)}, its gradient is {show(gradient.shape)}"
        raise ShapeError(message(f"step: {parameter.name!r} is {shapes}", **rows))
    dtypes = f"{parameter.dtype.name}, its gradient is {gradient.dtype.name}"
    hint = f"gradient.astype({parameter.dtype.name!r})"
    raise DTypeError(message(f"step: {parameter.name!r} is {dtypes}", **rows, hint=hint))
