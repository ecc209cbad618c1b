"""The scalar ops of kernel bodies: one row each, with all its readings side by side.

The number rules stand here once: integer division by zero gives 0, integers wrap, floats saturate when they
become integers (NaN gives 0), ``//`` and ``%`` floor, minimum and maximum propagate NaN, argmax takes the
first of the largest (NaN counts as largest), rounding is half to even. Half types compute in float32 and are
rounded after every op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import evaluate, parse
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.schema import Call, Number

Array: TypeAlias = NDArray[Any]

_WORD = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))


@dataclass(frozen=True)
class ScalarOp:
    """One scalar op, or one reduction over a kernel's inner axes.

    Attributes:
        name: The name of its primitive.
        arity: The number of arguments.
        numpy: What it computes, on NumPy arrays of the argument's dtypes.
        accepts: The kinds of dtype of its arguments: b (bool), i (integers), f (floating types).
        result: How its dtype follows from its arguments': "same" (as all of them), "bool", "int64", "choice"
            (a bool, then two of the result's), "words" (int64s to uint32), "given" (any from any).
        reduction: Whether it reduces the inner axes to one element.
    """

    name: str
    arity: int
    numpy: Callable[..., Array]
    accepts: str = "if"
    result: str = "same"
    reduction: bool = False

    def mismatch(self, arguments: Sequence[DType], dtype: DType) -> str | None:
        """Why a call with these dtypes is wrong, or None where it is right."""
        if len(arguments) != self.arity:
            return f"takes {self.arity} arguments, got {len(arguments)}"
        operands = arguments[1:] if self.result == "choice" else arguments
        if any("bif"[dtypes.kind(operand)] not in self.accepts for operand in operands):
            return f"does not accept {', '.join(a.name for a in operands)}"
        if any(operand != operands[0] for operand in operands):
            return f"arguments differ in dtype: {', '.join(a.name for a in operands)}"
        if self.result == "choice" and arguments[0] != dtypes.bool_:
            return f"takes a bool condition, got {arguments[0].name}"
        if self.result == "words" and operands[0] != dtypes.int64:
            return f"takes int64 arguments, got {operands[0].name}"
        expected = {"bool": dtypes.bool_, "int64": dtypes.int64, "words": dtypes.uint32, "given": dtype}
        wanted = expected[self.result] if self.result in expected else operands[0]
        return None if dtype == wanted else f"gives {wanted.name}, declared {dtype.name}"


# --- what NumPy has no function for -------------------------------------------------------------------------


def _integer_or(on_integers: Callable[..., Array], on_floats: Callable[..., Array]) -> Callable[..., Array]:
    def choose(*arguments: Array) -> Array:
        return (on_floats if arguments[0].dtype in dtypes.FLOATING else on_integers)(*arguments)

    return choose


def _integer_power(base: Array, exponent: Array) -> Array:
    negative = exponent < 0
    powers = np.power(base, np.where(negative, exponent & 1, exponent))
    # 1 / base**n is an integer for bases 1 and -1 only, where it equals base**n; else it is cut to 0
    unit = (base == 1) | (base.astype(np.int64) == -1)
    return np.where(negative & ~unit, np.zeros_like(powers), powers)


def _power(base: Array, exponent: Array) -> Array:
    # NumPy squares by a product where one exponent serves many bases, and by pow else, whose last bit can
    # differ: always a product, so that no result depends on the shapes
    squares = exponent == 2
    if exponent.size == 1 and squares:
        return base * base
    powers: Array = np.power(base, exponent)
    return np.where(squares, base * base, powers) if squares.any() else powers


def _reciprocal_root(x: Array) -> Array:
    root: Array = np.sqrt(x)
    return 1.0 / root


def _erf(x: Array) -> Array:
    # math.erf, element by element: SciPy's is faster, and a plan must run where SciPy is not installed
    flat = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size)
    return flat.reshape(x.shape).astype(x.dtype)


def philox(seed: Array, run: Array, stream: Array, element: Array) -> Array:
    """Random bits: a word of Philox4x32-10 for each element.

    Args:
        seed: int64; its low and high half are the key.
        run: int64; its low and high half are the last two counter words.
        stream: int64 below 2**32, the second counter word.
        element: int64; element // 4 is the first counter word, element % 4 chooses the word of the result.

    Returns:
        uint32 array of the broadcast shape.

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    seed, run, stream, element = (np.asarray(x).astype(np.uint64) for x in (seed, run, stream, element))
    k0, k1 = seed & _WORD, seed >> _HALF_WORD
    c0, c1 = (element >> np.uint64(2)) & _WORD, stream & _WORD
    c2, c3 = run & _WORD, run >> _HALF_WORD
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _HALF_WORD) ^ c1 ^ k0, p1 & _WORD, (p0 >> _HALF_WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    word = (element & np.uint64(3)).astype(np.intp)
    return np.choose(word, (c0, c1, c2, c3)).astype(np.uint32)


def cast(x: Array, dtype: DType) -> Array:
    """A fresh array of ``dtype``; floats become integers cut towards zero and saturated, NaN gives 0."""
    x = np.asarray(x)
    if dtype == dtypes.bool_ and x.dtype in dtypes.FLOATING:
        return np.not_equal(x, 0)
    if not (dtypes.is_integer(dtype) and x.dtype in dtypes.FLOATING):
        return x.astype(dtype)
    if x.dtype in dtypes.HALF:
        x = x.astype(np.float32)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        cut = x.astype(dtype)
    cut = np.where(x >= float(limits.max), limits.max, cut)
    cut = np.where(x <= float(limits.min), limits.min, cut)
    return np.where(np.isnan(x), 0, cut).astype(dtype)


# Reductions take the argument broadcast to the inner axes, and these; they keep the axes, with extent 1.


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return np.add.reduce(x, axis=axes, dtype=x.dtype, keepdims=True)


def _max(x: Array, axes: tuple[int, ...]) -> Array:
    return np.maximum.reduce(x, axis=axes, keepdims=True)


def _min(x: Array, axes: tuple[int, ...]) -> Array:
    return np.minimum.reduce(x, axis=axes, keepdims=True)


def _argmax(x: Array, axes: tuple[int, ...]) -> Array:
    if x.dtype in dtypes.HALF:
        x = x.astype(np.float32)
    outer = x.shape[: x.ndim - len(axes)]
    first: Array = np.argmax(x.reshape(*outer, -1), axis=-1)
    return first.reshape(outer + (1,) * len(axes)).astype(np.int64)


# --- the table ----------------------------------------------------------------------------------------------

_ROWS = (
    # arithmetic
    ScalarOp("add", 2, numpy=np.add),
    ScalarOp("sub", 2, numpy=np.subtract),
    ScalarOp("mul", 2, numpy=np.multiply),
    ScalarOp("div", 2, numpy=np.divide, accepts="f"),
    ScalarOp("floor_div", 2, numpy=np.floor_divide),
    ScalarOp("mod", 2, numpy=np.mod),
    ScalarOp("pow", 2, numpy=_integer_or(_integer_power, _power)),
    ScalarOp("minimum", 2, numpy=np.minimum, accepts="bif"),
    ScalarOp("maximum", 2, numpy=np.maximum, accepts="bif"),
    ScalarOp("neg", 1, numpy=np.negative),
    ScalarOp("abs", 1, numpy=np.abs),
    ScalarOp("sign", 1, numpy=np.sign),
    # functions of real numbers
    ScalarOp("exp", 1, numpy=np.exp, accepts="f"),
    ScalarOp("expm1", 1, numpy=np.expm1, accepts="f"),
    ScalarOp("log", 1, numpy=np.log, accepts="f"),
    ScalarOp("log1p", 1, numpy=np.log1p, accepts="f"),
    ScalarOp("sqrt", 1, numpy=np.sqrt, accepts="f"),
    ScalarOp("rsqrt", 1, numpy=_reciprocal_root, accepts="f"),
    ScalarOp("tanh", 1, numpy=np.tanh, accepts="f"),
    ScalarOp("erf", 1, numpy=_erf, accepts="f"),
    ScalarOp("sin", 1, numpy=np.sin, accepts="f"),
    ScalarOp("cos", 1, numpy=np.cos, accepts="f"),
    ScalarOp("floor", 1, numpy=np.floor, accepts="f"),
    ScalarOp("ceil", 1, numpy=np.ceil, accepts="f"),
    ScalarOp("round", 1, numpy=np.rint, accepts="f"),
    ScalarOp("isfinite", 1, numpy=np.isfinite, accepts="f", result="bool"),
    # comparison, logic, choice, conversion
    ScalarOp("eq", 2, numpy=np.equal, accepts="bif", result="bool"),
    ScalarOp("ne", 2, numpy=np.not_equal, accepts="bif", result="bool"),
    ScalarOp("lt", 2, numpy=np.less, accepts="bif", result="bool"),
    ScalarOp("le", 2, numpy=np.less_equal, accepts="bif", result="bool"),
    ScalarOp("gt", 2, numpy=np.greater, accepts="bif", result="bool"),
    ScalarOp("ge", 2, numpy=np.greater_equal, accepts="bif", result="bool"),
    ScalarOp("logical_and", 2, numpy=np.logical_and, accepts="b", result="bool"),
    ScalarOp("logical_or", 2, numpy=np.logical_or, accepts="b", result="bool"),
    ScalarOp("logical_not", 1, numpy=np.logical_not, accepts="b", result="bool"),
    ScalarOp("where", 3, numpy=np.where, accepts="bif", result="choice"),
    ScalarOp("cast", 1, numpy=cast, accepts="bif", result="given"),
    # random bits
    ScalarOp("philox", 4, numpy=philox, accepts="i", result="words"),
    # reductions
    ScalarOp("reduce_sum", 1, numpy=_sum, reduction=True),
    ScalarOp("reduce_max", 1, numpy=_max, accepts="bif", reduction=True),
    ScalarOp("reduce_min", 1, numpy=_min, accepts="bif", reduction=True),
    ScalarOp("argmax", 1, numpy=_argmax, accepts="bif", result="int64", reduction=True),
)
SCALARS: dict[str, ScalarOp] = {row.name: row for row in _ROWS}


# --- the NumPy reading of a body ----------------------------------------------------------------------------


def stored(dtype: DType, precision: str | None) -> DType:
    """The dtype in which values of ``dtype`` are kept: float64 for all floating types in that precision."""
    return dtypes.float64 if precision == "float64" and dtype in dtypes.FLOATING else dtype


def number(value: Number, dtype: DType) -> Array:
    """A number of a plan as an array of rank 0; the texts "inf", "-inf" and "nan" stand for those floats."""
    plain = float(value) if isinstance(value, str) else value
    return np.asarray(plain, dtype if dtype not in dtypes.HALF else None).astype(dtype)


def fits_number(value: Number, dtype: DType) -> bool:
    """Whether a number of a plan is one that ``dtype`` can hold; floating types round it."""
    if isinstance(value, str):
        return dtype in dtypes.FLOATING and value in ("inf", "-inf", "nan")
    if abs(value) >= 2.0**1023 or value != value:  # an int may be beyond all floats
        return False
    if dtype in dtypes.FLOATING:
        return True
    if dtype == dtypes.bool_:
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return value == int(value) and limits.min <= value <= limits.max


def _rounded(op: ScalarOp, dtype: DType) -> Callable[..., Array]:
    def compute(*arguments: Array) -> Array:
        return op.numpy(*(np.asarray(a).astype(np.float32) for a in arguments)).astype(dtype)

    return compute


def _reduced(op: ScalarOp, dtype: DType) -> Callable[..., Array]:
    wide = dtype in dtypes.HALF

    def compute(x: Array, space: tuple[int, ...], inner: int) -> Array:
        outer = len(space) - inner
        extents = np.shape(x)[:outer] if np.ndim(x) else (1,) * outer
        x = np.broadcast_to(x.astype(np.float32) if wide else x, extents + space[outer:])
        result = op.numpy(x, tuple(range(outer, len(space))))
        return result.astype(dtype) if wide else result

    return compute


def _function(op: ScalarOp, dtype: DType) -> Callable[..., Array]:
    if op.name == "cast":
        return lambda x: cast(x, dtype)
    if op.reduction:
        return _reduced(op, dtype)
    if dtype in dtypes.HALF and op.result == "same":
        return _rounded(op, dtype)
    return op.numpy


class Body:
    """A kernel body made ready for NumPy, independent of the sizes of its space.

    Args:
        calls: The body.
        arity: The number of its arguments (reads).
        results: The values that the caller will take; others are freed after their last use.
        precision: None, or "float64" to compute every floating value in float64.
    """

    def __init__(
        self, calls: Sequence[Call], arity: int, results: Sequence[int], *, precision: str | None = None
    ) -> None:
        self.results = tuple(results)
        self._arity = arity
        self._steps = [self._step(call, precision) for call in calls]
        self._dying = _last_uses(calls, arity, self.results)

    def _step(self, call: Call, precision: str | None) -> tuple[str, Any, tuple[int, ...]]:
        dtype = stored(dtypes.ALL[call.dtype], precision)
        if call.op == "literal":
            return "value", number(call.value if call.value is not None else 0, dtype), ()
        if call.op == "size":
            return "size", parse(str(call.value)), ()
        if call.op == "index":
            return "index", call.value, ()
        op = SCALARS[call.op]
        return "reduce" if op.reduction else "call", _function(op, dtype), call.args

    def __call__(
        self, arguments: Sequence[Array], space: tuple[int, ...], inner: int, sizes: Mapping[str, int]
    ) -> list[Array]:
        """The results, each with extents of the space, or 1 (or rank 0) where it does not vary."""
        values: list[Any] = list(arguments)
        for (kind, item, args), dying in zip(self._steps, self._dying, strict=True):
            if kind == "call":
                values.append(item(*[values[a] for a in args]))
            elif kind == "reduce":
                values.append(item(values[args[0]], space, inner))
            else:
                values.append(_generated(kind, item, space, sizes))
            for index in dying:
                values[index] = None
        return [values[index] for index in self.results]


def _generated(kind: str, item: Any, space: tuple[int, ...], sizes: Mapping[str, int]) -> Any:
    if kind == "value":
        return item
    if kind == "size":
        return np.asarray(evaluate(item, sizes), np.int64)
    extents = [1] * len(space)
    extents[item] = space[item]
    return np.arange(space[item], dtype=np.int64).reshape(extents)


def _last_uses(calls: Sequence[Call], arity: int, results: tuple[int, ...]) -> list[tuple[int, ...]]:
    last: dict[int, int] = {}
    for position, call in enumerate(calls):
        last[arity + position] = position
        last.update(dict.fromkeys(call.args, position))
    dying: list[list[int]] = [[] for _ in calls]
    for value, position in last.items():
        if value not in results:
            dying[position].append(value)
    return [tuple(values) for values in dying]


def evaluate_body(
    calls: Sequence[Call],
    arguments: Sequence[Array],
    *,
    space: tuple[int, ...],
    inner: int,
    sizes: Mapping[str, int],
    results: Sequence[int],
    precision: str | None = None,
) -> list[Array]:
    """The values numbered ``results`` of a body, on arrays that broadcast to the space.

    Args:
        calls: The body; arguments are numbered first, then the calls in order.
        arguments: One array per argument; its rank is the space's, with extent 1 on axes on which it does not
            vary, or it is of rank 0.
        space: The extents of the index space.
        inner: How many of its last axes the reductions run over.
        sizes: The values of the dimension names that "size" calls mention.
        results: Which values to return.
        precision: None, or "float64" to compute every floating value in float64; arguments must then be
            float64 where they are floating.

    Returns:
        One array per result; extent 1, or rank 0, where it does not vary.
    """
    with np.errstate(all="ignore"):
        body = Body(calls, len(arguments), results, precision=precision)
        return body(arguments, space, inner, sizes)
