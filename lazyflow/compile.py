"""lf.compile: from the graph that the user built to a Plan."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from lazyflow.append import as_tensor
from lazyflow.compiler import graph as ir
from lazyflow.compiler.pipeline import compile_graph
from lazyflow.compiler.text import to_text
from lazyflow.context import ProgramContext, find_graph, opened
from lazyflow.graph import Graph
from lazyflow.location import user_line
from lazyflow.ops.random import count_runs
from lazyflow.runtime.collector import uncollected
from lazyflow.runtime.errors import ArgumentTypeError, GraphError, message
from lazyflow.runtime.plan import Plan
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable


def compile(graph: Graph, skip: Collection[str] = ()) -> Plan:
    """Compile a graph into a Plan, and freeze it: nothing can be appended afterwards.

    Args:
        graph: The graph, with at least one program.
        skip: Names of optional passes to leave out: "fold_constants", "simplify", "merge_common", "fuse",
            "batch_updates". The numbers are the same, only slower.

    Warns:
        UserWarning: of a scheduler that no program steps.

    Returns:
        The Plan. Compiling a frozen graph again gives an equal one.

    Raises:
        GraphError: if a program is still open, two variables have one name, or a program is not well formed.
        ShapeError: if a named dimension is bound by none of a program's feeds.
    """
    if not isinstance(graph, Graph):
        raise ArgumentTypeError(
            message(
                f"compile: {graph!r} is no lf.Graph",
                here=f"at {user_line()}",
                hint="with lf.Graph() as graph: ...; lf.compile(graph)",
            )
        )
    if graph.open_program is not None:
        raise GraphError(
            message(
                f"compile: program {graph.open_program.ir.name!r} is still open",
                here=f"at {user_line()}",
                hint="leave its `with` block first",
            )
        )
    if graph.frozen_at is not None:
        with uncollected(leaves=True):
            return _plan(graph.ir, skip)
    with _restored_on_error(graph), uncollected(leaves=True):
        _finish(graph)
        plan = _plan(graph.ir, skip)
    graph.frozen_at = user_line()
    return plan


def _plan(graph: ir.Graph, skip: Collection[str]) -> Plan:
    # the text is written when it is asked for, as when the plan is saved: it takes a tenth of compiling
    return Plan(*compile_graph(graph, skip), source=partial(to_text, graph, origins=True))


@contextmanager
def _restored_on_error(graph: Graph) -> Iterator[None]:
    """Leave the graph as it was where compiling fails."""
    operations = len(graph.ir.ops)
    effects = {name: len(program.effects) for name, program in graph.ir.programs.items()}
    variables, numbers, shared = list(graph.variables), dict(graph.numbers), dict(graph.shared)
    try:
        yield
    except BaseException:
        removed = set(graph.ir.ops[operations:])
        del graph.ir.ops[operations:]
        for adopted in graph.variables.values():
            adopted.forget(removed)
        graph.ir.programs.pop("init", None)
        for name, count in effects.items():
            del graph.ir.programs[name].effects[count:]
        for variable in [v for v in graph.variables if v not in variables]:
            del graph.variables[variable]
        graph.numbers, graph.shared = numbers, shared
        graph.ir.variables.clear()
        graph.ir.optimizers.clear()
        raise


def _finish(graph: Graph) -> None:
    """Add what no call of the user's adds: initial values, run counters, final names, tables."""
    if not graph.ir.programs:
        raise GraphError(
            message(
                f"compile: graph {graph.name!r} has no program",
                here=f"at {user_line()}",
                hint='graph.program("predict", fetches={"y": y})',
            )
        )
    with opened(graph) if find_graph() is not graph else _nothing():
        _add_init(graph)
        count_runs(graph)
    _name_variables(graph)
    for scheduler in [each for optimizer in graph.optimizers for each in optimizer.idle_schedulers()]:
        text = f"{scheduler!r}: no program calls its step(), so that it stays where it begins"
        warnings.warn(text, stacklevel=3)
    graph.ir.variables.extend(graph.variables)
    graph.ir.optimizers.extend(optimizer.table() for optimizer in graph.optimizers)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _add_init(graph: Graph) -> None:
    """The program that assigns the initial values that are no plain numbers."""
    chosen = [v for v in graph.variables.values() if not isinstance(v.initial, bool | int | float)]
    if not chosen:
        return
    program = ProgramContext(ir.Program("init"), user_line())
    graph.open_program = program
    try:
        for variable in chosen:
            graph.pin(f"init/{variable.name}", variable.location)
            variable.assign(_initial_value(variable))
    finally:
        graph.open_program, graph.pinned = None, None
    graph.ir.programs["init"] = program.ir


def _initial_value(variable: Variable) -> Tensor:
    initial = variable.initial
    if isinstance(initial, np.ndarray):
        return as_tensor(initial)
    value = initial(variable.shape, variable.dtype)
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(
            message(
                f"initializer of {variable.name!r}: returned {value!r}",
                variable=variable.describe(),
                expected="a Tensor: initializers are (shape, dtype) -> Tensor",
            )
        )
    return value


def _name_variables(graph: Graph) -> None:
    """Fix the names: explicit, or the path in the module, or numbered where there is neither."""
    seen: dict[str, ir.Variable] = {}
    unnamed = 0
    for description, variable in graph.variables.items():
        if variable.naming is None:
            description.name = f"{'parameter' if description.trainable else 'variable'}_{unnamed}"
            unnamed += 1
        else:
            description.name = variable.naming()
        first = seen.setdefault(description.name, description)
        if first is not description:
            raise GraphError(
                message(
                    f"compile: two variables are named {description.name!r}",
                    first=f"made at {first.location}",
                    second=f"made at {description.location}",
                    hint="give the root modules, the optimizers or the variables a name=",
                )
            )
