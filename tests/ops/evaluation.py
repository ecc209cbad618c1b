"""Builds the graph of a call and runs it."""

import numpy as np

import lazyflow as lf
from lazyflow.compiler import primitives
from lazyflow.compiler.interpret import interpret
from lazyflow.runtime import dtypes


def in_dtype(array, dtype):
    with np.errstate(over="ignore"):  # 1e30 is infinite in float16
        return array.astype(dtype) if array.dtype.kind == "f" else array


NAMES = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


class Call:
    """A function of arrays as a graph: one placeholder per array, one fetch per result.

    Where ``named``, all sizes above 1 are bound at run time.
    """

    def __init__(self, case, dtype=lf.float32, named=False):
        self.named = named
        self.feeds = {}
        self.inputs = {}
        with lf.Graph() as self.graph:
            arguments = [self._placeholders(a, dtype) for a in case.arguments]
            results = case.function(*arguments, **case.options)
        self.results = results if isinstance(results, list) else [results]

    def _placeholders(self, argument, dtype):
        if isinstance(argument, list):
            return [self._placeholders(a, dtype) for a in argument]
        name = f"x{len(self.feeds)}"
        self.feeds[name] = in_dtype(argument, dtype)
        shape = [NAMES.get(size, size) if self.named else size for size in argument.shape]
        self.inputs[name] = lf.placeholder(name, shape, self.feeds[name].dtype)
        return self.inputs[name]

    def interpret(self, precision=None):
        return evaluate(self.graph, self.results, self.feeds, precision)

    def run(self, backend):
        return run(self.graph, self.results, self.feeds, backend)


def run(graph, tensors, feeds, backend="numpy"):
    """The values of tensors, compiled, on a backend."""
    results = {f"y{i}": tensor for i, tensor in enumerate(tensors)}
    inputs = {f"input_{name}": tensor for name, tensor in placeholders(graph).items()}
    graph.program("run", fetches=results | inputs)  # the inputs too, so that every feed is one of the program
    fetched = lf.compile(graph).session(backend).run("run", feeds)
    return [fetched[name] for name in results]


def placeholders(graph):
    leaves = [op for op in graph.ir.ops if op.primitive is primitives.placeholder]
    return {op.attributes["name"]: lf.Tensor(graph, op.output) for op in leaves}


def evaluate(graph, tensors, feeds=None, precision=None, state=None):
    """The values of tensors, by the interpreter."""
    name = f"evaluate{len(graph.ir.programs)}"
    graph.program(name, fetches={str(i): tensor for i, tensor in enumerate(tensors)})
    fill_variables(graph)
    fetches, _ = interpret(graph.ir, name, feeds, state, precision)
    return list(fetches.values())


def fill_variables(graph):
    """What compiling does for a graph's table of variables."""
    graph.ir.variables[:] = graph.variables
    for description, variable in graph.variables.items():
        description.name = variable.name


def difference(loss, feeds, direction, step=1e-6):
    """The derivative of ``loss(feeds)`` along a direction, by central differences."""
    ahead = {name: feeds[name] + step * direction.get(name, 0) for name in feeds}
    behind = {name: feeds[name] - step * direction.get(name, 0) for name in feeds}
    return (loss(ahead) - loss(behind)) / (2 * step)


def random_directions(feeds, seed=0):
    random = np.random.default_rng(seed)
    floating = [name for name, array in feeds.items() if array.dtype in dtypes.FLOATING]
    return {name: random.standard_normal(feeds[name].shape) for name in floating}
