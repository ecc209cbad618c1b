"""Training on gradients that are fed: what the tests of optimizers share."""

import lazyflow as lf


class Training:
    """Parameters ``w0``, ``w1``, ... that an optimizer updates by gradients which are fed, on ``numpy``.

    Args:
        make: Makes the optimizer, and the schedulers that step with it, from the list of parameters.
        initial: An array per parameter.
        present: The sets of parameters that get a gradient together: one program each; all unless given.
        precision: None, or "float64".
    """

    def __init__(self, make, initial, present=(), precision=None):
        everything = frozenset(range(len(initial)))
        with lf.Graph("training") as graph:
            self.parameters = [lf.Parameter(array, name=f"w{i}") for i, array in enumerate(initial)]
            made = make(self.parameters)
            self.optimizer, schedulers = made if isinstance(made, tuple) else (made, ())
            rates = {f"lr{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}
            feeds = [lf.placeholder(f"g{i}", w.shape, w.dtype) for i, w in enumerate(self.parameters)]
            for some in present or [everything]:
                with graph.program(name_of(some), fetches=rates):
                    self.optimizer.step({self.parameters[i]: feeds[i] for i in sorted(some)})
                    for scheduler in schedulers:
                        scheduler.step()
        self.graph = graph
        self.plan = lf.compile(graph)
        self.session = self.plan.session(backend="numpy", precision=precision)

    def step(self, gradients):
        """Update by a gradient per parameter, None where it gets none; returns the rates by group."""
        given = {i: g for i, g in enumerate(gradients) if g is not None}
        feeds = {f"g{i}": g for i, g in given.items()}
        fetched = self.session.run(name_of(given), feeds)
        return [fetched[f"lr{i}"].item() for i in range(len(self.optimizer.param_groups))]

    @property
    def values(self):
        """The parameters as they are."""
        return [self.session.get(w.name) for w in self.parameters]

    def state(self, index):
        """The state of a parameter by name."""
        names = self.optimizer.table().state.get(f"w{index}", ())
        return {name.partition("/")[2]: self.session.get(name) for name in names}


def name_of(some):
    """The name of the program that updates some parameters."""
    return "update_" + "_".join(str(i) for i in sorted(some))
