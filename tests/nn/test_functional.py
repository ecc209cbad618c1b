"""Every function against its formula in NumPy or SciPy, and its gradients against central differences."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import ml_dtypes
import numpy as np
import pytest
import scipy.special as special

import lazyflow as lf
from lazyflow.nn import functional as F  # noqa: N812, as everybody calls it
from lazyflow.runtime import errors

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A function, its arguments, and its value in NumPy or SciPy, in float64."""

    name: str
    function: Callable
    arrays: tuple
    reference: Callable


def normal(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def labels(*shape, classes):
    return RNG.integers(0, classes, shape)


def layer_norm(x, weight=1.0, bias=0.0, eps=1e-5, axes=(-1,)):
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps) * weight + bias


def cross_entropy(logits, labels, axis=-1):
    chosen = np.take_along_axis(special.log_softmax(logits, axis), np.expand_dims(labels, axis), axis)
    return -chosen.squeeze(axis)


def binary_cross_entropy(x, t, pos=1.0):
    return -(pos * t * np.log(special.expit(x)) + (1 - t) * np.log(special.expit(-x)))


def attention(q, k, v, mask=0.0, scale=None):
    scores = q @ k.swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5) + mask
    return special.softmax(scores, -1) @ v


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


QKV = (normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 6))
LOOKS = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
CAUSAL = np.where(np.tri(3, 5, dtype=bool), 0.0, -np.inf)
BINARY = (normal(3, 4, scale=3), RNG.random((3, 4)).astype(np.float32))
WIDE = (normal(3, 4), normal(5, 4), normal(5))

