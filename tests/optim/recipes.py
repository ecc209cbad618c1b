"""The recipe around an update as a plain NumPy loop in float64, and trainings on fed gradients to compare."""

import numpy as np

import lazyflow as lf
from lazyflow import optim
from optim import papers

ADAMW = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}
BACKENDS = ("numpy", "cpu")


class Loop:
    """Parameters ``values`` that a rule of ``papers`` updates, as section "recipe" of docs/recipe.md says.

    Args:
        rule: From the parameter, its gradient, its state and the step from 1 to the next parameter.
        values: An array per parameter.
        groups: The options of each group: those of the rule, and those of every optimizer.
        members: The group of each parameter; all are in the first unless given.
        recipe: The arguments of ``step()``; ``decay`` is that of an EMA.
    """

    def __init__(self, rule, values, groups, members=None, **recipe):
        self.rule, self.groups, self.recipe = rule, groups, recipe
        self.values = [np.float64(value) for value in values]
        self.members = members or [0] * len(values)
        self.states = [{} for _ in values]
        self.averages = [value.copy() for value in self.values]
        self.micro_steps = self.updates = self.applied = self.skipped = 0
        self.pending = []

    def micro(self, gradients, weight=1.0, loss_scale=1.0):
        """Take the gradients of a micro-batch, of a loss that was multiplied with ``loss_scale``."""
        self.micro_steps += 1
        with np.errstate(all="ignore"):
            self.pending.append((weight, [np.float64(g) / loss_scale for g in gradients]))
            if len(self.pending) == self.recipe.get("accumulate", 1):
                self.flush()

    def flush(self):
        """Update with the mean of the micro-batches so far."""
        if not self.pending:
            return
        weights = sum(weight for weight, _ in self.pending)
        rows = [[weight * g for g in row] for weight, row in self.pending]
        self.pending = []
        self.update([sum(each) / weights for each in zip(*rows, strict=True)])

    def option(self, index, name, default):
        return self.groups[self.members[index]].get(name, default)

    def frozen(self, index):
        return self.option(index, "frozen", False)

    def update(self, gradients):
        self.updates += 1
        gradients = [g * self.option(i, "scale", 1.0) for i, g in enumerate(gradients)]
        live = [i for i in range(len(gradients)) if not self.frozen(i)]
        if self.recipe.get("skip_nonfinite") and not all(np.isfinite(gradients[i]).all() for i in live):
            self.skipped += 1
            return
        self.applied += 1
        for index, gradient in enumerate(self.clipped(gradients, live)):
            if index in live:
                self.apply(index, gradient)

    def clipped(self, gradients, live):
        if "clip_value" in self.recipe:
            limit = self.recipe["clip_value"]
            gradients = [np.clip(g, -limit, limit) for g in gradients]
        if "clip_norm" in self.recipe:
            norm = np.sqrt(sum((gradients[i] ** 2).sum() for i in live))
            gradients = [g * min(1.0, self.recipe["clip_norm"] / (norm + 1e-6)) for g in gradients]
        return gradients

    def apply(self, index, gradient):
        options = dict(self.groups[self.members[index]])
        for name in ("scale", "frozen"):
            options.pop(name, None)
        sign = -1.0 if options.pop("maximize", False) else 1.0
        value, state = self.values[index], self.states[index]
        self.values[index] = new = self.rule(value, sign * gradient, state, self.applied, **options)
        if "decay" in self.recipe:
            decay = 0.0 if self.applied == 1 else self.recipe["decay"]
            self.averages[index] = decay * self.averages[index] + (1 - decay) * new


class Fed:
    """Parameters ``w0``, ``w1``, ... that an optimizer updates by fed gradients, in the program "train".

    Args:
        make: Makes the optimizer from the list of parameters.
        initial: An array per parameter.
        backend: Where it runs.
        scaler: A loss scaler: the losses are ``sum(w * g)``, so that its scale reaches the gradients.
        weighted: Whether the weight of a micro-batch is fed.
        more: Called in the block of "train" with the graph, the program and the optimizer.
        recipe: The arguments of ``step()``.
    """

    def __init__(self, make, initial, backend="numpy", scaler=None, weighted=False, more=None, **recipe):
        with lf.Graph("fed") as self.graph:
            self.parameters = [lf.Parameter(array, name=f"w{i}") for i, array in enumerate(initial)]
            self.optimizer = make(self.parameters)
            feeds = [lf.placeholder(f"g{i}", w.shape, w.dtype) for i, w in enumerate(self.parameters)]
            pairs = list(zip(self.parameters, feeds, strict=True))
            if weighted:
                recipe["weight"] = lf.placeholder("weight", (), lf.float64)
            if scaler is not None:
                recipe["loss_scale"] = scaler
            with self.graph.program("train") as program:
                if scaler is None:
                    self.optimizer.step(dict(pairs), **recipe)
                else:
                    for w, g in pairs:
                        scaler.scale(lf.sum(w * g)).backward()
                    self.optimizer.step(**recipe)
                if more is not None:
                    more(self.graph, program, self.optimizer)
            if recipe.get("accumulate", 1) > 1:
                with self.graph.program("flush"):
                    self.optimizer.flush()
        self.plan = lf.compile(self.graph)
        self.session = self.plan.session(backend=backend)
        self.fetched = {}

    def micro(self, gradients, weight=None):
        """Run "train" with a gradient per parameter; what it fetched."""
        feeds = {f"g{i}": g for i, g in enumerate(gradients)}
        if weight is not None:
            feeds["weight"] = np.float64(weight)
        self.fetched = self.session.run("train", feeds)
        return self.fetched

    def flush(self):
        """Run "flush"."""
        self.session.run("flush")

    @property
    def values(self):
        return [self.session.get(w.name) for w in self.parameters]

    def kept(self, name):
        """A variable of each parameter."""
        return [self.session.get(f"{w.name}/{name}") for w in self.parameters]

    def clock(self, name):
        """A variable of the optimizer, as a number."""
        return self.session.get(f"{self.optimizer.name}/{name}").item()


def problem(steps, shapes=((3, 2), (5,), ()), dtype=np.float64, seed=0):
    """Initial values, and gradients for each step, with a size of about 1."""
    rng = np.random.default_rng(seed)
    draw = lambda: [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]  # noqa: E731
    return draw(), [draw() for _ in range(steps)]


def assert_equal(found, expected, rtol=1e-12):
    """Arrays are equal but for roundings in float64."""
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


def adamw(**options):
    return lambda params: optim.pytorch.AdamW(params, **{**ADAMW, **options})


def both(initial, groups=None, members=None, backend="numpy", **recipe):
    """A training and its loop, of AdamW with bias correction."""
    groups = groups or [ADAMW]
    members = members or [0] * len(initial)

    def make(params):
        rows = [[p for p, m in zip(params, members, strict=True) if m == i] for i in range(len(groups))]
        return optim.pytorch.AdamW([{"params": row, **g} for row, g in zip(rows, groups, strict=True)])

    fed = {name: value for name, value in recipe.items() if name != "decay"}
    if "decay" in recipe:
        fed["average"] = optim.EMA(recipe["decay"])
    return Fed(make, initial, backend, **fed), Loop(papers.adamw, initial, groups, members, **recipe)
