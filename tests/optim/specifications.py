"""One table of all optimizers: how each is made, and the loop that it has to equal."""

from dataclasses import dataclass, field
from functools import partial

from lazyflow import optim
from optim import papers


@dataclass(frozen=True)
class Specification:
    """An optimizer with options, and the same by a plain loop.

    Attributes:
        kind: Its class.
        loop: The loop, which takes the same options.
        options: The options.
        prepare: What the optimizer does to a gradient before the loop sees it.
    """

    kind: type
    loop: object
    options: dict = field(default_factory=dict)

    def make(self, parameters):
        """The optimizer of parameters."""
        return self.kind(parameters, **self.options)

    def __str__(self):
        module = self.kind.__module__.split(".")[-2]
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{module}.{self.kind.__name__}({options})"


def each(kind, loop, *options):
    """A specification for each set of options, the defaults first."""
    return [Specification(kind, loop, dict(some)) for some in ({}, *options)]


MOMENTUM = [
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "weight_decay": 0.2},
]
MOMENTS = [
    {"lr": 0.02, "betas": (0.8, 0.9)},
    {"lr": 0.02, "amsgrad": True, "betas": (0.5, 0.6)},
    {"lr": 0.02, "weight_decay": 0.1, "eps": 1e-3},
    {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1},
]
SQUARES = [
    {"lr": 0.02, "alpha": 0.9, "eps": 1e-2},
    {"lr": 0.02, "centered": True, "eps": 1e-3},
    {"lr": 0.02, "weight_decay": 0.1},
]
VELOCITY = [
    {"lr": 0.02, "momentum": 0.9},
    {"lr": 0.02, "momentum": 0.5, "centered": True, "weight_decay": 0.1, "eps": 1e-2},
]

uncorrected_adam = partial(papers.adam, corrected=False)
uncorrected_adamw = partial(papers.adamw, corrected=False)
adamw_pytorch = lambda *args, weight_decay=0.01, **options: papers.adamw(  # noqa: E731
    *args, weight_decay=weight_decay, **options
)
rmsprop_pytorch = lambda *args, lr=0.01, **options: papers.rmsprop(  # noqa: E731
    *args, lr=lr, outside=True, **options
)

