"""Gradients: what flows where, conventions at kinks, errors, and that depth costs nothing but time."""

import cProfile
import pstats
import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.passes.prune import prune
from ops.evaluation import difference, evaluate


def x_and(shape=(), dtype=lf.float64, name="x"):
    return lf.placeholder(name, shape, dtype)


def derivative(function, at, dtype=lf.float64):
    """The derivative of the sum of ``function(x)`` by x, at an array."""
    at = np.asarray(at, dtype)
    with lf.Graph() as graph:
        x = x_and(at.shape, dtype)
        gradient = lf.gradients(lf.sum(function(x)), x)
    assert gradient.shape == x.shape
    assert gradient.dtype == x.dtype
    return evaluate(graph, [gradient], {"x": at})[0]


# --- what flows where -------------------------------------------------------------------------------------


def test_gradients_of_several_tensors_intermediate_ones_too():
    with lf.Graph() as graph:
        x = x_and((3,))
        h = x * x
        dx, dh = lf.gradients(lf.sum(h * 3.0), [x, h])
    values = evaluate(graph, [dx, dh], {"x": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_array_equal(values[0], [6, 12, 18])
    np.testing.assert_array_equal(values[1], [3, 3, 3])


def kinds_and_gradient(parts, used):
    """The primitives of the gradient of some squared parts of six columns, and its value at ones."""
    with lf.Graph() as graph:
        x = x_and((2, 6))
        pieces = lf.split(x, parts, axis=1)
        gradient = lf.gradients(sum(lf.sum(pieces[i] * pieces[i] * (i + 1.0)) for i in used), x)
        graph.program("p", fetches={"gradient": gradient})
    ops = prune(graph.ir).ops
    return [op.primitive.name for op in ops], evaluate(graph, [gradient], {"x": np.ones((2, 6))})[0][0]


@pytest.mark.parametrize("used", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_gradients_of_all_parts_of_a_split_are_joined_at_once(used):
    kinds, value = kinds_and_gradient(3, used)
    assert kinds.count("concat") == 1
    assert "pad" not in kinds
    np.testing.assert_array_equal(value, [2, 2, 4, 4, 6, 6])


@pytest.mark.parametrize(("parts", "used"), [((1, 2, 3), (1, 2)), (3, (0, 1)), (6, (2, 3))])
def test_gradients_of_neighbouring_parts_are_joined_and_padded(parts, used):
    kinds, value = kinds_and_gradient(parts, used)
    assert (kinds.count("concat"), kinds.count("pad")) == (1, 1)
    sizes = (6 // parts,) * parts if isinstance(parts, int) else parts
    factors = [2.0 * (i + 1) * (i in used) for i in range(len(sizes))]
    np.testing.assert_array_equal(value, np.repeat(factors, sizes))


def test_gradients_of_parts_that_are_used_twice_are_joined_once():
    kinds, value = kinds_and_gradient(3, (0, 1, 2, 0, 1, 2))
    assert (kinds.count("concat"), kinds.count("pad")) == (1, 0)  # each part's two gradients were one before
    np.testing.assert_array_equal(value, [4, 4, 8, 8, 12, 12])


@pytest.mark.parametrize("used", [(0, 2), (2, 0), (0, 0)])
def test_gradients_of_parts_that_do_not_touch_add(used):
    kinds, value = kinds_and_gradient(3, used)
    assert "concat" not in kinds
    np.testing.assert_array_equal(value, np.repeat([2.0 * (i + 1) * used.count(i) for i in range(3)], 2))


def test_gradient_of_the_loss_itself_is_the_seed():
    with lf.Graph() as graph:
        loss = lf.sum(x_and((2,)))
        gradient = lf.gradients(loss, loss)
    assert evaluate(graph, [gradient], {"x": np.ones(2)}) == [1.0]


def test_uses_of_one_tensor_add():
    assert derivative(lambda x: x * x + x + x, 3.0) == 8.0


def test_seed_makes_a_vector_jacobian_product():
    with lf.Graph() as graph:
        x = x_and((3,))
        y = x * x
        seed = lf.constant(np.array([1.0, 0.0, -2.0]))
        gradient = lf.gradients(y, x, seed=seed)
    value = evaluate(graph, [gradient], {"x": np.array([1.0, 2.0, 3.0])})[0]
    np.testing.assert_array_equal(value, [2, 0, -12])


def test_gradients_are_broadcast_back_to_named_shapes():
    with lf.Graph() as graph:
        x = x_and(("batch", 3))
        w, s = lf.placeholder("w", (3,), lf.float64), lf.placeholder("s", (), lf.float64)
        dw, ds = lf.gradients(lf.mean((x * w + s) ** 2), [w, s])
    assert (dw.shape, ds.shape) == ((3,), ())
    feeds = {"x": np.arange(6.0).reshape(2, 3), "w": np.ones(3), "s": np.array(0.5)}
    inner = 2 * (feeds["x"] + 0.5) / 6
    values = evaluate(graph, [dw, ds], feeds)
    np.testing.assert_allclose(values[0], (inner * feeds["x"]).sum(0))
    np.testing.assert_allclose(values[1], inner.sum())


def test_gradient_keeps_the_dtype_of_each_input():
    with lf.Graph():
        a = lf.placeholder("a", (3,), lf.float32)
        rate = lf.placeholder("rate", (), lf.float64)  # weak: the product is float32
        h = lf.placeholder("h", (3,), lf.float16)
        found = lf.gradients(lf.sum(a * rate) + lf.sum(h.astype(lf.float32)), [a, rate, h])
    assert [g.dtype for g in found] == [lf.float32, lf.float64, lf.float16]


def test_concat_and_pad_along_a_named_axis_have_gradients():
    with lf.Graph() as graph:
        a, b = x_and(("n", 2), name="a"), x_and(("m", 2), name="b")
        joined = lf.pad(lf.concat([a, b, a]), ((1, 2), (0, 0)))
        weight = lf.iota(joined.shape, dtype=lf.float64)
        da, db = lf.gradients(lf.sum(joined * joined * weight), [a, b])
    values = evaluate(graph, [da, db], {"a": np.ones((2, 2)), "b": np.ones((3, 2))})
    np.testing.assert_array_equal(values[0], 2.0 * np.array([[1 + 6] * 2, [2 + 7] * 2]))
    np.testing.assert_array_equal(values[1], 2.0 * np.array([[3] * 2, [4] * 2, [5] * 2]))


def test_nothing_is_appended_for_branches_that_reach_no_wanted_tensor():
    with lf.Graph() as graph:
        x, w = x_and(("batch", 4)), lf.placeholder("w", (4, 2), lf.float64)
        h = lf.exp(lf.sin(x)) @ w
        before = len(graph.ir.ops)
        lf.gradients(lf.sum(h), w)
    appended = [op.primitive for op in graph.ir.ops[before:]]
    assert appended.count(primitives.matmul) == 1
    assert not {primitives.exp, primitives.cos, primitives.sin} & set(appended)


def test_stop_gradient_is_a_constant():
    assert derivative(lambda x: x * lf.stop_gradient(x), 3.0) == 3.0


def test_a_path_of_zero_derivative_gives_zeros():
    np.testing.assert_array_equal(derivative(lambda x: lf.floor(x) * 2.0, [0.3, 1.7]), [0, 0])


def test_gradient_of_a_gradient():
    second = derivative(lambda x: lf.gradients(lf.sum(lf.tanh(x)), x), 0.3)
    t = np.tanh(0.3)
    np.testing.assert_allclose(second, -2 * t * (1 - t * t))


def test_gradient_of_a_gradient_through_gather():
    def penalty(x):
        picked = lf.take(x, [[0, 2], [2, 2]], axis=0)
        return lf.gradients(lf.sum(picked**3), x) ** 2

    at = np.array([0.5, -1.0, 2.0])
    feeds, along = {"x": at}, {"x": np.array([0.3, 0.7, -0.2])}
    with lf.Graph() as graph:
        loss = lf.sum(penalty(x_and((3,))))
    numeric = difference(lambda f: evaluate(graph, [loss], f)[0], feeds, along)
    np.testing.assert_allclose((derivative(penalty, at) * along["x"]).sum(), numeric, rtol=1e-6)


def test_gradient_of_a_copy_is_that_of_its_source():
    assert derivative(lambda x: lf.square(append(primitives.copy, x)), 3.0) == 6.0


# --- conventions at kinks and edges -----------------------------------------------------------------------


def test_equals_share_the_gradient_of_minimum_and_maximum():
    for function in (lf.minimum, lf.maximum):
        np.testing.assert_array_equal(derivative(lambda x, f=function: f(x, x * 1.0) * 4.0, 1.0), 4.0)
        np.testing.assert_array_equal(derivative(lambda x, f=function: f(x, 1.0) * 4.0, 1.0), 2.0)


def test_equals_share_the_gradient_of_max_and_min_over_an_axis():
    at = [[2.0, 2.0, 1.0], [0.0, 5.0, 0.0]]
    np.testing.assert_array_equal(derivative(lambda x: lf.max(x, 1), at), [[0.5, 0.5, 0], [0, 1, 0]])
    np.testing.assert_array_equal(derivative(lambda x: lf.min(x, 1), at), [[0, 0, 1], [0.5, 0, 0.5]])


def test_derivative_of_abs_at_zero_is_zero():
    np.testing.assert_array_equal(derivative(lf.abs, [-2.0, 0.0, 3.0]), [-1, 0, 1])


def test_clip_lets_the_gradient_pass_at_its_limits():
    values = derivative(lambda x: lf.clip(x, -1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(values, [0, 1, 1, 1, 0])


@pytest.mark.parametrize("dtype", [lf.float32, lf.float64], ids=str)
def test_gradient_of_sigmoid_is_finite_everywhere(dtype):
    values = derivative(lf.sigmoid, [-np.inf, -1e4, -1.0, 0.0, 1.0, 1e4, np.inf], dtype)
    tail = 1 / (2 + 2 * np.cosh(1.0))
    np.testing.assert_allclose(values, [0, 0, tail, 0.25, tail, 0, 0], rtol=1e-6)


def test_gradient_of_pow_at_zero():
    np.testing.assert_array_equal(
        derivative(lambda x: x ** lf.constant([0.0, 1.0, 2.0, 3.0]), np.zeros(4)), [0, 1, 0, 0]
    )
    np.testing.assert_array_equal(derivative(lambda x: x**3.0, 0.0), 0)
    np.testing.assert_array_equal(derivative(lambda b: lf.pow(0.0, b), [0.0, 0.5, 2.0]), [0, 0, 0])
    np.testing.assert_allclose(derivative(lambda b: lf.pow(2.0, b), 3.0), 8 * np.log(2))


def test_where_takes_no_gradient_from_what_it_does_not_choose():
    values = derivative(lambda x: lf.where(x > 0.0, lf.log(lf.where(x > 0.0, x, 1.0)), 0.0), [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(values, [0, 0, 0.5])


def test_nan_reaches_the_gradient_through_max():
    assert np.isnan(derivative(lf.max, [1.0, np.nan, 2.0])).all()


def test_logsumexp_of_large_numbers_has_the_gradient_of_softmax():
    np.testing.assert_allclose(derivative(lf.logsumexp, [1000.0, 1000.0, -1000.0]), [0.5, 0.5, 0])


# --- backward ---------------------------------------------------------------------------------------------


def weights(*shapes):
    return [lf.Parameter(np.ones(shape), name=f"w{i}") for i, shape in enumerate(shapes)]


def test_backward_gathers_the_gradients_of_reached_parameters_in_the_program():
    with lf.Graph() as graph:
        x = x_and(("batch", 2))
        used, unused = weights((2,), (2,))
        fixed = lf.Variable(np.ones(2), name="fixed")
        loss = lf.sum(x * used * fixed)
        _ = unused * 2.0
        with graph.program("train") as program:
            loss.backward()
    assert list(program.gradients) == [used]
    value = evaluate(graph, [program.gradients[used]], {"x": np.ones((3, 2))}, state=state(graph))[0]
    np.testing.assert_array_equal(value, [3, 3])


def state(graph):
    return {variable.name: variable.initial for variable in graph.variables.values()}


def test_two_calls_of_backward_in_one_program_add_and_programs_are_apart():
    with lf.Graph() as graph:
        (w,) = weights((2,))
        loss = lf.sum(w * w)
        with graph.program("twice") as twice:
            loss.backward()
            (loss * 10.0).backward()
        with graph.program("once") as once:
            loss.backward()
    found = [twice.gradients[w], once.gradients[w]]
    values = evaluate(graph, found, state=state(graph))
    np.testing.assert_array_equal(values, [[22, 22], [2, 2]])


def test_gradient_ops_are_named_after_the_op_and_line_that_they_come_from():
    with lf.Graph() as graph:
        x = x_and((3,))
        with graph.scope("block"):
            loss = lf.sum(lf.exp(x))
        line = loss.location
        before = len(graph.ir.ops)
        lf.gradients(loss, x)
        after = lf.exp(x)
    names = {op.origins[0] for op in graph.ir.ops[before:-1]}
    assert {name for name, _ in names} == {"block/reduce_sum/grad", "block/exp/grad"}
    assert {location for _, location in names} == {line}
    assert after.name == "exp"


def deep_gradients(layers):
    with lf.Graph() as graph:
        h = lf.placeholder("x", ("batch", 8))
        for w in [lf.Parameter(0.0, (8, 8), name=f"w{i}") for i in range(layers)]:
            h = lf.tanh(h @ w)
        with graph.program("train") as program:
            lf.mean(h).backward()
    return len(program.gradients)


def calls(layers):
    """How many function calls that takes: what does not depend on how busy the machine is."""
    profile = cProfile.Profile()
    profile.runcall(deep_gradients, layers)
    return pstats.Stats(profile).total_calls


def test_a_deep_network_costs_no_stack():
    assert deep_gradients(2000) == 2000


def test_four_times_the_layers_take_four_times_the_calls():
    deep_gradients(2)  # imports, and caches of what does not depend on the depth
    assert calls(200) <= 4 * calls(50)


# --- what is refused --------------------------------------------------------------------------------------


def refused(error, text):
    return pytest.raises(error, match=re.escape(text))


def test_a_loss_must_be_a_floating_scalar():
    with lf.Graph() as graph:
        x, n = x_and((3,)), lf.placeholder("n", (), lf.int64)
        with refused(lf.GradientError, "gradients: the loss is int64; only floating types"):
            lf.gradients(n, x)
        with refused(lf.GradientError, "gradients: the loss is (3,), no scalar"):
            lf.gradients(x * x, x)
        with refused(lf.GradientError, "gradients: the seed is float64[2], the loss float64[3]"):
            lf.gradients(x * x, x, seed=lf.zeros((2,), lf.float64))
        with refused(lf.ArgumentTypeError, "gradients: 3.0 is no Tensor"):
            lf.gradients(3.0, x)
        with graph.program("train"), refused(lf.GradientError, "backward: the loss is (3,), no scalar"):
            x.backward()


def test_gradients_by_what_the_loss_does_not_reach():
    with lf.Graph():
        x, other = x_and((3,)), x_and((3,), name="other")
        loss = lf.sum(x * lf.cast(other > 0.0, lf.float64) * lf.stop_gradient(other))
        with refused(lf.GradientError, "gradients: the loss does not depend on 'other'") as caught:
            lf.gradients(loss, [x, other])
        assert "test_autograd.py:" in str(caught.value)
        with refused(lf.GradientError, "gradients: 'n' is int64; only floating types"):
            lf.gradients(loss, lf.placeholder("n", (3,), lf.int64))
        with refused(lf.ArgumentTypeError, "gradients: 'x' is no Tensor"):
            lf.gradients(loss, ["x"])


def test_gradients_by_a_tensor_of_another_graph():
    with lf.Graph():
        stranger = x_and((3,), name="stranger")
    with lf.Graph(), refused(lf.GraphError, "gradients: 'stranger' is a Tensor of another graph"):
        lf.gradients(lf.sum(x_and((3,))), stranger)


def test_gradients_belong_to_the_open_graph():
    with lf.Graph() as graph:
        x = x_and((3,))
        loss = lf.sum(x)
    with refused(lf.GraphError, "gradients: no graph is open"):
        lf.gradients(loss, x)
    with lf.Graph() as other, refused(lf.GraphError, "gradients: the loss is a Tensor of another graph"):
        lf.gradients(loss, x)
    assert (len(graph.ir.ops), len(other.ir.ops)) == (2, 0)


def test_backward_outside_of_a_program():
    with lf.Graph():
        (w,) = weights((2,))
        with refused(lf.GraphError, "loss.backward() was called outside of a program"):
            lf.sum(w).backward()


def test_backward_of_a_loss_without_parameters():
    text = "backward: the loss depends on no Parameter"
    with lf.Graph() as graph, graph.program("train"), refused(lf.GradientError, text):
        lf.sum(x_and((2,))).backward()


def test_a_refused_call_appends_nothing():
    with lf.Graph() as graph:
        x, other = x_and((3,)), x_and((3,), name="other")
        loss = lf.sum(x)
        before = len(graph.ir.ops)
        with pytest.raises(lf.GradientError):
            lf.gradients(loss, [x, other])
        assert len(graph.ir.ops) == before
