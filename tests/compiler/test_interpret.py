"""The interpreter: what each primitive computes, against NumPy; effects; state; bad input."""

import numpy as np
import pytest
import scipy.special

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import make
from lazyflow.compiler.interpret import evaluate, interpret
from lazyflow.compiler.text import from_text
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import FeedError, GraphError, OutOfRangeError

X = np.random.default_rng(0).standard_normal((3, 4))
Z = np.abs(X)
Y = np.random.default_rng(1).standard_normal((3, 4))
J = np.array([[2, 0, 1, 2], [0, 0, 1, 1], [2, 2, 2, 2]])

SCALAR_CASES = {  # over x, y and z = abs(x) of float64, i of int64 and b = x > 0 of bool
    "add %x %y": X + Y,
    "sub %x %y": X - Y,
    "mul %x %y": X * Y,
    "div %x %y": X / Y,
    "floor_div %x %y": X // Y,
    "mod %x %y": X - np.floor(X / Y) * Y,
    "pow %i %i": J**J,
    "minimum %x %y": np.where(X < Y, X, Y),
    "maximum %x %y": np.where(X > Y, X, Y),
    "neg %x": 0 - X,
    "abs %x": np.where(X < 0, -X, X),
    "sign %x": np.where(X > 0, 1.0, -1.0),
    "exp %x": np.e**X,
    "expm1 %x": np.exp(X) - 1,
    "log %z": np.log2(Z) * np.log(2),
    "log1p %z": np.log(1 + Z),
    "sqrt %z": Z**0.5,
    "rsqrt %z": 1 / Z**0.5,
    "tanh %x": np.sinh(X) / np.cosh(X),
    "erf %x": scipy.special.erf(X),
    "sin %x": np.exp(1j * X).imag,
    "cos %x": np.exp(1j * X).real,
    "floor %x": np.trunc(X) - (X < 0),
    "ceil %x": -np.floor(-X),
    "round %x": np.floor(X + 0.5),
    "isfinite %x": np.full((3, 4), True),
    "eq %i %i": np.full((3, 4), True),
    "ne %i %i": np.full((3, 4), False),
    "lt %x %y": X < Y,
    "le %x %y": X <= Y,
    "gt %x %y": X > Y,
    "ge %x %y": X >= Y,
    "logical_and %b %b": X > 0,
    "logical_or %b %b": X > 0,
    "logical_not %b": X <= 0,
    "where %b %x %y": np.where(X > 0, X, Y),
    "cast %x : int64[3, 4]": np.trunc(X).astype(np.int64),
    "reduce_sum %x axes=(0,) keepdims=False": X.sum(0),
    "reduce_sum %x axes=(1, 0) keepdims=True": X.sum(keepdims=True),
    "reduce_max %x axes=(0,) keepdims=True": X.max(0, keepdims=True),
    "reduce_min %x axes=(0, 1) keepdims=False": X.min(),
    "argmax %x axes=(0,) keepdims=False": X.argmax(0),
    "argmax %x axes=(1,) keepdims=True": X.argmax(1, keepdims=True),
}


def outcome(line):
    """The value of one line over the operands, its type inferred where the line does not end with it."""
    graph = from_text("""
        %x = placeholder name=x : float64[3, 4]
        %y = placeholder name=y : float64[3, 4]
        %z = placeholder name=z : float64[3, 4]
        %i = placeholder name=i : int64[3, 4]
        %b = placeholder name=b : bool[3, 4]
        %r = """ + line + "\nfetch result = %r")  # fmt: skip
    fetched, _ = interpret(graph, "main", {"x": X, "y": Y, "z": Z, "i": J, "b": X > 0})
    assert fetched["result"].dtype == graph.ops[-1].output.dtype
    assert fetched["result"].shape == graph.ops[-1].output.shape
    return fetched["result"]


@pytest.mark.parametrize("line", SCALAR_CASES)
def test_scalar_primitives_and_reductions_compute_what_numpy_does(line):
    # two formulas for one function differ in the last bits
    np.testing.assert_allclose(outcome(line), SCALAR_CASES[line], rtol=1e-13, atol=1e-15)


