"""Tensor: promotion, number rules, operators, and errors that teach the define-then-run habit."""

import math
import operator
import re

import numpy as np
import pytest

import lazyflow as lf
from ops.evaluation import evaluate, run

f16, bf16, f32, f64 = lf.float16, lf.bfloat16, lf.float32, lf.float64
u8, i8, i16, i32, i64, u32, boolean = lf.uint8, lf.int8, lf.int16, lf.int32, lf.int64, lf.uint32, lf.bool_


def made(spec, name):
    """A placeholder of ``(dtype, rank)``; a number or an array as it is."""
    if isinstance(spec, tuple):
        return lf.placeholder(name, (3,) * spec[1], spec[0])
    return spec


# --- promotion --------------------------------------------------------------------------------------------

# The rules of torch.result_type, as its documentation gives them, on tensors of rank 1 and more
BETWEEN_TENSORS = [
    (f32, f32, f32),
    (f32, f64, f64),
    (f16, f32, f32),
    (f16, bf16, f32),
    (bf16, f32, f32),
    (bf16, f64, f64),
    (i64, f16, f16),
    (i64, bf16, bf16),
    (i64, f32, f32),
    (u8, f32, f32),
    (boolean, f16, f16),
    (boolean, u8, u8),
    (boolean, i64, i64),
    (u8, i8, i16),
    (u8, i16, i16),
    (u8, i64, i64),
    (i8, i32, i32),
    (i16, i64, i64),
    (u32, i32, i64),
    (u32, i64, i64),
    (u8, u32, u32),
]

# A number of no lower kind than the tensor's keeps the tensor's dtype; else the default of its kind decides
WITH_NUMBERS = [
    ((f32, 1), 2.0, f32),
    ((f32, 1), 2, f32),
    ((f32, 1), True, f32),
    ((f16, 1), 2.0, f16),
    ((bf16, 0), 2.5, bf16),
    ((f32, 0), 2.0, f32),
    ((i64, 1), 2, i64),
    ((u8, 1), 2, u8),
    ((i8, 0), True, i8),
    ((i64, 1), 2.0, f32),
    ((u8, 0), 0.5, f32),
    ((boolean, 1), 2, i64),
    ((boolean, 1), 2.0, f32),
    ((f32, 1), np.float64(2.0), f32),  # numpy's scalars are numbers
    ((f32, 0), np.float64(2.0), f32),
    ((i32, 1), np.int64(2), i32),
    ((i32, 1), np.float64(2.0), f32),
]

# A tensor of rank 0 decides only where its kind is higher, and then by its own dtype
WITH_SCALARS = [
    ((f32, 1), (f64, 0), f32),
    ((f16, 2), (f64, 0), f16),
    ((f32, 1), (i64, 0), f32),
    ((i32, 1), (i64, 0), i32),
    ((u8, 1), (i64, 0), u8),
    ((i32, 1), (f64, 0), f64),
    ((i32, 1), (f16, 0), f16),
    ((boolean, 1), (i8, 0), i8),
    ((f32, 0), (f64, 0), f64),
    ((i32, 0), (i64, 0), i64),
    ((i64, 0), (f32, 0), f32),
]

# Arrays keep their dtype and their rank's say; lists of numbers are float32, those of bools bool
WITH_ARRAYS = [
    ((f32, 1), np.ones(3), f64),
    ((f32, 1), np.ones(3, np.float32), f32),
    ((f32, 1), np.array(2.0), f32),
    ((i32, 1), np.ones(3, np.int8), i32),
    ((f32, 1), [1.0, 2.0, 3.0], f32),
    ((f16, 1), [1, 2, 3], f32),
    ((i32, 1), [1, 2, 3], f32),
    ((i32, 1), [True, False, True], i32),
]

ROWS = [*(((a, 1), (b, 2), c) for a, b, c in BETWEEN_TENSORS), *WITH_NUMBERS, *WITH_SCALARS, *WITH_ARRAYS]