CASES = [
    Case("relu", F.relu, (normal(3, 4),), lambda x: np.maximum(x, 0)),
    Case("gelu", F.gelu, (normal(3, 4, scale=2),), lambda x: x * special.ndtr(x)),
    Case("gelu tanh", partial(F.gelu, approximate="tanh"), (normal(3, 4, scale=2),), gelu_tanh),
    Case("silu", F.silu, (normal(3, 4),), lambda x: x * special.expit(x)),
    Case("sigmoid", F.sigmoid, (normal(3, 4, scale=4),), special.expit),
    Case("tanh", F.tanh, (normal(3, 4),), np.tanh),
    Case("softplus", F.softplus, (normal(3, 4, scale=4),), lambda x: np.logaddexp(0, x)),
    Case("softmax", F.softmax, (normal(3, 4),), lambda x: special.softmax(x, -1)),
    Case("softmax axis 0", partial(F.softmax, axis=0), (normal(3, 4),), lambda x: special.softmax(x, 0)),
    Case("log_softmax", F.log_softmax, (normal(3, 4),), lambda x: special.log_softmax(x, -1)),
    Case(
        "log_softmax axis 1",
        partial(F.log_softmax, axis=1),
        (normal(2, 3, 4),),
        lambda x: special.log_softmax(x, 1),
    ),
    Case(
        "cross_entropy",
        F.cross_entropy,
        (normal(6, 5), labels(6, classes=5)),
        lambda x, y: cross_entropy(x, y).mean(),
    ),
    Case(
        "cross_entropy sum of bytes",
        partial(F.cross_entropy, reduction="sum"),
        (normal(6, 300), labels(6, classes=256).astype(np.uint8)),
        lambda x, y: cross_entropy(x, y.astype(int)).sum(),
    ),
    Case(
        "cross_entropy none axis 1",
        partial(F.cross_entropy, axis=1, reduction="none"),
        (normal(2, 5, 3), labels(2, 3, classes=5).astype(np.int32)),
        lambda x, y: cross_entropy(x, y, 1),
    ),
    Case(
        "cross_entropy of one",
        F.cross_entropy,
        (normal(5), labels(classes=5).reshape(())),
        lambda x, y: cross_entropy(x, y),
    ),
    Case("layer_norm", partial(F.layer_norm, normalized_shape=4), (normal(3, 4),), layer_norm),
    Case(
        "layer_norm affine",
        lambda x, w, b: F.layer_norm(x, (3, 4), w, b, eps=0.1),
        (normal(2, 3, 4), normal(3, 4), normal(3, 4)),
        partial(layer_norm, eps=0.1, axes=(-2, -1)),
    ),
    Case("mse_loss", F.mse_loss, (normal(3, 4), normal(3, 4)), lambda x, y: ((x - y) ** 2).mean()),
    Case(
        "mse_loss sum",
        partial(F.mse_loss, reduction="sum"),
        (normal(3, 4), normal(3, 4)),
        lambda x, y: ((x - y) ** 2).sum(),
    ),
    Case(
        "mse_loss none",
        partial(F.mse_loss, reduction="none"),
        (normal(3, 4), normal(3, 4)),
        lambda x, y: (x - y) ** 2,
    ),
    Case(
        "binary_cross_entropy_with_logits",
        F.binary_cross_entropy_with_logits,
        BINARY,
        lambda x, t: binary_cross_entropy(x, t).mean(),
    ),
    Case(
        "binary_cross_entropy_with_logits weighted",
        lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w, "none", p),
        (*BINARY, normal(4) ** 2, normal(4) ** 2),
        lambda x, t, w, p: w * binary_cross_entropy(x, t, p),
    ),
    Case("linear", F.linear, WIDE, lambda x, w, b: x @ w.T + b),
    Case("linear without bias", F.linear, (normal(2, 3, 4), normal(5, 4)), lambda x, w: x @ w.T),
    Case("linear of a vector", F.linear, (normal(4), normal(5, 4), normal(5)), lambda x, w, b: x @ w.T + b),
    Case("flatten", F.flatten, (normal(2, 3, 4),), np.ravel),
    Case("flatten from 1", partial(F.flatten, start_axis=1), (normal(2, 3, 4),), lambda x: x.reshape(2, 12)),
    Case("embedding", F.embedding, (labels(2, 3, classes=5), normal(5, 4)), lambda i, w: w[i]),
    Case("attention", F.scaled_dot_product_attention, QKV, attention),
    Case(
        "attention scaled",
        partial(F.scaled_dot_product_attention, scale=0.3),
        QKV,
        partial(attention, scale=0.3),
    ),
    Case(
        "attention masked",
        F.scaled_dot_product_attention,
        (*QKV, LOOKS),
        lambda q, k, v, m: attention(q, k, v, np.where(m, 0.0, -np.inf)),
    ),
    Case("attention with a bias", F.scaled_dot_product_attention, (*QKV, normal(3, 5)), attention),
    Case(
        "attention causal",
        partial(F.scaled_dot_product_attention, is_causal=True),
        QKV,
        partial(attention, mask=CAUSAL),
    ),
    Case("dropout of nothing", partial(F.dropout, p=0.0), (normal(3, 4),), lambda x: x),
    Case("dropout of all", partial(F.dropout, p=1.0), (normal(3, 4),), np.zeros_like),
    Case("one_hot", partial(F.one_hot, size=5), (labels(3, classes=5),), lambda i: np.eye(5)[i]),
]

all_cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
NO_GRADIENT = {"dropout of all", "one_hot"}  # constants


def in_float64(arrays):
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


@all_cases
def test_value_in_float32(case, evaluate):
    got = evaluate(case.function, *case.arrays)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, case.reference(*in_float64(case.arrays)), rtol=3e-6, atol=1e-6)


@all_cases
def test_value_in_float64(case, evaluate):
    arrays = in_float64(case.arrays)
    np.testing.assert_allclose(
        evaluate(case.function, *arrays), case.reference(*arrays), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in NO_GRADIENT], ids=lambda case: case.name)
def test_gradients(case, check_gradients):
    check_gradients(case.function, *case.arrays)


HALF = [
    c
    for c in CASES
    if c.name
    in {"gelu", "silu", "softplus", "softmax", "log_softmax", "cross_entropy", "layer_norm", "mse_loss"}
]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("case", HALF, ids=lambda case: case.name)
def test_half_types_are_rounded_once(case, dtype, evaluate):
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.arrays]
    got = evaluate(case.function, *arrays)
    assert got.dtype == dtype
    exact = case.reference(*(a.astype(np.float64) if a.dtype == dtype else a for a in arrays))
    # half a unit in the last place, and what float32 adds to it
    np.testing.assert_allclose(
        got.astype(np.float64), exact, rtol=0.51 * float(ml_dtypes.finfo(dtype).eps), atol=1e-6
    )


