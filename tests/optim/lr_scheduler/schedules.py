"""One table of all schedulers, each with its rate in plain Python, and the ways in which tests run them."""

import json
import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from repository import ROOT

GOLDEN = ROOT / "tests" / "golden" / "oneflow"


def an_optimizer(*rates):
    """An SGD with one parameter group for each base rate; one of rate 0.1 unless given."""
    groups = [
        {"params": [lf.Parameter([0.0], name=f"w{i}")], "lr": lr} for i, lr in enumerate(rates or [0.1])
    ]
    return optim.SGD(groups)


def run_rates(make, steps, rates=(0.1,), backend="numpy"):
    """The rates that a plan uses, step by step: float64 array, shape (steps, groups).

    Args:
        make: Makes the scheduler from the optimizer.
        steps: How many.
        rates: The base rate of each group.
        backend: Which one runs the plan.
    """
    with lf.Graph("rates") as graph:
        optimizer = an_optimizer(*rates)
        scheduler = make(optimizer)
        fetches = {str(i): group["lr"] for i, group in enumerate(optimizer.param_groups)}
        with graph.program("epoch", fetches=fetches):
            scheduler.step()
    session = lf.compile(graph).session(backend=backend)
    fetched = [session.run("epoch") for _ in range(steps)]
    return np.array([[row[str(i)] for i in range(len(rates))] for row in fetched])


def golden_cases(family):
    """The recorded cases of a family."""
    return json.loads((GOLDEN / f"{family}.json").read_text())["cases"]


def described(description, optimizer, module, **more):
    """The scheduler that a recorded case describes; functions are text."""
    args = description["args"] | more
    for name in {"lr_lambda", "scale_fn"} & args.keys():
        text = args[name]
        args[name] = [function(each) for each in text] if isinstance(text, list) else function(text)
    kind, on = getattr(module, description["type"]), [optimizer]
    if "schedulers" in description:
        parts = [described(part, optimizer, module) for part in description["schedulers"]]
        on = [parts] if description["type"] == "ChainedScheduler" else [optimizer, parts]
    elif description.get("inner"):
        on = [described(description["inner"], optimizer, module)]
    return kind(*on, **args)


def function(text):
    """A function of the step, written as an expression."""
    return eval(f"lambda step: {text}")


# --- rates in plain Python, from the formulas ---------------------------------------------------------------


def cosine(share):
    return 0.5 * (1.0 + math.cos(math.pi * share))


def cosine_decay(n, alpha=0.0):
    return lambda b, k: b * ((1 - alpha) * cosine(k / n) + alpha) if k < n else b * alpha


def cosine_wave(n, low=0.0):
    return lambda b, k: low + (b - low) * cosine(k / n)