@pytest.mark.parametrize(("a", "b", "expected"), ROWS, ids=str)
def test_promotion(a, b, expected):
    with lf.Graph():
        a, b = made(a, "a"), made(b, "b")
        found = [lf.mul(a, b), lf.mul(b, a), lf.maximum(a, b), lf.where(lf.constant(True), a, b)]
    assert [tensor.dtype for tensor in found] == [expected] * 4


def test_bools_count_as_zero_and_one():
    with lf.Graph() as graph:
        p, q = lf.constant([True, True, False]), lf.constant([True, False, False])
        found = [p + q, p - q, p * q, -p, lf.sum(p), p * 2, p + 0.5]
    assert [t.dtype for t in found] == [i64, i64, i64, i64, i64, i64, f32]
    values = evaluate(graph, found)
    np.testing.assert_array_equal(values[0], [2, 1, 0])
    np.testing.assert_array_equal(values[1], [0, 1, 0])
    assert values[4] == 2


def test_a_number_is_a_constant_of_the_result_and_no_cast():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (3,), f16)
        before = len(graph.ir.ops)
        _ = 1 + x * 2.5
    assert [op.primitive.name for op in graph.ir.ops[before:]] == ["constant", "mul", "constant", "add"]
    assert {op.output.dtype for op in graph.ir.ops[before:]} == {f16}


@pytest.mark.parametrize("dtype", [i64, u8, boolean], ids=str)
def test_functions_of_real_numbers_make_float32_of_integers(dtype):
    real = [lf.exp, lf.log, lf.sqrt, lf.tanh, lf.sigmoid, lf.erf, lf.sin, lf.mean, lf.var, lf.logsumexp]
    with lf.Graph():
        x = lf.placeholder("x", (3,), dtype)
        assert {f(x).dtype for f in real} == {f32}
        assert (x / x).dtype == f32
        assert (x / 2).dtype == f32


@pytest.mark.parametrize("dtype", [f16, bf16], ids=str)
def test_half_types_are_summed_in_float32(dtype):
    with lf.Graph() as graph:
        x = lf.ones((3000,), dtype)
        found = [lf.sum(x), lf.mean(x * 60.0), lf.var(x * 60.0), lf.logsumexp(x * 0.0)]
    assert [t.dtype for t in found] == [dtype] * 4
    values = [float(v) for v in evaluate(graph, found)]
    # a sum in float16 or bfloat16 would stop growing at 2048 or 256, and 60 * 3000 is infinite in float16
    exact = [3000, 60, 0, math.log(3000)]
    assert values == [float(np.asarray(v, np.float64).astype(dtype)) for v in exact]


def test_float64_is_never_made_silently():
    with lf.Graph():
        x, n = lf.placeholder("x", ("batch", 3)), lf.placeholder("n", (3,), i64)
        made_of = [x * 0.1, lf.mean(x), lf.var(n), n / 3, n * math.pi, lf.constant(0.1), lf.full((2,), 0.5)]
        more = [lf.constant([0.1]), lf.size(x, 0) / 2, lf.one_hot(n, 3), lf.arange(0.0, 1.0, 0.1), lf.rand(3)]
    assert {tensor.dtype for tensor in [*made_of, *more]} == {f32}


# --- number rules -----------------------------------------------------------------------------------------


def u(*values):
    return np.array(values, np.uint8)


NAN, INF = np.nan, np.inf