def test_every_function_has_a_case():
    tested = {getattr(c.function, "func", c.function).__name__ for c in CASES}
    assert set(F.__all__) <= tested


# --- numbers that are easily got wrong --------------------------------------------------------------------


def test_relu_keeps_nan_and_has_no_slope_at_zero(evaluate):
    x = np.array([np.nan, -0.0, 0.0, -np.inf, np.inf], np.float32)
    np.testing.assert_array_equal(evaluate(F.relu, x), [np.nan, 0, 0, 0, np.inf])
    slopes = evaluate(lambda x: lf.gradients(lf.sum(F.relu(x)), x), np.array([0.0, 1.0], np.float32))
    np.testing.assert_array_equal(slopes, [0, 1])


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax, F.sigmoid, F.softplus])
def test_large_arguments_do_not_overflow(function, evaluate):
    x = np.array([[1e4, 1e4 - 1, -1e4]], np.float32)
    assert np.isfinite(evaluate(function, x)).all()
    assert np.isfinite(evaluate(lambda x: lf.gradients(lf.sum(function(x)), x), x)).all()


def test_cross_entropy_keeps_small_losses_beside_large_logits(evaluate):
    x = np.array([[1000.0, 990.0]], np.float32)
    loss = evaluate(F.cross_entropy, x, np.array([0]))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-10.0)), atol=6e-8)  # the last place of 1 in float32


def test_cross_entropy_of_an_impossible_class_is_infinite(evaluate):
    x = np.array([[0.0, -np.inf]], np.float32)
    assert evaluate(F.cross_entropy, x, np.array([1])) == np.inf
    assert evaluate(F.cross_entropy, x, np.array([0])) == 0


def test_binary_cross_entropy_has_its_slope_at_zero(evaluate):
    def slope(x, t):
        return lf.gradients(lf.sum(F.binary_cross_entropy_with_logits(x, t)), x)

    x, t = np.zeros(2, np.float32), np.array([0.0, 1.0], np.float32)
    np.testing.assert_array_equal(evaluate(slope, x, t), [0.25, -0.25])


def test_binary_cross_entropy_of_bools(evaluate):
    x, t = np.array([1.0, -2.0], np.float32), np.array([True, False])
    expected = binary_cross_entropy(x.astype(float), t).mean()
    np.testing.assert_allclose(evaluate(F.binary_cross_entropy_with_logits, x, t), expected, rtol=1e-6)


@pytest.mark.parametrize("label", [5, -1])
def test_a_label_that_is_no_class_fails(label, evaluate):
    with pytest.raises(
        errors.OutOfRangeError, match=r"check_index: index -?[0-9] is outside of its axis of 5"
    ):
        evaluate(F.cross_entropy, normal(1, 5), np.array([label]))


def test_dropout_keeps_the_mean(evaluate):
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("n",))
        graph.program("main", fetches={"y": F.dropout(x, 0.25)})
    y = run_with_state(graph, {"x": np.ones(40_000, np.float32)})
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)


def test_dropout_of_a_model_that_predicts_is_nothing():
    with lf.Graph():
        x = lf.placeholder("x", (3,))
        assert F.dropout(x, 0.5, training=False) is x


def run_with_state(graph, feeds):
    session = lf.compile(graph).session("numpy", seed=3)
    return session.run("main", feeds)["y"]


def test_named_dimensions_stay_named():
    with lf.Graph():
        x = lf.placeholder("x", ("batch", "seq", 8))
        y = lf.placeholder("y", ("batch", "seq"), lf.int64)
        batch, seq, _ = x.shape
        assert F.linear(x, lf.placeholder("w", (5, 8))).shape == (batch, seq, 5)
        assert F.scaled_dot_product_attention(x, x, x, is_causal=True).shape == x.shape
        assert F.cross_entropy(x, y, reduction="none").shape == (batch, seq)
        assert F.flatten(x, 0, 1).shape == (batch * seq, 8)


# --- what is refused ----------------------------------------------------------------------------------------


def x(*shape, dtype=lf.float32, name="x"):
    return lf.placeholder(name, shape, dtype)