SUMS = [
    {"lr": 0.1, "lr_decay": 0.1},
    {"lr": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
]
DELTAS = [{"rho": 0.5}, {"lr": 0.5, "eps": 1e-3, "weight_decay": 0.1}]
NORMS = [
    {"lr": 0.02, "weight_decay": 0.1},
    {"lr": 0.02, "weight_decay": 0.1, "adam_w_mode": False},
    {"lr": 0.02, "do_bias_correction": False, "betas": (0.8, 0.9), "eps": 1e-3},
]
DECOUPLED = {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}
PLAIN_MOMENTS = [{"lr": 0.02, "betas": (0.8, 0.9)}, {"lr": 0.02, "eps": 1e-3, "weight_decay": 0.1}]

MOMENTA = [
    {"lr": 0.02, "betas": (0.8, 0.9), "momentum_decay": 0.1},
    {"lr": 0.02, "weight_decay": 0.1, "eps": 1e-3},
    DECOUPLED,
]
LEADERS = [
    {"lr": 0.5, "l1": 2.0, "l2": 0.5, "beta": 1.0},
    {"lr": 0.5, "lr_power": -0.7, "initial_accumulator_value": 0.0, "weight_decay": 0.1},
]
FACTORS = [
    {"lr": 0.2, "beta2_decay": -0.5, "weight_decay": 0.1},
    {"lr": 0.05, "d": 1.5, "eps": (0.1, 0.5)},
]
MATRICES = [
    {"lr": 0.02, "weight_decay": 0.1, "nesterov": False, "momentum": 0.5},
    {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3, "eps": 0.1},
]
AVERAGES = [
    {"lr": 0.02, "weight_decay": 0.1, "eps": 1e-3},
    {"lr": 0.02, "betas": (0.5, 0.9), "warmup_steps": 20.0},
]

lamb_oneflow = partial(papers.lamb, oneflow=True)
adafactor_pytorch = lambda *args, eps=(2.0**-23, 1e-3), **options: papers.adafactor(  # noqa: E731
    *args, eps=eps, pytorch=True, **options
)
muon_pytorch = lambda *args, weight_decay=0.1, **options: papers.muon(  # noqa: E731
    *args, weight_decay=weight_decay, **options
)
adagrad_pytorch = lambda *args, lr=0.01, **options: papers.adagrad(*args, lr=lr, **options)  # noqa: E731

SPECIFICATIONS = [
    *each(optim.SGD, papers.sgd, *MOMENTUM),
    *each(optim.Adam, uncorrected_adam, *MOMENTS),
    *each(optim.AdamW, uncorrected_adamw, *MOMENTS),
    *each(optim.RMSprop, papers.rmsprop, *SQUARES, *VELOCITY),
    *each(
        optim.oneflow.SGD,
        papers.sgd_oneflow,
        *MOMENTUM,
        {"lr": 0.1, "momentum": 0.7, "dampening": 0.3, "nesterov": True},
    ),
    *each(optim.oneflow.Adam, papers.adam, *MOMENTS),
    *each(optim.oneflow.AdamW, papers.adamw, *MOMENTS),
    *each(optim.oneflow.RMSprop, papers.rmsprop, *SQUARES),
    *each(optim.Adagrad, papers.adagrad, *SUMS),
    *each(optim.Adadelta, papers.adadelta, *DELTAS),
    *each(optim.LAMB, papers.lamb, *NORMS),
    *each(optim.LARS, papers.lars, {"lr": 1.0, "weight_decay": 0.1, "momentum": 0.5, "eps": 1e-3}),
    *each(optim.Adamax, papers.adamax, *PLAIN_MOMENTS),
    *each(optim.RAdam, papers.radam, *PLAIN_MOMENTS, DECOUPLED),
    *each(optim.Lion, papers.lion, {"lr": 0.02, "betas": (0.5, 0.9), "weight_decay": 0.1}),
    *each(optim.Adan, papers.adan, {"lr": 0.02, "betas": (0.9, 0.8, 0.9)}, {"weight_decay": 0.1, "eps": 0.1}),
    *each(optim.NAdam, papers.nadam, *MOMENTA),
    *each(optim.Ftrl, papers.ftrl, *LEADERS),
    *each(optim.Adafactor, papers.adafactor, *FACTORS),
    *each(optim.Muon, papers.muon, *MATRICES, {"lr": 0.02, "orthogonalize": False, "betas": (0.8, 0.9)}),
    *each(optim.ScheduleFreeAdamW, papers.schedule_free_adamw, *AVERAGES),
    *each(optim.oneflow.Adagrad, papers.adagrad, *SUMS),
    *each(optim.oneflow.Adadelta, papers.adadelta, *DELTAS),
    *each(optim.oneflow.LAMB, lamb_oneflow, *NORMS),
    *each(optim.pytorch.Adagrad, adagrad_pytorch, *SUMS),
    *each(optim.pytorch.Adadelta, papers.adadelta, *DELTAS),
    *each(optim.pytorch.Adamax, papers.adamax, *PLAIN_MOMENTS),
    *each(optim.pytorch.RAdam, papers.radam, *PLAIN_MOMENTS, DECOUPLED),
    *each(optim.pytorch.NAdam, papers.nadam, *MOMENTA),
    *each(optim.pytorch.Adafactor, adafactor_pytorch, *FACTORS),
    *each(optim.pytorch.Muon, muon_pytorch, *MATRICES),
    *each(optim.pytorch.SGD, papers.sgd_pytorch, *MOMENTUM),
    *each(optim.pytorch.Adam, papers.adam, *MOMENTS),
    *each(optim.pytorch.AdamW, adamw_pytorch, *MOMENTS),
    *each(optim.pytorch.RMSprop, rmsprop_pytorch, *SQUARES, *VELOCITY),
]
