"""Algebraic identities that are exact in IEEE arithmetic, for every input: NaN, infinities and -0.0 too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from lazyflow.compiler import primitives as p
from lazyflow.compiler.graph import Graph, Op, Value, make
from lazyflow.compiler.primitives import PRIMITIVES, Primitive
from lazyflow.compiler.rewrite import Builder, rewrite
from lazyflow.compiler.rules import broadcast_shapes
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import elements
from lazyflow.runtime.dtypes import DType

Result: TypeAlias = Value | Op | None  # a value that exists, an op in place of this one, or no match
Apply: TypeAlias = Callable[[Op, Builder], Result]

_ELEMENTWISE = tuple(primitive for primitive in PRIMITIVES.values() if primitive.elementwise)


class Rule(NamedTuple):
    """An identity: the primitives at whose ops it is tried, what it says, and what it makes of such an op."""

    primitives: tuple[Primitive, ...]
    text: str
    apply: Apply


def simplify(graph: Graph) -> Graph:
    """Apply the rules of :data:`RULES` to each op, from the inputs on, until none applies.

    ``x + 0`` is no such identity (it turns -0.0 into 0.0); ``x - 0`` and ``x + -0.0`` are.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(simplify(from_text('''
    ...     %0 = placeholder name=x : float32[4, 3]
    ...     %1 = constant value=1.0 : float32[]
    ...     %2 = mul %0 %1 : float32[4, 3]
    ...     %3 = transpose %2 axes=(1, 0) : float32[3, 4]
    ...     %4 = transpose %3 axes=(1, 0) : float32[4, 3]
    ...     %5 = exp %4 : float32[4, 3]
    ...     fetch y = %5'''))))
    %0 = placeholder name=x : float32[4, 3]
    %1 = constant value=1.0 : float32[]
    %2 = transpose %0 axes=(1, 0) : float32[3, 4]
    %3 = exp %0 : float32[4, 3]
    fetch y = %3
    """
    return rewrite(graph, _simplify, bodies=simplify)


def _simplify(op: Op, builder: Builder) -> Value | None:
    value = _normal_form(op, builder)
    if value is None or value.shape == op.output.shape:
        return value
    # what the rules left out had broadcast the rest
    wide = _new(op, p.broadcast_to, [value], shape=op.output.shape)
    return _normal_form(wide, builder) or builder.append(wide).output


def _normal_form(op: Op, builder: Builder) -> Value | None:
    """What stands for the op once no rule applies; None where none does."""
    current = op
    while True:
        result = _first_match(current, builder)
        if isinstance(result, Value):
            return result
        if result is None:
            return None if current is op else builder.append(current).output
        current = result


def _first_match(op: Op, builder: Builder) -> Result:
    for rule in _BY_PRIMITIVE.get(op.primitive, ()):
        result = rule.apply(op, builder)
        if result is not None:
            return result
    return None


def _new(op: Op, primitive: Primitive, inputs: Iterable[Value], **attributes: Any) -> Op:
    """An op in place of ``op``."""
    return make(primitive, inputs, attributes, op.origins)


# --- what rules look for ----------------------------------------------------------------------------------


def _number(value: Value) -> float | int | None:
    """The number that a constant of one element holds."""
    if value.op.primitive is not p.constant:
        return None
    array = value.op.attributes["value"]
    return array.item() if array.size == 1 else None


def _is(value: Value, number: float) -> bool:
    """Whether the value is this number, with its sign where it is a zero of a floating type."""
    known = _number(value)
    if known is None or known != number:
        return False
    return not dtypes.is_floating(value.dtype) or math.copysign(1, known) == math.copysign(1, number)


def _limits(dtype: DType) -> Any:
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def _inside(value: Value, primitive: Primitive) -> Value | None:
    """What the primitive was applied to, where it made the value."""
    return value.op.inputs[0] if value.op.primitive is primitive else None


# --- arithmetic and logic ---------------------------------------------------------------------------------


def _right(number: float) -> Apply:
    """The left operand, where the right one is the number."""
    return lambda op, builder: op.inputs[0] if _is(op.inputs[1], number) else None


def _left(number: float) -> Apply:
    """The right operand, where the left one is the number."""
    return lambda op, builder: op.inputs[1] if _is(op.inputs[0], number) else None


def _idempotent(op: Op, builder: Builder) -> Result:
    return op.inputs[0] if op.inputs[0] is op.inputs[1] else None


def _negated(rule: Apply) -> Apply:
    """The negation of what the rule gives."""

    def apply(op: Op, builder: Builder) -> Result:
        x = rule(op, builder)
        return _new(op, p.neg, [x]) if isinstance(x, Value) else None

    return apply


def _undone(op: Op, builder: Builder) -> Result:
    return _inside(op.inputs[0], op.primitive)


def _add_negated(op: Op, builder: Builder) -> Result:
    for a, b in (op.inputs, op.inputs[::-1]):
        x = _inside(b, p.neg)
        if x is not None:
            return _new(op, p.sub, [a, x])
    return None


def _sub_negated(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[1], p.neg)
    return None if x is None else _new(op, p.add, [op.inputs[0], x])


def _both_negated(op: Op, builder: Builder) -> Result:
    a, b = (_inside(value, p.neg) for value in op.inputs)
    return None if a is None or b is None else _new(op, op.primitive, [a, b])


def _div_power_of_two(op: Op, builder: Builder) -> Result:
    divisor = op.inputs[1]
    number = _number(divisor)
    if number is None or not math.isfinite(number) or abs(math.frexp(number)[0]) != 0.5:
        return None
    limits = _limits(divisor.dtype)
    if not float(limits.tiny) <= abs(1 / number) <= float(limits.max):
        return None  # the reciprocal is not a normal number
    reciprocal = np.full(divisor.op.attributes["value"].shape, 1 / number, divisor.dtype)
    constant = builder.append(_new(op, p.constant, (), value=reciprocal))
    return _new(op, p.mul, [op.inputs[0], constant.output])


def _square(op: Op, builder: Builder) -> Result:
    x, exponent = op.inputs
    return _new(op, p.mul, [x, x]) if _is(exponent, 2) else None


def _abs_of_sign_change(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.neg)
    return None if x is None else _new(op, p.abs_, [x])


def _abs_of_abs(op: Op, builder: Builder) -> Result:
    return op.inputs[0] if op.inputs[0].op.primitive is p.abs_ else None


def _not_compared(op: Op, builder: Builder) -> Result:
    compared = op.inputs[0].op
    opposite = {p.eq: p.ne, p.ne: p.eq}.get(compared.primitive)  # NaN is neither less nor greater: no others
    return None if opposite is None else _new(op, opposite, compared.inputs)


def _same_choice(op: Op, builder: Builder) -> Result:
    return op.inputs[1] if op.inputs[1] is op.inputs[2] else None


def _known_choice(op: Op, builder: Builder) -> Result:
    known = _number(op.inputs[0])
    return None if known is None else op.inputs[1] if known else op.inputs[2]


def _choice_by_opposite(op: Op, builder: Builder) -> Result:
    condition = _inside(op.inputs[0], p.logical_not)
    return None if condition is None else _new(op, p.where, [condition, op.inputs[2], op.inputs[1]])


# --- casts ------------------------------------------------------------------------------------------------


def _same_type(op: Op, builder: Builder) -> Result:
    return op.inputs[0] if op.inputs[0].type == op.output.type else None


def _cast_of_widening(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.cast)
    if x is None or not _holds(op.inputs[0].dtype, x.dtype):
        return None
    between = op.inputs[0].dtype
    integers = dtypes.is_integer(x.dtype) and dtypes.is_integer(op.output.dtype)
    if integers and dtypes.is_floating(between) and not _holds(op.output.dtype, x.dtype):
        return None  # integers wrap where floats saturate
    return _new(op, p.cast, [x], dtype=op.output.dtype)


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether each number of a dtype is one of the other, so that the cast is exact."""
    if narrow == dtypes.bool_ or wide == narrow:
        return True
    if not dtypes.is_floating(wide):
        return dtypes.is_integer(wide) and dtypes.is_integer(narrow) and np.can_cast(narrow, wide)
    to = _limits(wide)
    if dtypes.is_integer(narrow):
        limits = np.iinfo(narrow)
        return limits.bits - (limits.min < 0) <= to.nmant + 1 and limits.max <= float(to.max)
    of = _limits(narrow)
    return bool(of.nmant <= to.nmant and of.maxexp <= to.maxexp and of.minexp >= to.minexp)


