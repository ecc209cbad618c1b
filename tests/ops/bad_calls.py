"""Calls that each function refuses: shapes, axes and dtypes that do not fit, and how the message begins."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import lazyflow as lf


@dataclass
class BadCall:
    """A call, to be made in an open graph, and what it raises."""

    function: Callable[..., Any]
    call: Callable[[], Any]
    error: type[Exception]
    starts: str

    def __str__(self) -> str:
        return self.starts.partition("\n")[0]


names = count()


def x(*shape, dtype=lf.float32):
    return lf.placeholder(f"x{next(names)}", shape, dtype)


def b(*shape):
    return x(*shape, dtype=lf.bool_)


def i(*shape):
    return x(*shape, dtype=lf.int64)


BINARY = [lf.add, lf.sub, lf.mul, lf.div, lf.floor_div, lf.mod, lf.pow, lf.minimum, lf.maximum]
COMPARISON = [lf.eq, lf.ne, lf.lt, lf.le, lf.gt, lf.ge]
LOGICAL = [lf.logical_and, lf.logical_or]
REDUCTIONS = [lf.sum, lf.mean, lf.max, lf.min, lf.argmax, lf.var, lf.logsumexp]


def misfit(f):
    name = f.__name__.removesuffix("_")
    return BadCall(
        f, lambda: f(x(3, 4), x(3)), lf.ShapeError, f"{name}: shapes do not broadcast: (3, 4) and (3,)"
    )


def no_axis(f):
    text = f"{f.__name__}: axis 2 is not an axis of a tensor of rank 2"
    return BadCall(f, lambda: f(x(3, 4), axis=2), lf.ShapeError, text)


def shape(function, call, starts):
    return BadCall(function, call, lf.ShapeError, starts)


def dtype(function, call, starts):
    return BadCall(function, call, lf.DTypeError, starts)


def argument(function, call, starts):
    return BadCall(function, call, lf.ArgumentError, starts)


ELEMENTWISE = [
    *map(misfit, [*BINARY, *COMPARISON]),
    *(dtype(f, lambda f=f: f(x(3), b(3)), f"{f.__name__}: dtypes differ: float32, bool") for f in LOGICAL),
    *(dtype(f, lambda f=f: f(x(3), x(3)), f"{f.__name__}: float32 is not accepted") for f in LOGICAL),
    shape(lf.add, lambda: x("n") + x("m"), 'add: shapes do not broadcast: ("n",) and ("m",)'),
    shape(lf.add, lambda: x("n") + x(2), 'add: shapes do not broadcast: ("n",) and (2,)'),
    argument(lf.add, lambda: lf.add(x(2), "1"), "add: '1' is no operand"),
    argument(lf.sub, lambda: x(2) - None, "sub: None is no operand"),
    argument(lf.mul, lambda: x(2) * 1j, "mul: 1j is no operand"),
    dtype(lf.add, lambda: x(2, dtype=lf.uint8) + 256, "number: uint8 does not hold 256"),
    dtype(lf.add, lambda: i(2) + 2**63, "number: int64 does not hold 9223372036854775808"),
    shape(lf.clip, lambda: lf.clip(x(3, 4), x(3), 1.0), "lt: shapes do not broadcast: (3, 4) and (3,)"),
    dtype(lf.where, lambda: lf.where(x(3), x(3), 0.0), "where: float32 is not accepted; expected a bool"),
    shape(lf.where, lambda: lf.where(b(3, 4), x(3), x(3)), "where: shapes do not broadcast: (3, 4) and (3,)"),
    dtype(lf.cast, lambda: lf.cast(x(3), "complex64"), "dtype: 'complex64' is not an element type"),
]

REDUCTION = [
    *map(no_axis, REDUCTIONS),
    shape(lf.sum, lambda: x(3, 4).sum((0, -2)), "sum: axis (0, -2) names an axis twice"),
    shape(lf.max, lambda: lf.max(x(), axis=0), "max: axis 0 is not an axis of a tensor of rank 0"),
    argument(lf.mean, lambda: x(3).mean("batch"), "mean: axis 'batch' is no integer"),
    argument(lf.sum, lambda: x(3).sum(True), "sum: axis True is no integer"),
    argument(lf.argmax, lambda: x(3).argmax((0,)), "argmax: axis (0,) is no integer"),
    argument(lf.var, lambda: x(3).var(ddof=-1), "var: ddof -1 is out of range"),
]

INNER = 'matmul: inner dimensions differ: a is ("batch", 784), b is (128, 784)'

PRODUCTS = [
    shape(lf.matmul, lambda: x("batch", 784) @ x(128, 784), INNER),
    shape(lf.matmul, lambda: x(3) @ x(4), "matmul: inner dimensions differ: a is (3,), b is (4,)"),
    shape(lf.matmul, lambda: x(3, 4) @ 2.0, "matmul: a scalar is no matrix: a is (3, 4), b is ()"),
    shape(lf.matmul, lambda: x(2, 3, 4) @ x(5, 4, 3), "matmul: batch axes do not broadcast"),
    dtype(lf.matmul, lambda: i(3, 4) @ i(4, 3), "matmul: int64 is no floating type"),
]

SHAPING = [
    shape(lf.reshape, lambda: x(3, 4).reshape(5, -1), "reshape: (3, 4) does not divide into (5, -1)"),
    shape(lf.reshape, lambda: x("n", 3).reshape(-1, 2), 'reshape: ("n", 3) does not divide into (-1, 2)'),
    shape(lf.reshape, lambda: x(3, 4).reshape(-1, -1), "reshape: (-1, -1) has more than one -1"),
    shape(lf.reshape, lambda: x(3, 4).reshape(2, 5), "reshape: (3, 4) has 12 elements, (2, 5) has 10"),
    shape(lf.reshape, lambda: x(3).reshape(0, 3), "reshape: 0 in shape (0, 3) is no size"),
    shape(lf.transpose, lambda: x(3, 4).transpose(0, 0), "transpose: axes (0, 0) are not a permutation"),
    shape(lf.transpose, lambda: x(3, 4).transpose(0, 2), "transpose: axis 2 is not an axis"),
    shape(lf.swapaxes, lambda: lf.swapaxes(x(3, 4), 0, 2), "swapaxes: axis 2 is not an axis"),
    shape(lf.broadcast_to, lambda: lf.broadcast_to(x(3), (3, 4)), "broadcast_to: shapes do not broadcast"),
    shape(lf.broadcast_to, lambda: lf.broadcast_to(x(3), 1), "broadcast_to: (3,) does not broadcast to (1,)"),
    shape(lf.expand_dims, lambda: lf.expand_dims(x(3), 2), "expand_dims: axis 2 is not an axis"),
    shape(lf.squeeze, lambda: lf.squeeze(x(3, 1), 0), "squeeze: axis 0 of (3, 1) is not of size 1"),
    shape(lf.concat, lambda: lf.concat([x(3, 4), x(3)]), "concat: shapes differ outside of axis 0"),
    shape(lf.concat, lambda: lf.concat([x(), x()]), "concat: axis 0 is not an axis of a tensor of rank 0"),
    argument(lf.concat, lambda: lf.concat([]), "concat: [] is no list of tensors"),
    argument(lf.concat, lambda: lf.concat(x(3)), "concat: <Tensor"),
    shape(lf.stack, lambda: lf.stack([x(3), x(4)]), "stack: shapes differ: (3,) and (4,)"),
    shape(lf.split, lambda: lf.split(x(3, 4), 3, 1), "split: 3 does not make up axis 1 of (3, 4)"),
    shape(lf.split, lambda: lf.split(x(3, 4), (1, 2), 1), "split: (1, 2) does not make up axis 1 of (3, 4)"),
    shape(lf.split, lambda: lf.split(x("n", 4), 2), 'split: 2 does not make up axis 0 of ("n", 4)'),
    argument(lf.split, lambda: lf.split(x(4), 2.0), "split: 2.0 is no number of parts"),
    argument(lf.pad, lambda: lf.pad(x(3), -1), "pad: widths -1 do not fit (3,)"),
    argument(lf.pad, lambda: lf.pad(x(3), ((1, 1), (1, 1))), "pad: widths ((1, 1), (1, 1)) do not fit (3,)"),
    argument(lf.pad, lambda: lf.pad(x(3), 0.5), "pad: widths 0.5 do not fit (3,)"),
    dtype(lf.pad, lambda: lf.pad(i(3), 1, 0.5), "number: int64 does not hold 0.5"),
    shape(lf.full, lambda: lf.full((0,), 1), "full: 0 in shape (0,) is no size"),
    dtype(lf.full, lambda: lf.full((2,), float("nan"), lf.int64), "number: int64 does not hold nan"),
    shape(lf.zeros, lambda: lf.zeros((2, -1)), "zeros: -1 in shape (2, -1) is no size"),
    shape(lf.ones, lambda: lf.ones((2, 1.5)), "ones: 1.5 in shape (2, 1.5) is no size"),
    dtype(lf.full_like, lambda: lf.full_like(i(2), 0.5), "number: int64 does not hold 0.5"),
    dtype(lf.zeros_like, lambda: lf.zeros_like(x(2), "text"), "dtype: 'text' is not an element type"),
    dtype(lf.ones_like, lambda: lf.ones_like(x(2), "text"), "dtype: 'text' is not an element type"),
    shape(lf.iota, lambda: lf.iota((2, 3), axis=2), "iota: axis 2 is not an axis"),
    argument(lf.arange, lambda: lf.arange(3, 3), "arange: 3 to 3 by 1 is empty"),
    argument(lf.arange, lambda: lf.arange(0, 3, 0), "arange: 0 to 3 by 0 is empty"),
    shape(lf.size, lambda: lf.size(x(2), 1), "size: axis 1 is not an axis"),
]

GETITEM = lf.Tensor.__getitem__

INDEXING = [
    shape(GETITEM, lambda: x(3)[3], "getitem: position 3 is outside of axis 0 of (3,)"),
    shape(GETITEM, lambda: x(3)[-4], "getitem: position -4 is outside of axis 0 of (3,)"),
    shape(GETITEM, lambda: x(3)[2:2], "getitem: 2:2 of axis 0 of (3,) is empty"),
    shape(GETITEM, lambda: x(3)[0, 0], "getitem: 2 positions for a tensor of rank 1"),
    shape(GETITEM, lambda: x(3)[..., 0, ...], "getitem: more than one Ellipsis"),
    shape(
        GETITEM, lambda: x("n", 3)[1], 'getitem: axis 0 of ("n", 3) is named; not every size of it holds 1'
    ),
    shape(GETITEM, lambda: x("n", 3)[-2], 'getitem: axis 0 of ("n", 3) is named; not every size of it holds'),
    shape(
        GETITEM, lambda: x("n", 3)[1:], 'getitem: axis 0 of ("n", 3) is named; not every size of it holds 1:'
    ),
    shape(GETITEM, lambda: x("n", 3)[:2], 'getitem: axis 0 of ("n", 3) is named; not every size of it holds'),
    shape(GETITEM, lambda: x("n", 3)[0:0], 'getitem: axis 0 of ("n", 3) is named; not every size of it'),
    shape(GETITEM, lambda: x("n", 3)[::2], 'getitem: axis 0 of ("n", 3) is named; only static axes have'),
    argument(GETITEM, lambda: x("n", 3)["a":], "getitem: 'a': is no slice"),
    argument(GETITEM, lambda: x(3)[i(2)], "getitem: a Tensor is no position"),
    argument(GETITEM, lambda: x(3)[b(3)], "getitem: a Tensor is no position"),
    argument(GETITEM, lambda: x(3)[[0, 1]], "getitem: [0, 1] is no position"),
    argument(GETITEM, lambda: x(3)[True], "getitem: True is no position"),
    argument(GETITEM, lambda: x(3)[::0], "getitem: ::0 is no slice: slice step cannot be zero"),
    argument(GETITEM, lambda: x(3)["a":], "getitem: 'a': is no slice"),
    shape(lf.take, lambda: lf.take(x(3), i(2), axis=1), "take: axis 1 is not an axis"),
    dtype(lf.take, lambda: lf.take(x(3), x(2)), "take: the index is float32; expected an integer type"),
    shape(
        lf.gather, lambda: lf.gather(x(3, 4), i(2, 4)), "gather: (2, 4) and (3, 4) differ outside of axis 1"
    ),
    dtype(lf.gather, lambda: lf.gather(x(3), b(2)), "gather: the index is bool; expected an integer type"),
    shape(lf.one_hot, lambda: lf.one_hot(i(3), 0), "one_hot: 0 in shape (0,) is no size"),
    dtype(lf.one_hot, lambda: lf.one_hot(x(3), 4), "one_hot: the index is float32; expected an integer"),
    shape(lf.check_index, lambda: lf.check_index(i(3), 1.5), "check_index: 1.5 in shape (1.5,) is no size"),
]

BAD_CALLS = [*ELEMENTWISE, *REDUCTION, *PRODUCTS, *SHAPING, *INDEXING]
