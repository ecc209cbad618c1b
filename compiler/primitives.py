"""The primitives: each declared once, with its arity, its rules, and what passes may ask about it.

A primitive that is not a composition is inexpressible, wrong in floating point when composed, or a kernel of
its own. What a scalar primitive computes stands in :mod:`lazyflow.runtime.scalars` under the same name; what
the others compute in :mod:`lazyflow.compiler.interpret`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from lazyflow.compiler import rules
from lazyflow.compiler.rules import Attributes, DTypeRule, ShapeRule, Type
from lazyflow.runtime.dimensions import Shape
from lazyflow.runtime.errors import GraphError

Infer: TypeAlias = Callable[[Sequence[Type], Attributes], tuple[Type, ...]]

PRIMITIVES: dict[str, Primitive] = {}


@dataclass(frozen=True, eq=False)
class Primitive:
    """A kind of op.

    Attributes:
        name: Its name in text and plans.
        arity: The number of inputs; None where it varies.
        attributes: The names of its attributes, all required.
        infer: The types of its outputs, from the inputs' types and the attributes.
        elementwise: Computes each element from the broadcast inputs' elements (or from its index alone).
        reduction: Reduces ``axes`` of its one input.
        view: Its output can be its input's memory, seen with other strides.
        can_fail: May fail while it runs.
        effect: Changes something that outlives the run, or is seen outside.
        leaf: Its value is given, not computed: a placeholder, a variable, a constant.
        costly: Takes many cycles per element, so that no pass computes it twice to save memory.
    """

    name: str
    arity: int | None
    attributes: tuple[str, ...]
    infer: Infer
    elementwise: bool = False
    reduction: bool = False
    view: bool = False
    can_fail: bool = False
    effect: bool = False
    leaf: bool = False
    costly: bool = False

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of its attributes, as a set."""
        return frozenset(self.attributes)

    def __post_init__(self) -> None:
        if self.name in PRIMITIVES:
            raise GraphError(f"primitive: {self.name} is declared twice")
        PRIMITIVES[self.name] = self

    def __repr__(self) -> str:
        return self.name


def _one(shape: ShapeRule, dtype: DTypeRule) -> Infer:
    return lambda types, attributes: (Type(shape(types, attributes), dtype(types, attributes)),)


def _elementwise(
    name: str, arity: int, dtype: DTypeRule, attributes: tuple[str, ...] = (), costly: bool = False
) -> Primitive:
    infer = _one(rules.broadcast, dtype)
    return Primitive(name, arity, attributes, infer, elementwise=True, costly=costly)


def _reduction(name: str, dtype: DTypeRule) -> Primitive:
    return Primitive(name, 1, ("axes", "keepdims"), _one(rules.reduced, dtype), reduction=True)


def _view(name: str, attributes: tuple[str, ...], shape: ShapeRule) -> Primitive:
    return Primitive(name, 1, attributes, _one(shape, rules.same), view=True)


# leaves
constant = Primitive(
    "constant", 0, ("value",), lambda _, a: (Type(a["value"].shape, a["value"].dtype),), leaf=True
)
placeholder = Primitive(
    "placeholder", 0, ("name", "shape", "dtype"), _one(rules.given_shape, rules.given_dtype), leaf=True
)
variable = Primitive(
    "variable", 0, ("variable",), lambda _, a: (Type(a["variable"].shape, a["variable"].dtype),), leaf=True
)

# generators: elementwise in their index
iota = Primitive(
    "iota", 0, ("shape", "dtype", "axis"), _one(rules.given_shape, rules.given_dtype), elementwise=True
)
position = Primitive(  # the number of each element, row by row
    "position", 0, ("shape",), _one(rules.given_shape, rules.int64), elementwise=True
)
size = Primitive("size", 0, ("size",), _one(rules.scalar, rules.int64), elementwise=True)
philox = _elementwise("philox", 4, rules.philox_words, costly=True)  # seed, run counter, stream, element

# arithmetic
add = _elementwise("add", 2, rules.numeric)
sub = _elementwise("sub", 2, rules.numeric)
mul = _elementwise("mul", 2, rules.numeric)
div = _elementwise("div", 2, rules.floating)
floor_div = _elementwise("floor_div", 2, rules.numeric, costly=True)
mod = _elementwise("mod", 2, rules.numeric, costly=True)
pow_ = _elementwise("pow", 2, rules.numeric, costly=True)
minimum = _elementwise("minimum", 2, rules.same)
maximum = _elementwise("maximum", 2, rules.same)
neg = _elementwise("neg", 1, rules.numeric)
abs_ = _elementwise("abs", 1, rules.numeric)
sign = _elementwise("sign", 1, rules.numeric)