# --- views ------------------------------------------------------------------------------------------------


def _reshape_of_reshape(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.reshape)
    return None if x is None else _new(op, p.reshape, [x], shape=op.output.shape)


def _transpose_of_nothing(op: Op, builder: Builder) -> Result:
    return op.inputs[0] if op.attributes["axes"] == tuple(range(len(op.output.shape))) else None


def _transpose_of_transpose(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.transpose)
    if x is None:
        return None
    inner = op.inputs[0].op.attributes["axes"]
    return _new(op, p.transpose, [x], axes=tuple(inner[axis] for axis in op.attributes["axes"]))


def _broadcast_of_broadcast(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.broadcast_to)
    return None if x is None else _new(op, p.broadcast_to, [x], shape=op.output.shape)


def _slice_of_all(op: Op, builder: Builder) -> Result:
    whole = op.output.shape == op.inputs[0].shape
    steps = zip(op.attributes["steps"], op.output.shape, strict=True)
    return op.inputs[0] if whole and all(step == 1 or extent == 1 for step, extent in steps) else None


def _slice_of_slice(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.slice_)
    if x is None:
        return None
    inner, outer = op.inputs[0].op.attributes, op.attributes
    pairs = [*zip(outer["starts"], inner["starts"], inner["steps"], strict=True)]
    starts = tuple(first + start * step for start, first, step in pairs)
    steps = tuple(a * b for a, b in zip(inner["steps"], outer["steps"], strict=True))
    return _new(op, p.slice_, [x], starts=starts, sizes=outer["sizes"], steps=steps)


