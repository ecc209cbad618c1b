"""The primitives: each is declared in full, and its rules give the types that its evaluation has."""

import pytest

from lazyflow.compiler import primitives as p
from lazyflow.compiler.interpret import FUNCTIONS
from lazyflow.compiler.primitives import PRIMITIVES, Primitive
from lazyflow.compiler.rules import Type
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import named
from lazyflow.runtime.dtypes import bool_, float32, float64, int32, int64
from lazyflow.runtime.errors import DTypeError, GraphError, ShapeError
from lazyflow.runtime.scalars import SCALARS

batch = named("batch")
SCALAR = [primitive for primitive in PRIMITIVES.values() if primitive.name in SCALARS]


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=str)
def test_every_primitive_is_evaluated_in_one_place(primitive):
    assert (primitive.name in FUNCTIONS) != (primitive.name in SCALARS)
    assert primitive.name in SCALARS or not primitive.reduction


def test_every_scalar_op_is_a_primitive():
    assert SCALARS.keys() <= PRIMITIVES.keys()
    assert FUNCTIONS.keys() <= PRIMITIVES.keys()


@pytest.mark.parametrize("primitive", SCALAR, ids=str)
def test_scalar_primitives_and_scalar_ops_agree(primitive):
    row = SCALARS[primitive.name]
    assert primitive.arity == row.arity
    assert primitive.reduction == row.reduction
    assert primitive.elementwise != row.reduction


@pytest.mark.parametrize("primitive", SCALAR, ids=str)
def test_scalar_primitives_accept_the_dtypes_that_scalar_ops_accept(primitive):
    row = SCALARS[primitive.name]
    attributes = {"axes": (0,), "keepdims": False, "dtype": int32}
    for dtype in dtypes.ALL.values():
        operands = [Type((2,), dtype)] * row.arity
        if row.result == "choice":
            operands[0] = Type((2,), bool_)
        try:
            (result,) = primitive.infer(operands, attributes)
        except DTypeError:
            result = None
        wanted = result.dtype if result else dtype
        mismatch = row.mismatch([type_.dtype for type_ in operands], wanted)
        assert (mismatch is None) == (result is not None), dtype


def test_a_second_declaration_of_a_name_is_refused():
    with pytest.raises(GraphError, match="add is declared twice"):
        Primitive("add", 2, (), lambda types, attributes: ())


def f32(*shape):
    return Type(shape, float32)


RULES = [  # primitive, operand types, attributes, type of the result
    (p.add, [f32(batch, 3), f32(3)], {}, f32(batch, 3)),
    (p.add, [f32(batch, 1), f32(1, 4)], {}, f32(batch, 4)),
    (p.eq, [f32(2), f32()], {}, Type((2,), bool_)),
    (p.where, [Type((batch,), bool_), f32(), f32(1)], {}, f32(batch)),
    (p.cast, [f32(2)], {"dtype": int32}, Type((2,), int32)),
    (p.philox, [Type((), int64)] * 3 + [Type((batch,), int64)], {}, Type((batch,), dtypes.uint32)),
    (p.reduce_sum, [f32(batch, 3, 4)], {"axes": (0, 2), "keepdims": False}, f32(3)),
    (p.reduce_max, [f32(batch, 3)], {"axes": (1,), "keepdims": True}, f32(batch, 1)),
    (p.argmax, [f32(batch, 3)], {"axes": (1,), "keepdims": False}, Type((batch,), int64)),
    (p.reshape, [f32(batch, 4, 3)], {"shape": (2 * batch, 6)}, f32(2 * batch, 6)),
    (p.transpose, [f32(batch, 4, 3)], {"axes": (2, 0, 1)}, f32(3, batch, 4)),
    (p.broadcast_to, [f32(1, 4)], {"shape": (2, batch, 4)}, f32(2, batch, 4)),
    (p.slice_, [f32(batch, 5)], {"starts": (0, 4), "sizes": (batch, 3), "steps": (1, -2)}, f32(batch, 3)),
    (p.concat, [f32(batch, 2), f32(1, 2), f32(batch, 2)], {"axis": 0}, f32(2 * batch + 1, 2)),
    (p.pad, [f32(batch, 2)], {"low": (1, 0), "high": (1, 2), "value": 0}, f32(batch + 2, 4)),
    (p.matmul, [f32(batch, 1, 2, 3), f32(5, 3, 4)], {}, f32(batch, 5, 2, 4)),
    (p.gather, [f32(7, 3), Type((batch, 2), int64)], {"axis": 0, "along": False}, f32(batch, 2, 3)),
    (p.gather, [f32(batch, 3), Type((batch, 2), int32)], {"axis": 1, "along": True}, f32(batch, 2)),
    (
        p.scatter_add,
        [f32(batch, 3), Type((batch,), int64)],
        {"axis": 0, "along": False, "shape": (7, 3)},
        f32(7, 3),
    ),
    (p.check_index, [Type((batch,), int64)], {"size": 10}, Type((batch,), int64)),
    (p.iota, [], {"shape": (2, batch), "dtype": float64, "axis": 1}, Type((2, batch), float64)),
    (p.position, [], {"shape": (2, batch)}, Type((2, batch), int64)),
    (p.size, [], {"size": 2 * batch}, Type((), int64)),
]