OTHER_CASES = {
    "constant value=[1, 2] : int8[2]": np.array([1, 2]),
    "iota axis=1 : float32[2, 3]": np.array([[0, 1, 2], [0, 1, 2]]),
    "position : int64[2, 3]": np.array([[0, 1, 2], [3, 4, 5]]),
    "size size=12 : int64[]": np.array(12),
    "reshape %x : float64[2, 6]": X.reshape(2, 6),
    "transpose %x axes=(1, 0) : float64[4, 3]": X.T,
    "broadcast_to %x : float64[2, 3, 4]": np.stack([X, X]),
    "slice %x starts=(2, 1) sizes=(3, 2) steps=(-1, 2)": X[::-1, 1:4:2],
    "concat %x %y %x axis=1": np.hstack([X, Y, X]),
    "pad %i low=(1, 0) high=(0, 2) value=9": np.pad(J, ((1, 0), (0, 2)), constant_values=9),
    "gather %x %i axis=0 along=False": X[J],
    "gather %x %i axis=1 along=False": X[:, J],
    "gather %x %i axis=0 along=True": np.take_along_axis(X, J, 0),
    "check_index %i size=3": J,
    "copy %x": X,
}


@pytest.mark.parametrize("line", OTHER_CASES)
def test_other_primitives_compute_what_numpy_does(line):
    np.testing.assert_array_equal(outcome(line), OTHER_CASES[line])


def test_every_pure_primitive_has_a_case():
    tested = {line.split()[0] for line in (*SCALAR_CASES, *OTHER_CASES)} | {"matmul", "scatter_add", "philox"}
    tested.add("matmul_transposed")
    pure = {p.name for p in primitives.PRIMITIVES.values() if not p.effect}
    tested |= {"placeholder", "variable", "kernel", "matmul_transposed"}  # these have tests of their own
    assert pure <= tested


def test_matmul_transposed_gives_the_product_with_its_axes_reordered():
    graph = from_text("""
        %0 = placeholder name=a : float64[2, 3, 4]
        %1 = placeholder name=b : float64[4, 5]
        %2 = matmul_transposed %0 %1 axes=(1, 0, 2) : float64[3, 2, 5]
        fetch y = %2""")
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(20.0).reshape(4, 5)
    fetches, _ = interpret(graph, "main", {"a": a, "b": b})
    np.testing.assert_array_equal(fetches["y"], (a @ b).transpose(1, 0, 2))


def test_matmul_broadcasts_and_sums_half_types_in_float32():
    a = np.full((2, 1, 3, 5000), 1, np.float16)
    graph = from_text("""
        %0 = placeholder name=a : float16[2, 1, 3, 5000]
        %1 = placeholder name=b : float16[4, 5000, 2]
        %2 = matmul %0 %1 : float16[2, 4, 3, 2]
        fetch y = %2""")
    fetches, _ = interpret(graph, "main", {"a": a, "b": np.full((4, 5000, 2), 1, np.float16)})
    assert fetches["y"].dtype == np.float16
    np.testing.assert_array_equal(fetches["y"], np.full((2, 4, 3, 2), 5000))  # a float16 sum stops at 2048


