"""Printing from a running plan."""

from __future__ import annotations

from lazyflow.append import graph_of
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import make
from lazyflow.location import user_line
from lazyflow.runtime.errors import ArgumentTypeError, message
from lazyflow.tensor import Tensor


def print(tensor: Tensor, text: str = "") -> None:
    """Append to the open program that a tensor's value is printed after each run.

    Args:
        tensor: Tensor of any shape.
        text: What stands before the value; the tensor's name unless given.

    Raises:
        GraphError: outside of a program.
        ArgumentTypeError: if ``tensor`` is no Tensor, or ``text`` no string.
    """
    if not isinstance(tensor, Tensor) or not isinstance(text, str):
        wrong = text if isinstance(tensor, Tensor) else tensor
        raise ArgumentTypeError(
            message(
                f"print: {wrong!r} is not accepted",
                expected="lf.print(tensor, 'text')",
                here=f"at {user_line()}",
            )
        )
    graph = graph_of((tensor,), "print")
    program = graph.program_for("lf.print()")
    given = {"text": text or tensor.name, "on_change": False, "guarded": False}
    op = make(primitives.print_, (tensor.value,), given, graph.origin("print"))
    graph.append(program.add_effect(op))
