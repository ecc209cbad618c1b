"""One table of all functions: arguments, and the value in NumPy or SciPy, never in lazyflow.

``test_functions.py`` runs each row on the backends, against the interpreter and against central differences.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

import lazyflow as lf


@dataclass
class Case:
    """A call of a function: arrays (or lists of them) by position, all else by name."""

    function: Callable[..., Any]
    arguments: list[Any]
    reference: Callable[..., Any]  # of the same arrays
    options: dict[str, Any] = field(default_factory=dict)
    gradient: bool = True  # checked where arguments and results are floating

    def __str__(self) -> str:
        sizes = "_".join("x".join(map(str, a.shape)) or "scalar" for a in flat(self.arguments))
        options = "_".join(f"{name}={value}" for name, value in self.options.items())
        return "-".join(part for part in (self.function.__name__, sizes, options) if part)


def case(function, arguments, reference, gradient=True, **options):
    return Case(function, arguments, reference, options, gradient)


def flat(arguments):
    return [a for each in arguments for a in (each if isinstance(each, list) else [each])]


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def positive(*shape, seed=0):
    return np.exp(normal(*shape, seed=seed))


def apart(*shape, seed=0):
    """No element near an integer or a half, and no two near each other: away from all kinks."""
    count = math.prod(shape)
    values = np.arange(count) - count // 2 + 0.27
    return np.random.default_rng([seed, *shape]).permutation(values).reshape(shape)


def integers(low, high, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).integers(low, high, shape)


def bools(*shape, seed=0):
    return integers(0, 2, *shape, seed=seed).astype(bool)


def erf(x):
    return scipy.special.erf(x)


A, B, ROW, COLUMN = normal(3, 4), normal(3, 4, seed=1), normal(4, seed=2), normal(3, 1, seed=3)
M, N = integers(-9, 10, 3, 4), integers(1, 5, 3, 4, seed=1)
P, Q = bools(3, 4), bools(3, 4, seed=1)

ARITHMETIC = [
    case(lf.add, [A, B], np.add),
    case(lf.add, [A, ROW], np.add),
    case(lf.add, [COLUMN, ROW], np.add),
    case(lf.add, [M, N], np.add),
    case(lf.add, [P, Q], lambda p, q: p.astype(int) + q),
    case(lf.sub, [ROW, A], np.subtract),
    case(lf.sub, [P, M], lambda p, m: p.astype(int) - m),
    case(lf.mul, [A, COLUMN], np.multiply),
    case(lf.mul, [A, normal()], np.multiply),
    case(lf.div, [A, positive(4)], np.divide),
    case(lf.div, [M, N], np.divide),
    case(lf.floor_div, [apart(3, 4), np.array(3.0)], np.floor_divide),
    case(lf.floor_div, [M, N], np.floor_divide),
    case(lf.floor_div, [M, M * 0], lambda m, z: z),
    case(lf.mod, [apart(3, 4), np.array(2.5)], np.mod),
    case(lf.mod, [M, -N], np.mod),
    case(lf.mod, [M, M * 0], lambda m, z: z),
    case(lf.pow, [positive(3, 4), B], np.power),
    case(lf.pow, [A], np.square, b=2),
    case(lf.pow, [A], lambda x: x**3, b=3),
    case(lf.pow, [positive(3, 4)], lambda x: x**-1.5, b=-1.5),
    case(lf.pow, [M, N], np.power),
    case(lf.pow, [np.array([-1, 1, 2, 0])], lambda x: np.array([-1, 1, 0, 0]), b=-3),
    case(lf.minimum, [A, B], np.minimum),
    case(lf.minimum, [M, N], np.minimum),
    case(lf.maximum, [A, ROW], np.maximum),
    case(lf.maximum, [P, Q], np.maximum),
    case(lf.neg, [A], np.negative),
    case(lf.neg, [P], lambda p: -p.astype(int)),
    case(lf.abs, [A], np.abs),
    case(lf.abs, [M], np.abs),
    case(lf.sign, [A], np.sign),
    case(lf.sign, [M], np.sign),
    case(lf.square, [A], np.square),
    case(lf.square, [M], np.square),
    case(lf.clip, [A], lambda x: np.clip(x, -0.5, 0.5), low=-0.5, high=0.5),
    case(lf.clip, [A], lambda x: np.clip(x, None, 0.5), high=0.5),
    case(lf.clip, [A, np.array(-0.4), positive(4)], np.clip),
    case(lf.clip, [M], lambda m: np.clip(m, -2, 2), low=-2, high=2),
]

REAL = [
    case(lf.exp, [A], np.exp),
    case(lf.exp, [M], np.exp),
    case(lf.expm1, [A * 1e-3], np.expm1),
    case(lf.log, [positive(3, 4)], np.log),
    case(lf.log1p, [positive(3, 4) * 1e-3], np.log1p),
    case(lf.sqrt, [positive(3, 4)], np.sqrt),
    case(lf.sqrt, [N], np.sqrt),
    case(lf.rsqrt, [positive(3, 4)], lambda x: 1 / np.sqrt(x)),
    case(lf.tanh, [A], np.tanh),
    case(lf.erf, [A], erf),
    case(lf.sin, [A], np.sin),
    case(lf.cos, [A], np.cos),
    case(lf.sigmoid, [A * 5], scipy.special.expit),
    case(lf.sigmoid, [np.array([0.0, -0.0, -80.0, 80.0])], scipy.special.expit),
    case(lf.floor, [apart(3, 4)], np.floor),
    case(lf.floor, [M], np.floor),
    case(lf.ceil, [apart(3, 4)], np.ceil),
    case(lf.round, [apart(3, 4)], np.round),
    case(lf.round, [np.array([0.5, 1.5, 2.5, -0.5, -1.5])], np.round, gradient=False),  # at its jumps
]

LOGIC = [
    case(lf.eq, [M, N], np.equal),
    case(lf.ne, [M, N], np.not_equal),
    case(lf.lt, [A, B], np.less),
    case(lf.le, [M, N], np.less_equal),
    case(lf.gt, [A, ROW], np.greater),
    case(lf.ge, [M, N], np.greater_equal),
    case(lf.eq, [P, M], np.equal),
    case(lf.logical_and, [P, Q], np.logical_and),
    case(lf.logical_or, [P, Q], np.logical_or),
    case(lf.logical_not, [P], np.logical_not),
    case(lf.isfinite, [np.array([1.0, np.inf, -np.inf, np.nan])], np.isfinite),
    case(lf.isfinite, [M], np.isfinite),
    case(lf.where, [P, A, B], np.where),
    case(lf.where, [P, COLUMN, ROW], np.where),
    case(lf.where, [P, M, N], np.where),
    case(lf.cast, [A * 5], np.trunc, dtype=lf.int32),
    case(lf.cast, [M], lambda m: m != 0, dtype=lf.bool_),
    case(lf.cast, [np.array([np.nan, 1e30, -1e30])], lambda x: [0, 127, -128], dtype="int8"),
    case(lf.cast, [A], lambda x: x.astype(np.float32), dtype=np.float32, gradient=False),  # rounds
]

T = normal(2, 3, 4)
EQUAL = np.array([[2.0, 2.0, 1.0], [0.5, 3.0, 3.0]])

REDUCTION = [
    case(lf.sum, [T], np.sum),
    case(lf.sum, [T], lambda x: x.sum((0, 2)), axis=(0, -1)),
    case(lf.sum, [T], lambda x: x.sum(1, keepdims=True), axis=1, keepdims=True),
    case(lf.sum, [M], np.sum),
    case(lf.sum, [P], lambda p: p.sum(0), axis=0),
    case(lf.sum, [normal()], np.sum),
    case(lf.mean, [T], np.mean),
    case(lf.mean, [T], lambda x: x.mean((1, 2)), axis=[1, 2]),
    case(lf.mean, [M], lambda m: m.mean(0, keepdims=True), axis=0, keepdims=True),
    case(lf.mean, [P], np.mean),
    case(lf.max, [T], np.max),
    case(lf.max, [T], lambda x: x.max((0, 1)), axis=(0, 1)),
    case(lf.max, [M], lambda m: m.max(1), axis=1),
    case(lf.max, [np.array([1.0, np.nan, 2.0])], np.max, gradient=False),
    case(lf.min, [T], lambda x: x.min(-1, keepdims=True), axis=-1, keepdims=True),
    case(lf.min, [M], np.min),
    case(lf.argmax, [T], np.argmax),
    case(lf.argmax, [T], lambda x: x.argmax(1), axis=1),
    case(lf.argmax, [EQUAL], lambda x: [[0], [1]], axis=-1, keepdims=True),
    case(lf.argmax, [T], lambda x: np.argmax(x, keepdims=True), keepdims=True),
    case(lf.argmax, [np.array([1.0, np.nan, 2.0, np.nan])], np.argmax),
    case(lf.var, [T], np.var),
    case(lf.var, [T], lambda x: x.var((0, 2), ddof=1), axis=(0, 2), ddof=1),
    case(lf.var, [M], lambda m: m.var(1, keepdims=True), axis=1, keepdims=True),
    case(lf.logsumexp, [T], scipy.special.logsumexp),
    case(lf.logsumexp, [T * 300], lambda x: scipy.special.logsumexp(x, 1), axis=1),
    case(
        lf.logsumexp,
        [T],
        lambda x: scipy.special.logsumexp(x, (0, 2), keepdims=True),
        axis=(0, 2),
        keepdims=True,
    ),
    case(lf.logsumexp, [np.full((2, 3), -np.inf)], lambda x: [-np.inf, -np.inf], axis=1, gradient=False),
]

PRODUCTS = [
    case(lf.matmul, [normal(3, 4), normal(4, 5)], np.matmul),
    case(lf.matmul, [normal(4), normal(4, seed=1)], np.matmul),
    case(lf.matmul, [normal(4), normal(4, 5)], np.matmul),
    case(lf.matmul, [normal(3, 4), normal(4)], np.matmul),
    case(lf.matmul, [normal(2, 3, 4), normal(4, 5)], np.matmul),
    case(lf.matmul, [normal(2, 3, 4), normal(4)], np.matmul),
    case(lf.matmul, [normal(3, 4), normal(2, 4, 5)], np.matmul),
    case(lf.matmul, [normal(4), normal(2, 4, 5)], np.matmul),
    case(lf.matmul, [normal(6, 1, 3, 4), normal(2, 4, 5)], np.matmul),
]


def item(index):
    """A function that indexes, so that the table can name it."""

    def getitem(x):
        return x[index]

    return getitem


def picked(index):
    return Case(item(index), [T], item(index), {})


SHAPING = [
    case(lf.reshape, [T], lambda x: x.reshape(6, 4), shape=(6, 4)),
    case(lf.reshape, [T], lambda x: x.reshape(4, -1), shape=(4, -1)),
    case(lf.reshape, [T], np.ravel, shape=-1),
    case(lf.transpose, [T], np.transpose),
    case(lf.transpose, [T], lambda x: x.transpose(1, 2, 0), axes=(1, -1, 0)),
    case(lf.swapaxes, [T], lambda x: x.swapaxes(0, 2), a=0, b=-1),
    case(lf.broadcast_to, [ROW], lambda x: np.broadcast_to(x, (2, 3, 4)), shape=(2, 3, 4)),
    case(lf.broadcast_to, [COLUMN], lambda x: np.broadcast_to(x, (3, 4)), shape=(3, 4)),
    case(lf.expand_dims, [A], lambda x: x[:, None], axis=1),
    case(lf.expand_dims, [A], lambda x: x[None, :, :, None], axis=(0, -1)),
    case(lf.squeeze, [normal(1, 3, 1)], np.squeeze),
    case(lf.squeeze, [normal(1, 3, 1)], lambda x: x[0], axis=0),
    case(lf.concat, [[A, ROW[None]]], np.concatenate),
    case(lf.concat, [[A, COLUMN, B]], lambda xs: np.concatenate(xs, 1), axis=-1),
    case(lf.concat, [[A, M[:1]]], np.concatenate),
    case(lf.concat, [[A]], np.concatenate),
    case(lf.stack, [[A, B]], np.stack),
    case(lf.stack, [[A, B, A]], lambda xs: np.stack(xs, -1), axis=-1),
    case(lf.split, [T], lambda x: np.split(x, 2), parts=2),
    case(lf.split, [T], lambda x: np.split(x, [1], 2), parts=(1, 3), axis=-1),
    case(lf.pad, [A], lambda x: np.pad(x, ((1, 2), (0, 3))), widths=((1, 2), (0, 3))),
    case(lf.pad, [A], lambda x: np.pad(x, 2, constant_values=-1.5), widths=2, value=-1.5),
    case(lf.pad, [M], lambda m: np.pad(m, (1, 0), constant_values=7), widths=(1, 0), value=7),
    case(lf.stop_gradient, [A], lambda x: x, gradient=False),  # that is its purpose
    case(lf.full, [], lambda: np.full((2, 3), 7), shape=(2, 3), value=7),
    case(lf.full, [], lambda: np.full(3, 0.5), shape=3, value=0.5),
    case(lf.zeros, [], lambda: np.zeros((2, 3)), shape=(2, 3)),
    case(lf.ones, [], lambda: np.ones(3, bool), shape=(3,), dtype=lf.bool_),
    case(lf.full_like, [A], lambda x: np.full_like(x, 2.5), value=2.5, gradient=False),
    case(lf.zeros_like, [M], np.zeros_like),
    case(lf.ones_like, [A], lambda x: np.ones((3, 4)), dtype=lf.int32),
    case(lf.iota, [], lambda: np.arange(5), shape=5),
    case(lf.iota, [], lambda: np.indices((2, 3))[1], shape=(2, 3), axis=-1, dtype=lf.float32),
    case(lf.arange, [], lambda: np.arange(5), start=5),
    case(lf.arange, [], lambda: np.arange(7, -2, -3), start=7, stop=-2, step=-3),
    case(lf.arange, [], lambda: np.arange(0.5, 2, 0.25), start=0.5, stop=2, step=0.25),
    case(lf.size, [A], lambda x: 4, axis=-1),
    case(lf.size, [A], np.size),
    *map(
        picked,
        [
            0,
            -1,
            slice(None),
            slice(1, None),
            (slice(None), slice(None, None, 2)),
            (slice(None), slice(None, None, -1), slice(3, 0, -2)),
            (0, slice(None), -1),
            (..., 1),
            (None, 1, ..., None, slice(1, 3)),
            (1, 2, 3),
            (slice(-1, None), slice(-2, None, 5)),
        ],
    ),
]

INDEX = integers(0, 3, 2, 5)

INDEXING = [
    case(lf.take, [T, INDEX], lambda x, i: np.take(x, i, 1), axis=1),
    case(lf.take, [T, INDEX], np.take),
    case(lf.take, [T, np.array(2)], lambda x, i: x[:, :, 2], axis=-1),
    case(lf.take, [M, integers(0, 3, 7)], lambda x, i: x[i], axis=0),
    case(lf.gather, [T, integers(0, 4, 2, 3, 6)], lambda x, i: np.take_along_axis(x, i, -1)),
    case(lf.gather, [T, integers(0, 2, 5, 3, 4)], lambda x, i: np.take_along_axis(x, i, 0), axis=0),
    case(lf.one_hot, [INDEX], lambda i: np.eye(4)[i], size=4),
    case(lf.one_hot, [INDEX], lambda i: np.eye(3, dtype=bool)[i], size=3, dtype=lf.bool_),
    case(lf.check_index, [INDEX], lambda i: i, size=3),
]

CASES = [*ARITHMETIC, *REAL, *LOGIC, *REDUCTION, *PRODUCTS, *SHAPING, *INDEXING]