@pytest.mark.parametrize(("primitive", "types", "attributes", "expected"), RULES)
def test_rules_give_the_type_of_the_result(primitive, types, attributes, expected):
    assert primitive.infer(types, attributes) == (expected,)


REFUSED = [  # primitive, operand types, attributes, error
    (p.add, [f32(batch), f32(2)], {}, ShapeError(r'do not broadcast: \("batch",\) and \(2,\)')),
    (p.add, [f32(2), Type((2,), float64)], {}, DTypeError("dtypes differ: float32, float64")),
    (p.add, [Type((), bool_)] * 2, {}, DTypeError("bool is not accepted.*cast bool first")),
    (p.exp, [Type((), int64)], {}, DTypeError("int64 is not accepted; expected a floating type")),
    (p.logical_not, [f32()], {}, DTypeError("expected bool")),
    (p.where, [f32(), f32(), f32()], {}, DTypeError("expected a bool condition")),
    (p.philox, [Type((), int32)] * 4, {}, DTypeError("int32 is not accepted; expected int64")),
    (p.reduce_sum, [f32(2)], {"axes": (1,), "keepdims": False}, ShapeError(r"axes \(1,\) do not name")),
    (p.reduce_sum, [f32(2)], {"axes": (0, 0), "keepdims": False}, ShapeError("distinct axes")),
    (p.reshape, [f32(batch, 3)], {"shape": (batch, 2)}, ShapeError(r"3\*batch elements.*2\*batch")),
    (p.transpose, [f32(2, 3)], {"axes": (0, 0)}, ShapeError("not a permutation")),
    (p.broadcast_to, [f32(2)], {"shape": (batch,)}, ShapeError("do not broadcast")),
    (p.broadcast_to, [f32(2)], {"shape": (1,)}, ShapeError("does not broadcast to")),
    (p.slice_, [f32(batch)], {"starts": (0,), "sizes": (2,), "steps": (1,)}, ShapeError("axis 0.*named")),
    (p.slice_, [f32(4)], {"starts": (2,), "sizes": (3,), "steps": (1,)}, ShapeError("2 to 4 by 1")),
    (p.slice_, [f32(4)], {"starts": (2,), "sizes": (4,), "steps": (-1,)}, ShapeError("outside")),
    (p.slice_, [f32(4)], {"starts": (0,), "sizes": (2,), "steps": (0,)}, ShapeError("outside")),
    (p.concat, [f32(2, 3), f32(2, 4)], {"axis": 0}, ShapeError("differ outside of axis 0")),
    (p.pad, [f32(2)], {"low": (-1,), "high": (0,), "value": 0}, ShapeError("do not fit")),
    (p.matmul, [f32(2, 3), f32(2, 3)], {}, ShapeError("inner dimensions differ: a is")),
    (p.matmul, [f32(3), f32(3, 2)], {}, ShapeError("rank 2 or more")),
    (p.gather, [f32(3), f32(2)], {"axis": 0, "along": False}, DTypeError("expected an integer type")),
    (p.gather, [f32(3), Type((2,), int64)], {"axis": 1, "along": False}, ShapeError("axis 1 is not")),
    (p.gather, [f32(3, 2), Type((3, 1), int64)], {"axis": 0, "along": True}, ShapeError("differ outside")),
    (
        p.scatter_add,
        [f32(3), Type((2,), int64)],
        {"axis": 0, "along": False, "shape": (7,)},
        ShapeError("does not fit"),
    ),
    (p.check_index, [f32(3)], {"size": 10}, DTypeError("expected an integer type")),
]


@pytest.mark.parametrize(("primitive", "types", "attributes", "error"), REFUSED)
def test_rules_refuse_what_does_not_fit(primitive, types, attributes, error):
    with pytest.raises(type(error), match=str(error)):
        primitive.infer(types, attributes)