REFUSED = {
    "cross_entropy: labels are float32": (
        errors.DTypeError,
        lambda: F.cross_entropy(x("n", 5), x("n", name="labels")),
    ),
    r"cross_entropy: labels are float32(.|\n)*hint *lf.argmax\(labels, axis=1\)": (
        errors.DTypeError,
        lambda: F.cross_entropy(x("n", 5), x("n", 5, name="labels")),
    ),
    r'cross_entropy: labels are \("n", 1\), logits are \("n", 5\)(.|\n)*labels of shape \("n",\)': (
        errors.ShapeError,
        lambda: F.cross_entropy(x("n", 5), x("n", 1, dtype=lf.int64, name="labels")),
    ),
    "cross_entropy: reduction 'avg' is none of its values": (
        errors.ArgumentError,
        lambda: F.cross_entropy(x("n", 5), x("n", dtype=lf.int64, name="y"), reduction="avg"),
    ),
    "cross_entropy: axis 2 is not an axis of a tensor of rank 2": (
        errors.ShapeError,
        lambda: F.cross_entropy(x("n", 5), x("n", dtype=lf.int64, name="y"), axis=2),
    ),
    r"mse_loss: input is \(3, 1\), target is \(3,\)": (
        errors.ShapeError,
        lambda: F.mse_loss(x(3, 1), x(3, name="t")),
    ),
    r"binary_cross_entropy_with_logits: input is \(3,\), target is \(4,\)": (
        errors.ShapeError,
        lambda: F.binary_cross_entropy_with_logits(x(3), x(4, name="t")),
    ),
    r"dropout: p 1.5 is out of range(.|\n)*0.0 <= p <= 1.0": (
        errors.ArgumentError,
        lambda: F.dropout(x(3), 1.5),
    ),
    "dropout: p nan is out of range": (errors.ArgumentError, lambda: F.dropout(x(3), float("nan"))),
    "dropout: p '0.5' is no number": (errors.ArgumentError, lambda: F.dropout(x(3), "0.5")),
    r"layer_norm: normalized_shape \(4,\) is not the end of x's shape \(3, 5\)": (
        errors.ShapeError,
        lambda: F.layer_norm(x(3, 5), 4),
    ),
    r"layer_norm: weight is \(5,\), normalized_shape is \(4,\)": (
        errors.ShapeError,
        lambda: F.layer_norm(x(3, 4), 4, x(5, name="w")),
    ),
    "layer_norm: normalized_shape 0 is out of range": (
        errors.ArgumentError,
        lambda: F.layer_norm(x(3, 4), 0),
    ),
    "layer_norm: eps -1.0 is out of range": (
        errors.ArgumentError,
        lambda: F.layer_norm(x(3, 4), 4, eps=-1.0),
    ),
    r"linear: x is \(3, 4\), the weight is \(4, 5\)": (
        errors.ShapeError,
        lambda: F.linear(x(3, 4), x(4, 5, name="w")),
    ),
    r"linear: the bias is \(4,\), the weight is \(5, 4\)": (
        errors.ShapeError,
        lambda: F.linear(x(3, 4), x(5, 4, name="w"), x(4, name="b")),
    ),
    r"embedding: the weight is \(4,\)": (
        errors.ShapeError,
        lambda: F.embedding(x(3, dtype=lf.int64), x(4, name="w")),
    ),
    "take: the index is float32": (errors.DTypeError, lambda: F.embedding(x(3), x(4, 5, name="w"))),
    r"scaled_dot_product_attention: query is \(3, 4\), key is \(5, 6\)": (
        errors.ShapeError,
        lambda: F.scaled_dot_product_attention(x(3, 4), x(5, 6, name="k"), x(5, 6, name="v")),
    ),
    "is_causal and attn_mask exclude each other": (
        errors.ArgumentError,
        lambda: F.scaled_dot_product_attention(
            *(x(3, 3, name=n) for n in "qkv"), x(3, 3, name="mask"), is_causal=True
        ),
    ),
    "gelu: approximate 'erf' is none of its values": (errors.ArgumentError, lambda: F.gelu(x(3), "erf")),
    "flatten: end_axis 0 is before start_axis 1": (errors.ShapeError, lambda: F.flatten(x(3, 4), 1, 0)),
    "softmax: axis 1 is not an axis": (errors.ShapeError, lambda: F.softmax(x(3), 1)),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    error, call = REFUSED[text]
    with lf.Graph(), pytest.raises(error, match=text) as caught:
        call()
    assert "test_functional.py:" in str(caught.value)
