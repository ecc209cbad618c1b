"""Training on gradients that are fed: what the tests of optimizers share."""

import numpy as np

from lazyflow.append import placeholder
from lazyflow.compiler.interpret import interpret
from lazyflow.graph import Graph
from lazyflow.variable import Parameter


class Interpreted:
    """Runs a graph's programs by the interpreter, with a session's calls."""

    def __init__(self, graph, precision=None):
        for variable in graph.variables.values():
            variable.ir.name = variable.name
        graph.ir.variables.extend(graph.variables)
        self.graph = graph.ir
        self.precision = precision
        self.state = {v.name: v.initial for v in graph.variables.values()}

    def run(self, program, **feeds):
        fetches, self.state = interpret(self.graph, program, feeds, self.state, self.precision)
        return fetches

    def get(self, name):
        return self.state[name]

    def set(self, name, value):
        self.state[name] = value


class Training:
    """Parameters ``w0``, ``w1``, ... that an optimizer updates by gradients which are fed.

    Args:
        make: Makes the optimizer from the list of parameters.
        initial: An array per parameter.
        present: The sets of parameters that get a gradient together: one program each; all unless given.
    """

    def __init__(self, make, initial, present=None, precision=None):
        self.graph = Graph("training")
        everything = frozenset(range(len(initial)))
        with self.graph as graph:
            self.parameters = [Parameter(array, name=f"w{i}") for i, array in enumerate(initial)]
            self.optimizer, schedulers = make(self.parameters)
            rates = {f"lr{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}
            feeds = {i: placeholder(f"g{i}", w.shape, w.dtype) for i, w in enumerate(self.parameters)}
            for some in present or [everything]:
                with graph.program(_name(some), fetches=rates):
                    self.optimizer.step({self.parameters[i]: feeds[i] for i in sorted(some)})
                    for scheduler in schedulers:
                        scheduler.step()
        self.session = Interpreted(graph, precision)

    def step(self, gradients):
        """Update by a gradient per parameter, None where it gets none; returns the rates by group."""
        given = {i: g for i, g in enumerate(gradients) if g is not None}
        fetched = self.session.run(_name(given), **{f"g{i}": g for i, g in given.items()})
        return [fetched[f"lr{i}"].item() for i in range(len(self.optimizer.param_groups))]

    @property
    def values(self):
        """The parameters as they are."""
        return [np.array(self.session.get(w.name)) for w in self.parameters]

    def state(self, index):
        """The state of a parameter by name."""
        table = self.optimizer.table().state.get(f"w{index}", ())
        return {name.partition("/")[2]: np.array(self.session.get(name)) for name in table}


def _name(some):
    return "update_" + "_".join(str(i) for i in sorted(some))