# functions of real numbers
exp = _elementwise("exp", 1, rules.floating, costly=True)
expm1 = _elementwise("expm1", 1, rules.floating, costly=True)
log = _elementwise("log", 1, rules.floating, costly=True)
log1p = _elementwise("log1p", 1, rules.floating, costly=True)
sqrt = _elementwise("sqrt", 1, rules.floating)
rsqrt = _elementwise("rsqrt", 1, rules.floating)
tanh = _elementwise("tanh", 1, rules.floating, costly=True)
erf = _elementwise("erf", 1, rules.floating, costly=True)
sin = _elementwise("sin", 1, rules.floating, costly=True)
cos = _elementwise("cos", 1, rules.floating, costly=True)
floor = _elementwise("floor", 1, rules.floating)
ceil = _elementwise("ceil", 1, rules.floating)
round_ = _elementwise("round", 1, rules.floating)
isfinite = _elementwise(
    "isfinite", 1, lambda types, a: rules.compared([Type((), rules.floating(types, a))], a)
)

# comparison, logic, choice, conversion
eq = _elementwise("eq", 2, rules.compared)
ne = _elementwise("ne", 2, rules.compared)
lt = _elementwise("lt", 2, rules.compared)
le = _elementwise("le", 2, rules.compared)
gt = _elementwise("gt", 2, rules.compared)
ge = _elementwise("ge", 2, rules.compared)
logical_and = _elementwise("logical_and", 2, rules.logical)
logical_or = _elementwise("logical_or", 2, rules.logical)
logical_not = _elementwise("logical_not", 1, rules.logical)
where = _elementwise("where", 3, rules.selected)
cast = _elementwise("cast", 1, rules.given_dtype, ("dtype",))

# reductions
reduce_sum = _reduction("reduce_sum", rules.numeric)
reduce_max = _reduction("reduce_max", rules.same)
reduce_min = _reduction("reduce_min", rules.same)
argmax = _reduction("argmax", rules.int64)  # over one axis

# views
reshape = _view("reshape", ("shape",), rules.reshaped)
transpose = _view("transpose", ("axes",), rules.transposed)
broadcast_to = _view("broadcast_to", ("shape",), rules.broadcast_to)
slice_ = _view("slice", ("starts", "sizes", "steps"), rules.sliced)

# instructions of their own
concat = Primitive("concat", None, ("axis",), _one(rules.concatenated, rules.same))
pad = Primitive("pad", 1, ("low", "high", "value"), _one(rules.padded, rules.same))
matmul = Primitive("matmul", 2, (), _one(rules.multiplied, rules.floating))
gather = Primitive("gather", 2, ("axis", "along"), _one(rules.gathered, rules.indexed), can_fail=True)
scatter_add = Primitive(
    "scatter_add", 2, ("axis", "along", "shape"), _one(rules.scattered, rules.indexed), can_fail=True
)
check_index = Primitive(
    "check_index", 1, ("size",), _one(rules.same_shape, rules.integer), view=True, can_fail=True
)
copy = Primitive("copy", 1, (), _one(rules.same_shape, rules.same))


# effects
def _assigned(types: Sequence[Type], attributes: Attributes) -> tuple[Type, ...]:
    target = attributes["variable"]
    if types[0] != Type(target.shape, target.dtype):
        raise GraphError(
            f"assign: {target.name} is {Type(target.shape, target.dtype)}, the value is {types[0]}"
        )
    return (types[0],)


def _updated(types: Sequence[Type], attributes: Attributes) -> tuple[Type, ...]:
    return tuple(Type(v.shape, v.dtype) for v in attributes["variables"])


# inputs: the value, then (where guarded) the bool scalar that says whether it happens; output: the next value
assign = Primitive("assign", None, ("variable", "guarded"), _assigned, effect=True)
# inputs: ``elements`` tensors of the parameter's shape, the int32 group index, the float columns, then
# (where guarded) the bool scalar. ``body`` is a Graph whose placeholders are the variables, the elements and
# one scalar per column, in this order, and whose program "update" fetches each variable's next value.
update = Primitive("update", None, ("body", "variables", "elements", "guarded"), _updated, effect=True)
# inputs: the value, then (where guarded) the bool scalar; no output
print_ = Primitive("print", None, ("text", "on_change", "guarded"), lambda _, a: (), effect=True)


# what passes make
def _typed(types: Sequence[Type], attributes: Attributes) -> tuple[Type, ...]:
    result: tuple[Type, ...] = attributes["types"]
    return result


# matmul whose result is given, and so stored, with its axes in the order of ``axes``
def _multiplied_transposed(types: Sequence[Type], attributes: Attributes) -> Shape:
    product = Type(rules.multiplied(types, attributes), types[0].dtype)
    return rules.transposed([product], attributes)


matmul_transposed = Primitive("matmul_transposed", 2, ("axes",), _one(_multiplied_transposed, rules.floating))
# A loop nest: ``body`` is a tuple of schema.Call over the inputs; ``maps`` gives for each input, and then for
# each output, which of its axes each axis of ``space`` walks (-1: none); ``results`` number the values that
# the outputs hold.
kernel = Primitive("kernel", None, ("space", "inner", "body", "maps", "results", "types"), _typed)
# Many updates of one body. ``segments`` is a tuple of (variables, elements); inputs: the columns, then
# per segment its elements and group index, then (where guarded) the bool scalar; outputs: per segment, per
# variable.
update_batch = Primitive(
    "update_batch",
    None,
    ("body", "results", "segments", "elements", "columns", "guarded", "types"),
    _typed,
    effect=True,
)