def test_philox_draws_its_published_words():
    words = ", ".join(f"constant value={n} : int64[]" for n in (0, 0, 0))
    graph = from_text(
        "".join(f"%{i} = {line}\n" for i, line in enumerate(words.split(", ")))
        + """
        %3 = iota axis=0 : int64[4]
        %4 = philox %0 %1 %2 %3 : uint32[4]
        fetch bits = %4"""
    )
    fetches, _ = interpret(graph, "main")
    assert [hex(word) for word in fetches["bits"]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


@pytest.mark.parametrize(("along", "axis"), [(False, 0), (False, 1), (True, 0), (True, 1)])
def test_scatter_add_is_the_transpose_of_gather(along, axis):
    table = np.random.default_rng(2).standard_normal((3, 4))
    index = J % (table.shape[axis])
    extents = (3, 4) if along else (*table.shape[:axis], *J.shape, *table.shape[axis + 1 :])
    shape = ", ".join(map(str, extents))
    graph = from_text(f"""
        %0 = placeholder name=table : float64[3, 4]
        %1 = placeholder name=index : int64[3, 4]
        %2 = placeholder name=source : float64[{shape}]
        %3 = gather %0 %1 axis={axis} along={along} : float64[{shape}]
        %4 = scatter_add %2 %1 axis={axis} along={along} : float64[3, 4]
        fetch gathered = %3
        fetch scattered = %4""")
    source = np.random.default_rng(3).standard_normal(graph.ops[2].output.shape)
    y, _ = interpret(graph, "main", {"table": table, "index": index, "source": source})
    np.testing.assert_allclose(np.sum(y["gathered"] * source), np.sum(table * y["scattered"]))


@pytest.mark.parametrize(
    "line",
    [
        "gather %x %i axis=0 along=False",
        "gather %x %i axis=0 along=True",
        "scatter_add %x %i axis=0 along=True : float64[2, 4]",
        "check_index %i size=2",
    ],
)
def test_an_index_outside_of_its_axis_fails_with_the_line_of_the_op(line):
    graph = from_text(f"""
        %x = placeholder name=x : float64[{"3" if line.startswith("scatter") else "2"}, 4]
        %i = placeholder name=i : int64[3, 4]
        %r = {line}  # rows lookup.py:7
        fetch r = %r""")
    complaint = r"rows: index 2 is outside of its axis of 2 elements(.|\n)*lookup.py:7"
    with pytest.raises(OutOfRangeError, match=complaint):
        interpret(graph, "main", {"x": X[: graph.ops[0].output.shape[0]], "i": J})


def test_float64_precision_computes_every_floating_type_in_float64():
    graph = from_text("""
        %0 = placeholder name=x : float16[2]
        %1 = constant value=3.0 : float32[]
        %2 = cast %0 : float32[2]
        %3 = div %2 %1 : float32[2]
        %4 = cast %3 : bfloat16[2]
        %5 = cast %3 : int32[2]
        fetch y = %4
        fetch whole = %5""")
    fetches, _ = interpret(graph, "main", {"x": np.array([1.0, 7.0])}, precision="float64")
    np.testing.assert_array_equal(fetches["y"], np.array([1.0, 7.0]) / 3)
    assert fetches["whole"].dtype == np.int32


SWAP = """
    var name=a trainable=False initial=1 : float32[]
    var name=b trainable=False initial=2 : float32[]
    %0 = variable name=a : float32[]
    %1 = variable name=b : float32[]
    %2 = placeholder name=ok : bool[]
    %3 = assign name=a %1 : float32[]
    %4 = assign name=b %0 when %2 : float32[]
    %5 = add %0 %1 : float32[]
    fetch old = %5
    fetch a = %3
    fetch b = %4"""


def test_reads_are_from_before_the_run_and_assignments_take_effect_together():
    fetches, state = interpret(from_text(SWAP), "main", {"ok": True})
    assert fetches == {"old": 3, "a": 2, "b": 1}
    assert state == {"a": 2, "b": 1}
    assert state["a"].dtype == np.float32


def test_an_effect_whose_guard_is_false_keeps_the_old_value():
    fetches, state = interpret(from_text(SWAP), "main", {"ok": False}, {"a": 5, "b": 7})
    assert fetches == {"old": 12, "a": 7, "b": 7}
    assert state == {"a": 7, "b": 7}


UPDATE = """
body momentum
  %0 = placeholder name=p : float32[n]
  %1 = placeholder name=v : float32[n]
  %2 = placeholder name=g : float32[n]
  %3 = placeholder name=lr : float64[]
  %4 = add %1 %2 : float32[n]
  %5 = cast %3 : float32[]
  %6 = mul %4 %5 : float32[n]
  %7 = sub %0 %6 : float32[n]
  fetch p = %7
  fetch v = %4
end
var name=w trainable=True initial=1 : float32[2, 3]
var name=w/v trainable=False initial=2 : float32[2, 3]
%0 = placeholder name=g : float32[2, 3]
%1 = placeholder name=lr : float64[2]
%2 = placeholder name=group : int32[]
%3 = placeholder name=ok : bool[]
%4, %5 = update body=momentum variables=(w, w/v) elements=1 %0 %2 %1 when %3 : float32[2, 3], float32[2, 3]
fetch next = %4"""
# the same update after fusion: three elements (p, v, g) and a column come before the calls
BATCH = (
    UPDATE[: UPDATE.index("%4, %5 = update")]
    + """
%4, %5 = update_batch body={4=add 1 2 :float32; 5=cast 3 :float32; 6=mul 4 5 :float32; 7=sub 0 6 :float32} \
results=(7, 4) segments=(((w, w/v), 6),) elements=1 columns=1 %1 %0 %2 when %3 : float32[2, 3], float32[2, 3]
fetch next = %4"""
)


@pytest.mark.parametrize("text", [UPDATE, BATCH], ids=["update", "update_batch"])
def test_an_update_assigns_what_its_body_gives_for_the_group(text):
    g = np.arange(6, dtype=np.float32).reshape(2, 3)
    feeds = {"g": g, "lr": np.array([9.0, 0.5]), "group": 1, "ok": True}
    fetches, state = interpret(from_text(text), "main", feeds)
    np.testing.assert_array_equal(state["w/v"], 2 + g)
    np.testing.assert_array_equal(state["w"], 1 - 0.5 * (2 + g))
    np.testing.assert_array_equal(fetches["next"], state["w"])
    _, skipped = interpret(from_text(text), "main", feeds | {"ok": False})
    np.testing.assert_array_equal(skipped["w"], np.ones((2, 3)))


@pytest.mark.parametrize("text", [UPDATE, BATCH], ids=["update", "update_batch"])
def test_a_group_that_does_not_exist_is_out_of_range(text):
    feeds = {"g": np.zeros((2, 3)), "lr": np.zeros(2), "group": 2, "ok": True}
    with pytest.raises(OutOfRangeError, match="group index 2 is outside of the 2 groups"):
        interpret(from_text(text), "main", feeds)


def test_a_kernel_reads_and_writes_along_its_maps():
    # space (batch, 3) with rows of 3; the input is (3, 1, batch), the outputs (3, batch) and (batch, 1)
    graph = from_text("""
        %0 = placeholder name=x : float64[3, 1, batch]
        %1 = placeholder name=bias : float64[3]
        %2, %3 = kernel %0 %1 space=(batch, 3) inner=1 body={2=add 0 1 :float64; 3=reduce_sum 2 :float64; \
4=div 2 3 :float64} maps=((2, 0), (-1, 0), (1, 0), (0, -1)) results=(4, 3) : \
float64[3, batch], float64[batch, 1]
        fetch shares = %2
        fetch sums = %3""")
    x, bias = np.random.default_rng(4).random((3, 1, 5)), np.arange(3.0)
    fetches, _ = interpret(graph, "main", {"x": x, "bias": bias})
    total = x[:, 0] + bias[:, None]
    np.testing.assert_allclose(fetches["sums"], total.sum(0)[:, None])
    np.testing.assert_allclose(fetches["shares"], total / total.sum(0))


NAMED = """
    %0 = placeholder name=x : float32[batch, 2]
    %1 = placeholder name=y : float32[2*batch]
    %2 = size size=(2*batch + 1) : int64[]
    fetch x = %0
    fetch y = %1
    fetch n = %2"""


def test_named_dimensions_are_bound_by_the_feeds():
    fetches, _ = interpret(from_text(NAMED), "main", {"x": np.zeros((4, 2)), "y": np.zeros(8)})
    assert fetches["n"] == 9


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({"x": np.zeros((4, 2))}, "no feed for placeholder 'y'"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(7)}, r'y is \("2\*batch",\) with batch=4, got \(7,\)'),
        ({"x": np.zeros(4), "y": np.zeros(8)}, r'x is \("batch", 2\) with batch=4, got \(4,\)'),
    ],
)
def test_feeds_that_do_not_fit_are_refused(feeds, complaint):
    with pytest.raises(FeedError, match=complaint):
        interpret(from_text(NAMED), "main", feeds)


def test_an_unknown_program_is_refused_with_those_that_exist():
    with pytest.raises(GraphError, match=r"no program 'fit', only \['main'\]"):
        interpret(from_text(NAMED), "fit")


def test_evaluate_gives_the_outputs_of_one_op():
    one = make(primitives.constant, (), {"value": np.ones((), np.float32)}).output
    op = make(primitives.add, (one, one), {})
    (result,) = evaluate(op, [np.float32(1), np.float32(2)], {})
    assert result == 3
    assert result.dtype == dtypes.float32