NUMBER_RULES = [
    ("int overflow wraps", lambda x: x + 100, u(200), u(44)),
    ("int overflow wraps", lambda x: -x, u(1), u(255)),
    ("int overflow wraps", lambda x: lf.abs(x), np.array([-128], np.int8), np.array([-128], np.int8)),
    ("integer division by zero gives 0", lambda x: x // 0, np.array([-7, 0, 7]), np.array([0, 0, 0])),
    ("the remainder by zero is 0", lambda x: x % 0, np.array([-7, 0, 7]), np.array([0, 0, 0])),
    ("// floors", lambda x: x // 2, np.array([-7, 7]), np.array([-4, 3])),
    ("% has the sign of the divisor", lambda x: x % -3, np.array([-7, 7]), np.array([-1, -2])),
    ("true division", lambda x: x / 2, np.array([1, -3]), np.array([0.5, -1.5], np.float32)),
    ("true division by zero", lambda x: x / 0, np.array([1, -1, 0]), np.array([INF, -INF, NAN], np.float32)),
    ("float to int cuts", lambda x: x.astype(i32), np.array([2.9, -2.9]), np.array([2, -2], np.int32)),
    ("float to int saturates", lambda x: x.astype(u8), np.array([-5.0, 300.0, INF]), u(0, 255, 255)),
    ("float to int: NaN gives 0", lambda x: x.astype(i64), np.array([NAN]), np.array([0])),
    (
        "float to bool: NaN is true",
        lambda x: x.astype(boolean),
        np.array([NAN, 0.0]),
        np.array([True, False]),
    ),
    ("minimum propagates NaN", lambda x: lf.minimum(x, 1.0), np.array([NAN, 2.0]), np.array([NAN, 1.0])),
    ("maximum propagates NaN", lambda x: lf.maximum(1.0, x), np.array([NAN, 0.0]), np.array([NAN, 1.0])),
    ("clip propagates NaN", lambda x: lf.clip(x, 0.0, 1.0), np.array([NAN, 2.0]), np.array([NAN, 1.0])),
    ("max propagates NaN", lf.max, np.array([1.0, NAN]), np.array(NAN)),
    ("argmax takes the first", lf.argmax, np.array([1, 3, 3]), np.array(1)),
    ("round half to even", lf.round, np.array([0.5, 1.5, -2.5]), np.array([0.0, 2.0, -2.0])),
    ("ints sum in int64", lf.sum, u(200, 200), np.array(400)),
    ("equal is false for NaN", lambda x: x == x, np.array([NAN, 1.0]), np.array([False, True])),
]


@pytest.mark.parametrize(
    ("rule", "function", "x", "expected"), NUMBER_RULES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_number_rule(rule, function, x, expected):
    with lf.Graph() as graph:
        y = function(lf.placeholder("x", x.shape, x.dtype))
    (value,) = run(graph, [y], {"x": x})
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


# --- operators --------------------------------------------------------------------------------------------

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
COMPARISON = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
X, Y = np.array([[1.5, -2.0, 3.0]]), np.array([[2.0], [1.5]])


def values_of(*functions):
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", X.shape, f64), lf.placeholder("y", Y.shape, f64)
        tensors = [function(x, y) for function in functions]
    return evaluate(graph, tensors, {"x": X, "y": Y})


@pytest.mark.parametrize("op", [*BINARY, *COMPARISON], ids=lambda op: op.__name__)
def test_operator_with_a_tensor_an_array_and_a_number_on_either_side(op):
    both, left, right, number = values_of(
        op, lambda x, y: op(X, y), lambda x, y: op(x, Y), lambda x, y: op(1.5, x)
    )
    for value in (both, left, right):
        np.testing.assert_array_equal(value, op(X, Y))
    np.testing.assert_array_equal(number, op(1.5, X))


def test_pow_matmul_and_unary_operators():
    found = values_of(
        lambda x, y: abs(x) ** y,
        lambda x, y: 2.0**x,
        lambda x, y: y @ x,
        lambda x, y: Y @ x,
        lambda x, y: -x,
        lambda x, y: +x,
        lambda x, y: abs(x),
    )
    expected = [np.abs(X) ** Y, 2.0**X, Y @ X, Y @ X, -X, X, np.abs(X)]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-15)


def test_logical_operators():
    found = values_of(
        lambda x, y: (x > 0.0) & (y > 1.7),
        lambda x, y: (x > 0.0) | np.array([True]),
        lambda x, y: np.array([True]) & ~(x > 0.0),
    )
    expected = [(X > 0) & (Y > 1.7), (X > 0) | True, ~(X > 0)]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_methods_follow_numpy():
    methods = [
        lambda x: x.reshape(3, 1),
        lambda x: x.reshape((1, -1)),
        lambda x: x.reshape(-1),
        lambda x: x.transpose(),
        lambda x: x.transpose(1, 0),
        lambda x: x.transpose((1, 0)),
        lambda x: x.T,
        lambda x: x.sum(),
        lambda x: x.sum(axis=0),
        lambda x: x.mean(axis=1, keepdims=True),
        lambda x: x.max(axis=(0, 1)),
        lambda x: x.min(1),
        lambda x: x.var(ddof=1),
        lambda x: x.argmax(axis=1),
        lambda x: x.astype("int32"),
        lambda x: x[0, ::-1],
    ]
    values = values_of(*[lambda x, y, m=method: m(x) for method in methods])
    for method, value in zip(methods, values, strict=True):
        np.testing.assert_array_equal(value, method(X))


@pytest.mark.parametrize(
    "ufunc", [np.exp, np.sin, np.negative, np.rint, np.square, np.sign], ids=lambda f: f.__name__
)
def test_numpy_function_of_a_tensor_is_ours(ufunc):
    np.testing.assert_allclose(values_of(lambda x, y: ufunc(x))[0], ufunc(X), rtol=1e-15)


@pytest.mark.parametrize(
    "ufunc", [np.add, np.true_divide, np.power, np.maximum, np.less, np.matmul], ids=lambda f: f.__name__
)
def test_numpy_function_of_an_array_and_a_tensor_is_ours(ufunc):
    first, second = (np.abs(Y), X) if ufunc is np.power else (Y, X)
    np.testing.assert_allclose(values_of(lambda x, y: ufunc(first, x))[0], ufunc(first, second), rtol=1e-15)


def test_equality_is_elementwise_and_hash_is_identity():
    with lf.Graph():
        a, b = lf.placeholder("a", (3,)), lf.placeholder("b", (3,))
        assert isinstance(a == b, lf.Tensor)
        assert {a: 1, b: 2}[b] == 2


def test_what_a_tensor_tells():
    with lf.Graph() as graph, graph.scope("encoder"):
        x = lf.placeholder("x", ("batch", 64))
        h = lf.exp(x)
    assert (h.ndim, h.dtype, h.name) == (2, f32, "encoder/exp")
    assert str(h.shape) == "(batch, 64)"
    assert repr(h) == "<Tensor 'encoder/exp' float32[batch, 64]>"
    assert re.fullmatch(r"test_tensor\.py:\d+", h.location)
    assert len(lf.Variable(np.ones((5, 2)))) == 5


def test_functions_of_several_ops_name_them():
    with lf.Graph() as graph:
        lf.sigmoid(lf.placeholder("x", (3,)))
    assert {op.origins[0].name.partition("/")[0] for op in graph.ir.ops[1:]} == {"sigmoid"}


# --- what a Tensor cannot do ------------------------------------------------------------------------------

TEACHING = [
    (lambda x: bool(x), "bool() of a Tensor: it holds no number while the graph is built", "lf.where("),
    (lambda x: 1 if x > 0 else 2, "bool() of a Tensor", "lf.where("),
    (lambda x: x in [x + 1.0], "bool() of a Tensor", "lf.where("),
    (lambda x: 0 < x < 1, "bool() of a Tensor", "lf.where("),
    (lambda x: max(x, 0.0), "bool() of a Tensor", "lf.where("),
    (lambda x: float(x), "float() of a Tensor", "fetch it"),
    (lambda x: int(x), "int() of a Tensor", "fetch it"),
    (lambda x: complex(x), "complex() of a Tensor", "fetch it"),
    (lambda x: math.cos(x), "float() of a Tensor", "fetch it"),
    (lambda x: range(x), "an index or range() of a Tensor", "fetch it"),
    (lambda x: [1, 2][x], "an index or range() of a Tensor", "fetch it"),
    (lambda x: list(x), "iteration of a Tensor", "lf.split"),
    (lambda x: sum(x), "iteration of a Tensor", "lf.split"),
    (lambda x: len(x), "len() of a Tensor", "lf.size("),
    (lambda x: 1.0 in x, "`in` of a Tensor", "lf.max("),
    (lambda x: x.__setitem__(0, 1.0), "item assignment of a Tensor", "lf.where"),
    (lambda x: x.item(), "item() of a Tensor", "fetch it"),
    (lambda x: x.numpy(), "numpy() of a Tensor", "fetch it"),
    (lambda x: np.asarray(x), "numpy.asarray() of a Tensor", "fetch it"),
    (lambda x: np.array([x, x]), "numpy.asarray() of a Tensor", "fetch it"),
    (lambda x: np.sum(x), "numpy.sum does not take a Tensor", "lazyflow's function"),
    (lambda x: np.where(x, x, x), "numpy.where does not take a Tensor", "lazyflow's function"),
    (lambda x: np.isnan(x), "numpy.isnan does not take a Tensor", "lazyflow's function"),
    (lambda x: np.add.reduce(x), "numpy.add does not take a Tensor", "lazyflow's function"),
    (lambda x: np.exp(x, out=np.ones(3)), "numpy.exp does not take a Tensor", "lazyflow's function"),
]


@pytest.mark.parametrize(("call", "starts", "hint"), TEACHING, ids=[row[1] for row in TEACHING])
def test_error_that_teaches(call, starts, hint):
    with lf.Graph():
        x = lf.placeholder("images", ("batch",))
        with pytest.raises(lf.SymbolicError) as caught:
            call(x)
    text = str(caught.value)
    assert text.startswith(starts)
    assert hint in text
    assert "made at test_tensor.py:" in text


NO_CONSTANTS = [
    ([[1], [1, 2]], "constant: [[1], [1, 2]] is not a list of numbers"),
    (np.zeros((0, 3)), "constant: an array of shape (0, 3) is empty"),
    ("text", "constant: 'text' is not a number, an array or a list of numbers"),
    (None, "constant: None is not a number"),
    (2**70, "constant: 1180591620717411303424 is not a number"),
    (np.array([1j]), "dtype: dtype('complex128') is not an element type of lazyflow"),
    (lambda: lf.zeros(()), "constant: a Tensor is no constant"),
    (lambda: [1.0, lf.zeros(())], "constant: a list of Tensors is no constant"),
]


@pytest.mark.parametrize(("value", "starts"), NO_CONSTANTS, ids=[row[1] for row in NO_CONSTANTS])
def test_what_is_no_constant(value, starts):
    with lf.Graph(), pytest.raises(lf.LazyflowError) as caught:
        lf.constant(value() if callable(value) else value)
    assert str(caught.value).startswith(starts)


def test_tensors_of_two_graphs_do_not_mix():
    with lf.Graph("first"):
        a = lf.placeholder("a", (3,))
    with lf.Graph("second"):
        b = lf.placeholder("b", (3,))
        with pytest.raises(lf.GraphError, match="add: a Tensor of another graph"):
            _ = b + a


def test_nothing_is_appended_to_a_compiled_graph():
    with lf.Graph("done") as graph:
        x = lf.placeholder("x", (3,))
        graph.program("main", fetches={"y": x * 2.0})
        lf.compile(graph)
        with pytest.raises(lf.GraphError, match="graph 'done' is compiled; nothing can be appended to it"):
            _ = x + 1.0


def test_shape_error_names_operands_and_lines():
    with lf.Graph():
        a, b = lf.placeholder("images", ("batch", 784)), lf.placeholder("weights", (128, 784))
        with pytest.raises(lf.ShapeError) as caught:
            _ = a @ b
    text = str(caught.value)
    assert text.startswith('matmul: inner dimensions differ: a is ("batch", 784), b is (128, 784)\n')
    assert "expected  a.shape[-1] == b.shape[-2], got 784 and 128" in text
    assert text.count("made at test_tensor.py:") == 2
    assert "transpose one of them, as in matmul(a, b.T)" in text
