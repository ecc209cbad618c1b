"""Any index and any shapes that broadcast: values and gradients as NumPy has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import lazyflow as lf
from ops.cases import normal
from ops.evaluation import evaluate

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=5)


@st.composite
def indexed(draw):
    shape = draw(SHAPES)
    index = draw(arrays.basic_indices(shape, allow_newaxis=True))
    return shape, index


def gradient_of(function, *inputs):
    """The value of a function, and the gradients of it weighted by random numbers, with those weights."""
    with lf.Graph() as graph:
        tensors = [lf.placeholder(f"x{i}", x.shape, lf.float64) for i, x in enumerate(inputs)]
        y = function(*tensors)
        weight = normal(*y.shape, seed=5)
        gradients = lf.gradients(lf.sum(y * weight), tensors)
    feeds = {f"x{i}": x for i, x in enumerate(inputs)}
    return weight, *evaluate(graph, [y, *gradients], feeds)


@given(indexed())
def test_getitem_and_its_gradient(case):
    shape, index = case
    x = normal(*shape)
    if x[index].size == 0:
        with pytest.raises(lf.ShapeError, match="is empty"):
            gradient_of(lambda t: t[index], x)
        return
    weight, value, gradient = gradient_of(lambda t: t[index], x)
    expected = np.zeros(shape)
    expected[index] += weight
    np.testing.assert_array_equal(value, x[index])
    np.testing.assert_array_equal(gradient, expected)


NAMED = {
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
    "all": lambda x: x[:, 1],
    "one": lambda x: x[:1],
    "tail": lambda x: x[-1:, ::2],
    "new axis": lambda x: x[None, -1],
    "inner": lambda x: (
        np.pad(x, [(2, 1), (0, 0)])[1:-1] if isinstance(x, np.ndarray) else lf.pad(x, [(2, 1), (0, 0)])[1:-1]
    ),
    "to a size": lambda x: x[0 : x.shape[0], -1],
}


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("pick", NAMED.values(), ids=NAMED)
def test_positions_that_every_size_of_a_named_axis_has(pick, rows):
    x = normal(rows, 4)
    with lf.Graph() as graph:
        tensor = lf.placeholder("x", ("rows", 4), lf.float64)
        y = pick(tensor)
        gradient = lf.gradients(lf.sum(y * y), tensor)
    value, slope = evaluate(graph, [y, gradient], {"x": x})
    places = pick(np.arange(x.size).reshape(x.shape) + 1)
    expected = np.where(np.isin(np.arange(x.size).reshape(x.shape) + 1, places), 2 * x, 0)
    np.testing.assert_array_equal(value, pick(x))
    np.testing.assert_array_equal(slope, expected)


def summed(x, shape):
    """The sum of an array over the axes along which the shape was broadcast."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True).reshape(shape)


@given(arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
def test_gradients_of_a_broadcast_are_summed(shapes):
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes.input_shapes))
    weight, value, da, db = gradient_of(lambda x, y: x * y, a, b)
    np.testing.assert_array_equal(value, a * b)
    np.testing.assert_allclose(da, summed(weight * b, a.shape), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(db, summed(weight * a, b.shape), rtol=1e-12, atol=1e-12)


@given(arrays.mutually_broadcastable_shapes(signature="(n,k),(k,m)->(n,m)", max_dims=2, max_side=3))
def test_matmul_and_its_gradients_for_all_batches_that_broadcast(shapes):
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes.input_shapes))
    weight, value, da, db = gradient_of(lf.matmul, a, b)
    np.testing.assert_allclose(value, a @ b, rtol=1e-12, atol=1e-12)
    batched = (weight @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ weight)
    for gradient, wide, x in zip((da, db), batched, (a, b), strict=True):
        batch = summed_batch(wide, x.shape)
        np.testing.assert_allclose(gradient, batch, rtol=1e-12, atol=1e-12)


def summed_batch(wide, shape):
    flat = wide.reshape(*wide.shape[:-2], -1)
    return summed(flat, (*shape[:-2], flat.shape[-1])).reshape(shape)