def _view_of_one_element(op: Op, builder: Builder) -> Result:
    x = _inside(op.inputs[0], p.broadcast_to)
    if x is None or elements(x.shape) != 1 or len(x.shape) > len(op.output.shape):
        return None
    return _new(op, p.broadcast_to, [x], shape=op.output.shape)


def _implied_broadcasts(op: Op, builder: Builder) -> Result:
    inputs = list(op.inputs)
    for position, value in enumerate(op.inputs):
        x = _inside(value, p.broadcast_to)
        if x is None:
            continue
        shapes = [each.shape for each in inputs]
        shapes[position] = x.shape
        if broadcast_shapes(shapes) == op.output.shape:
            inputs[position] = x
    return None if inputs == [*op.inputs] else _new(op, op.primitive, inputs, **op.attributes)


def _reduction_of_ones(op: Op, builder: Builder) -> Result:
    shape = op.inputs[0].shape
    if any(shape[axis] != 1 for axis in op.attributes["axes"]):
        return None
    return _new(op, p.reshape, op.inputs, shape=op.output.shape)


def _concat_of_one(op: Op, builder: Builder) -> Result:
    return op.inputs[0] if len(op.inputs) == 1 else None


# --- the table --------------------------------------------------------------------------------------------

RULES = (
    Rule((p.add,), "x + -0 = x", _right(-0.0)),
    Rule((p.add,), "-0 + x = x", _left(-0.0)),
    Rule((p.add,), "a + -b = a - b", _add_negated),
    Rule((p.sub,), "x - 0 = x", _right(0.0)),
    Rule((p.sub,), "a - -b = a + b", _sub_negated),
    Rule((p.mul, p.div, p.pow_), "x * 1 = x / 1 = x ** 1 = x", _right(1)),
    Rule((p.mul,), "1 * x = x", _left(1)),
    Rule((p.mul, p.div), "x * -1 = x / -1 = -x", _negated(_right(-1))),
    Rule((p.mul,), "-1 * x = -x", _negated(_left(-1))),
    Rule((p.mul, p.div), "-a * -b = a * b, -a / -b = a / b", _both_negated),
    Rule((p.div,), "x / 2**n = x * 2**-n", _div_power_of_two),
    Rule((p.pow_,), "x ** 2 = x * x", _square),
    Rule((p.neg, p.logical_not), "--x = x, not not x = x", _undone),
    Rule((p.abs_,), "abs(-x) = abs(x)", _abs_of_sign_change),
    Rule((p.abs_,), "abs(abs(x)) = abs(x)", _abs_of_abs),
    Rule((p.minimum, p.maximum, p.logical_and, p.logical_or), "max(x, x) = x", _idempotent),
    Rule((p.logical_and,), "x and true = x", _right(True)),
    Rule((p.logical_and,), "true and x = x", _left(True)),
    Rule((p.logical_or,), "x or false = x", _right(False)),
    Rule((p.logical_or,), "false or x = x", _left(False)),
    Rule((p.logical_not,), "not a == b = a != b", _not_compared),
    Rule((p.where,), "where(c, a, a) = a", _same_choice),
    Rule((p.where,), "where(true, a, b) = a", _known_choice),
    Rule((p.where,), "where(not c, a, b) = where(c, b, a)", _choice_by_opposite),
    Rule((p.cast, p.reshape, p.broadcast_to), "cast or view to the type that it has", _same_type),
    Rule((p.cast,), "cast of an exact cast", _cast_of_widening),
    Rule((p.reshape,), "reshape of reshape", _reshape_of_reshape),
    Rule((p.transpose,), "transpose that moves nothing", _transpose_of_nothing),
    Rule((p.transpose,), "transpose of transpose", _transpose_of_transpose),
    Rule((p.broadcast_to,), "broadcast of broadcast", _broadcast_of_broadcast),
    Rule((p.slice_,), "slice of all", _slice_of_all),
    Rule((p.slice_,), "slice of slice", _slice_of_slice),
    Rule((p.reshape, p.transpose, p.slice_), "view of one broadcast element", _view_of_one_element),
    Rule(_ELEMENTWISE, "elementwise op of broadcasts that it implies", _implied_broadcasts),
    Rule((p.reduce_max, p.reduce_min), "max over axes of one element", _reduction_of_ones),
    Rule((p.pad,), "pad by nothing", _same_type),
    Rule((p.concat,), "concat of one", _concat_of_one),
)
_BY_PRIMITIVE = {each: [rule for rule in RULES if each in rule.primitives] for each in PRIMITIVES.values()}