def staircase(size, gamma=0.1):
    return lambda b, k: b * gamma ** (k // size)


def milestones(steps, gamma=0.1):
    return lambda b, k: b * gamma ** bisect_right(steps, k)


def line(start, end, n):
    return lambda b, k: b * (start + (end - start) * min(k, n) / n)


def polynomial(n, end=1e-4, power=1.0, cycle=False):
    def rate(b, k):
        if cycle:
            k = max(k, 1)
            whole = n * -(-k // n)
        else:
            k, whole = min(k, n), n
        return (b - end) * (1 - k / whole) ** power + end

    return rate


def restarts(first, mult=1, low=0.0, decay=1.0, limit=0):
    def rate(b, k):
        cycle, length = 0, first
        while k >= length:
            k, cycle, length = k - length, cycle + 1, length * mult
        if limit and cycle >= limit:
            return low
        return low + (b * decay**cycle - low) * cosine(k / length)

    return rate


def triangles(low, high, up, down, scale):
    def rate(b, k):
        cycle, within = divmod(k, up + down)
        height = within / up if within <= up else (up + down - within) / down
        return low + (high - low) * height * scale(cycle, k)

    return rate


def one_cycle(turns, curve):
    """Pairs of a step and a rate, and the curve between them."""

    def rate(b, k):
        k = min(k, turns[-1][0])
        for (begin, start), (end, stop) in pairwise(turns):
            if k <= end:
                return curve(start, stop, (k - begin) / (end - begin))
        raise AssertionError("past the last turn")

    return rate


def cosine_between(start, stop, share):
    return stop + (start - stop) * cosine(share)


def linear_between(start, stop, share):
    return start + (stop - start) * share


def warmup_cosine(warm, n, first=0.0, last=0.0, exponent=1.0):
    def rate(b, k):
        if k < warm:
            return b * (first + (1 - first) * k / warm)
        return b * ((1 - last) * cosine(min((k - warm) / (n - warm), 1.0)) ** exponent + last)

    return rate


def warm_up(n, factor, inner, prefix=False, constant=False):
    def rate(b, k):
        if k >= n:
            return inner(b, k - n if prefix else k)
        start, end = b * factor, b if prefix else inner(b, n)
        return start if constant else start + (end - start) * k / n

    return rate


def flat(b, k):
    return b


# --- the table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Specification:
    """A scheduler, and the same in plain Python.

    Attributes:
        kind: The name of its class in ``lazyflow.optim.lr_scheduler``.
        rate: From the base rate and the step to the rate.
        args: The arguments besides the optimizer.
        inner: For compositions: the specifications of what they own.
    """

    kind: str
    rate: object
    args: dict = field(default_factory=dict)
    inner: tuple = ()

    def make(self, optimizer, **more):
        """The scheduler."""
        kind, args = getattr(lr_scheduler, self.kind), self.args | more
        option = {"option": more["option"]} if "option" in more else {}
        parts = [part.make(optimizer, **option) for part in self.inner]
        if self.kind == "ChainedScheduler":
            return kind(parts, **args)
        if self.kind == "SequentialLR":
            return kind(optimizer, parts, **args)
        return kind(parts[0] if parts else optimizer, **args)

    def __str__(self):
        inner = "".join(f"{part}, " for part in self.inner)
        return f"{self.kind}({inner}{', '.join(f'{k}={v}' for k, v in self.args.items())})"


S = Specification
STEP = S("StepLR", staircase(3, 0.5), {"step_size": 3, "gamma": 0.5})
DECAY = S("CosineDecayLR", cosine_decay(12, 0.2), {"decay_steps": 12, "alpha": 0.2})
EXPONENTIAL = S("ExponentialLR", lambda b, k: b * 0.9**k, {"gamma": 0.9})
CONSTANT = S("ConstantLR", lambda b, k: b * 0.5 if k < 4 else b, {"factor": 0.5, "total_iters": 4})

PLAIN = [
    STEP,
    DECAY,
    EXPONENTIAL,
    CONSTANT,
    S("StepLR", staircase(30), {"step_size": 30}),
    S("CosineAnnealingLR", cosine_decay(20), {"steps": 20}),
    S("CosineAnnealingLR", cosine_decay(7, 0.1), {"steps": 7, "alpha": 0.1}),
    S("CosineAnnealingLR", cosine_decay(1, 1.0), {"steps": 1, "alpha": 1.0}),
    S("CosineDecayLR", cosine_decay(9), {"decay_steps": 9}),
    S("CosineLR", cosine_wave(8), {"T_max": 8}),
    S("CosineLR", cosine_wave(5, 0.01), {"T_max": 5, "eta_min": 0.01}),
    S("MultiStepLR", milestones([3, 7, 20], 0.5), {"milestones": [3, 7, 20], "gamma": 0.5}),
    S("MultiStepLR", milestones([0, 2]), {"milestones": (0, 2)}),
    S("MultiStepLR", flat, {"milestones": []}),
    S("ExponentialLR", lambda b, k: b * 1.1**k, {"gamma": 1.1}),
    S("ConstantLR", lambda b, k: b / 3 if k < 5 else b),
    S("ConstantLR", flat, {"total_iters": 0}),
    S("LinearLR", line(1 / 3, 1.0, 5)),
    S("LinearLR", line(1.0, 0.0, 6), {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 6}),
    S("PolynomialLR", polynomial(10), {"decay_batch": 10}),
    S("PolynomialLR", polynomial(10, 0.0, 2.0), {"decay_batch": 10, "end_learning_rate": 0, "power": 2}),
    S("PolynomialLR", polynomial(4, 0.01, 0.5, True), {"decay_batch": 4, "end_learning_rate": 0.01}
      | {"power": 0.5, "cycle": True}),
    S("CosineAnnealingWarmRestarts", restarts(5), {"T_0": 5}),
    S("CosineAnnealingWarmRestarts", restarts(1, 3), {"T_0": 1, "T_mult": 3}),
    S("CosineAnnealingWarmRestarts", restarts(3, 2, 0.01, 0.5, 2), {"T_0": 3, "T_mult": 2, "eta_min": 0.01}
      | {"decay_rate": 0.5, "restart_limit": 2}),
    S("CosineAnnealingWarmRestarts", restarts(4, 1, 0.0, 0.9, 3), {"T_0": 4, "decay_rate": 0.9}
      | {"restart_limit": 3}),
    S("LambdaLR", lambda b, k: b * 0.95**k, {"lr_lambda": lambda step: 0.95**step}),
    S("LambdaLR", lambda b, k: b * (k // 30), {"lr_lambda": lambda step: step // 30}),
    S("MultiplicativeLR", lambda b, k: b * 0.95**k, {"lr_lambda": lambda step: 0.95}),
    S("MultiplicativeLR", lambda b, k: b * math.prod(1 - j / 100 for j in range(1, min(k, 19) + 1)),
      {"lr_lambda": lambda step: 1 - step / 100, "steps": 20}),
    S("CyclicLR", triangles(0.01, 0.1, 4, 4, lambda i, k: 1.0), {"base_lr": 0.01, "max_lr": 0.1}
      | {"step_size_up": 4}),
    S("CyclicLR", triangles(0.01, 0.1, 2, 5, lambda i, k: 0.5**i), {"base_lr": 0.01, "max_lr": 0.1}
      | {"step_size_up": 2, "step_size_down": 5, "mode": "triangular2"}),
    S("CyclicLR", triangles(0.01, 0.1, 3, 3, lambda i, k: 0.99**k), {"base_lr": 0.01, "max_lr": 0.1}
      | {"step_size_up": 3, "mode": "exp_range", "gamma": 0.99}),
    S("CyclicLR", triangles(0.01, 0.1, 3, 3, lambda i, k: 1 / (i + 1)), {"base_lr": 0.01, "max_lr": 0.1}
      | {"step_size_up": 3, "scale_fn": lambda cycle: 1 / cycle}),
    S("OneCycleLR", one_cycle([(0, 0.04), (2, 1.0), (9, 4e-6)], cosine_between), {"max_lr": 1.0}
      | {"total_steps": 10}),
    S("OneCycleLR", one_cycle([(0, 0.5), (3, 1.0), (6, 0.5), (15, 0.05)], linear_between), {"max_lr": 1.0}
      | {"epochs": 4, "steps_per_epoch": 4, "pct_start": 0.25, "anneal_strategy": "linear"}
      | {"div_factor": 2, "final_div_factor": 10, "three_phase": True}),
    S("OneCycleLR", one_cycle([(-0.4, 1.0), (1, 4e-6)], cosine_between), {"max_lr": 1.0, "total_steps": 2}),
    S("OneCycleLR", one_cycle([(0, 1.0), (9, 4e-6)], cosine_between), {"max_lr": 1, "total_steps": 10}
      | {"pct_start": 0.1}),
    S("WarmupCosineLR", warmup_cosine(3, 12), {"warmup_steps": 3, "decay_steps": 12}),
    S("WarmupCosineLR", warmup_cosine(0, 12, 0.5, 0.1, 2.0), {"warmup_steps": 0, "decay_steps": 12}
      | {"init_factor": 0.5, "alpha": 0.1, "exponent": 2.0}),
]  # fmt: skip
COMPOSED = [
    S("WarmUpLR", warm_up(5, 1 / 3, flat)),
    S("WarmUpLR", warm_up(4, 0.2, DECAY.rate), {"warmup_factor": 0.2, "warmup_iters": 4}, (DECAY,)),
    S("WarmUpLR", warm_up(4, 0.2, STEP.rate, prefix=True), {"warmup_factor": 0.2, "warmup_iters": 4}
      | {"warmup_prefix": True}, (STEP,)),
    S("WarmUpLR", warm_up(4, 0.2, STEP.rate, constant=True), {"warmup_factor": 0.2, "warmup_iters": 4}
      | {"warmup_method": "constant"}, (STEP,)),
    S("WarmUpLR", STEP.rate, {"warmup_iters": 0}, (STEP,)),
    S("SequentialLR", lambda b, k: CONSTANT.rate(b, k) if k < 3 else EXPONENTIAL.rate(b, k - 3),
      {"milestones": [3]}, (CONSTANT, EXPONENTIAL)),
    S("SequentialLR", lambda b, k: (STEP.rate(b, k) if k < 4 else DECAY.rate(b, k if k < 9 else k - 9)),
      {"milestones": [4, 9], "global_steps": True, "interval_rescaling": [False, True]}, (STEP, DECAY, DECAY),
    ),
    S("ChainedScheduler", lambda b, k: EXPONENTIAL.rate(CONSTANT.rate(b, k), k), {}, (CONSTANT, EXPONENTIAL)),
]  # fmt: skip
SPECIFICATIONS = [*PLAIN, *COMPOSED]
