"""Layers compute what their functions compute, with parameters of PyTorch's shapes and initial values."""

import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn
from lazyflow.nn import functional as F  # noqa: N812, as everybody calls it
from lazyflow.runtime import errors

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def run(layer, array=X, dimensions=("batch",), seed=0):
    """The layer's output and the state, of a session of this seed."""
    with lf.Graph() as graph:
        x = lf.placeholder("x", (*dimensions, *array.shape[len(dimensions) :]), array.dtype)
        graph.program("main", fetches={"y": layer(x)})
    session = lf.compile(graph).session("numpy", seed=seed)
    return session.run("main", x=array)["y"], session.state_dict()


def test_linear():
    y, state = run(nn.Linear(4, 3))
    assert state["weight"].shape == (3, 4)
    np.testing.assert_allclose(y, X @ state["weight"].T + state["bias"], rtol=1e-5, atol=1e-6)


def test_linear_without_bias_on_further_axes():
    sequences = X.reshape(2, 3, 4)
    y, state = run(nn.Linear(4, 3, bias=False), sequences, ("batch", "length"))
    assert set(state) == {"weight", "random/seed", "random/runs"}
    np.testing.assert_allclose(y, sequences @ state["weight"].T, rtol=1e-5, atol=1e-6)


def test_embedding():
    indices = np.array([[4, 0], [1, 1]])
    y, state = run(nn.Embedding(5, 3), indices)
    np.testing.assert_array_equal(y, state["weight"][indices])


def test_layer_norm():
    y, state = run(nn.LayerNorm(4))
    np.testing.assert_array_equal(state["weight"], np.ones(4))
    np.testing.assert_array_equal(state["bias"], np.zeros(4))
    np.testing.assert_allclose(
        y, (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5), 1e-5
    )


def test_layer_norm_without_parameters():
    assert list(nn.LayerNorm((3, 4), elementwise_affine=False).parameters()) == []
    assert [p.name for p in nn.LayerNorm(4, bias=False).parameters()] == ["weight"]


def test_parameters_take_a_dtype():
    layers = (
        nn.Linear(2, 2, dtype=lf.float64),
        nn.Embedding(2, 2, "float16"),
        nn.LayerNorm(2, dtype=lf.bfloat16),
    )
    assert [layer.weight.dtype.name for layer in layers] == ["float64", "float16", "bfloat16"]


def test_dropout_draws_anew_in_every_run_and_in_every_layer():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (1000,))
        layer = nn.Dropout(0.5)
        graph.program("main", fetches={"a": layer(x), "b": layer(x)})
    plan = lf.compile(graph)
    ones = np.ones(1000, np.float32)
    first, second = plan.session("numpy", seed=1), plan.session("numpy", seed=1)
    runs = [session.run("main", x=ones) for session in (first, first, second)]
    assert not np.array_equal(runs[0]["a"], runs[0]["b"])
    assert not np.array_equal(runs[0]["a"], runs[1]["a"])
    np.testing.assert_array_equal(runs[0]["a"], runs[2]["a"])


PLAIN = [
    (nn.ReLU(), F.relu),
    (nn.GELU(), F.gelu),
    (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")),
    (nn.SiLU(), F.silu),
    (nn.Sigmoid(), F.sigmoid),
    (nn.Tanh(), F.tanh),
    (nn.Softmax(0), lambda x: F.softmax(x, 0)),
    (nn.LogSoftmax(), F.log_softmax),
    (nn.Identity(1, option=2), lambda x: x),
    (nn.Flatten(0), F.flatten),
    (nn.Dropout(0.5).eval(), lambda x: x),
    (nn.LayerNorm(4, elementwise_affine=False), lambda x: F.layer_norm(x, 4)),
]


@pytest.mark.parametrize(("layer", "function"), PLAIN, ids=lambda each: repr(each))
def test_modules_call_their_functions(layer, function, evaluate):
    np.testing.assert_array_equal(evaluate(layer, X), evaluate(function, X))


LOSSES = [
    (nn.MSELoss(), F.mse_loss, X[::-1]),
    (nn.MSELoss("sum"), lambda x, y: F.mse_loss(x, y, "sum"), X[::-1]),
    (nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits, (X > 0).astype(np.float32)),
    (
        nn.BCEWithLogitsLoss(np.float32(2), "sum", np.arange(4, dtype=np.float32)),
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, 2.0, "sum", lf.constant([0.0, 1.0, 2.0, 3.0])),
        X > 0,
    ),
    (nn.CrossEntropyLoss(), F.cross_entropy, np.array([0, 1, 2, 3, 0, 1])),
    (
        nn.CrossEntropyLoss(0, "none"),
        lambda x, y: F.cross_entropy(x, y, 0, "none"),
        np.array([0, 1, 2, 3]),
    ),
]


@pytest.mark.parametrize(("loss", "function", "target"), LOSSES, ids=lambda each: type(each).__name__)
def test_losses_call_their_functions(loss, function, target, evaluate):
    np.testing.assert_array_equal(evaluate(loss, X, target), evaluate(function, X, target))


# --- initial values -----------------------------------------------------------------------------------------

SHAPE = (40, 500)
FANS = {"fan_in": 500, "fan_out": 40}
RELU = math.sqrt(2.0)
INITIAL = [
    (nn.init.normal(), "normal", 0.0, 1.0),
    (nn.init.normal(2.0, 0.5), "normal", 2.0, 0.5),
    (nn.init.uniform(), "uniform", 0.5, math.sqrt(1 / 12)),
    (nn.init.uniform(-1.0, 3.0), "uniform", 1.0, math.sqrt(16 / 12)),
    (nn.init.xavier_uniform(), "uniform", 0.0, math.sqrt(2 / 540)),
    (nn.init.xavier_normal(gain=2.0), "normal", 0.0, 2 * math.sqrt(2 / 540)),
    (nn.init.kaiming_uniform(math.sqrt(5.0)), "uniform", 0.0, 1 / math.sqrt(3 * 500)),
    (nn.init.kaiming_uniform(nonlinearity="relu"), "uniform", 0.0, RELU / math.sqrt(500)),
    (nn.init.kaiming_normal(mode="fan_out", nonlinearity="relu"), "normal", 0.0, RELU / math.sqrt(40)),
    (nn.init.kaiming_normal(nonlinearity="tanh"), "normal", 0.0, 5 / 3 / math.sqrt(500)),
]


def initial(initializer, shape=SHAPE, dtype=None, seed=0):
    with lf.Graph() as graph:
        weight = lf.Parameter(initializer, shape=shape, dtype=dtype, name="weight")
        graph.program("main", fetches={"weight": weight})
    return lf.compile(graph).session("numpy", seed=seed).get("weight")


@pytest.mark.parametrize(("initializer", "kind", "mean", "std"), INITIAL)
def test_initial_values_have_their_distribution(initializer, kind, mean, std):
    values = (initial(initializer).astype(np.float64).ravel() - mean) / std
    # 20,000 draws: the standard errors of mean and deviation are 0.007 and 0.005
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1.0, abs=0.02)
    assert np.abs(values).max() < 1.7321 if kind == "uniform" else 3.5 < np.abs(values).max() < 6


def test_initial_values_depend_on_the_seed_and_the_parameter_alone():
    states = [run(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), seed=seed)[1] for seed in (1, 1, 2)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert not np.array_equal(states[0]["0.weight"], states[2]["0.weight"])
    assert not np.array_equal(states[0]["0.weight"], states[0]["1.weight"])


def test_linear_starts_as_in_pytorch():
    state = run(nn.Linear(400, 300), np.zeros((1, 400), np.float32))[1]
    for values in (state["weight"], state["bias"]):
        assert 0.049 < np.abs(values).max() <= 0.05
        assert values.std() == pytest.approx(0.05 / math.sqrt(3), rel=0.1)


def test_embedding_starts_normal():
    values = run(nn.Embedding(200, 50), np.zeros(1, int))[1]["weight"]
    assert (values.mean(), values.std()) == pytest.approx((0.0, 1.0), abs=0.03)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_initial_values_of_other_types(dtype):
    values = initial(nn.init.kaiming_normal(), dtype=dtype)
    assert values.dtype.name == dtype
    assert values.astype(np.float64).std() == pytest.approx(math.sqrt(2 / 500), rel=0.02)


def test_constants():
    np.testing.assert_array_equal(initial(nn.init.zeros(), (2,)), [0, 0])
    np.testing.assert_array_equal(initial(nn.init.ones(), (2,)), [1, 1])
    np.testing.assert_array_equal(initial(nn.init.constant(0.5), (2,), "float64"), [0.5, 0.5])


@pytest.mark.parametrize("weight", [nn.init.constant(0.25), 0.25, np.full((3, 4), 0.25)])
def test_another_initial_value_for_a_layer(weight):
    layer = nn.Linear(4, 3)
    layer.weight.initial = weight
    layer.bias.initial = 0.0
    y, _ = run(layer)
    np.testing.assert_allclose(y, np.repeat(X.sum(1, keepdims=True) / 4, 3, 1), rtol=1e-5, atol=1e-6)
    with pytest.raises(errors.GraphError, match="is compiled"):
        layer.weight.initial = 0.0


def test_another_initial_value_has_to_fit():
    with pytest.raises(errors.ShapeError, match=r"shape \(3, 4\) is not that of the array, \(4, 3\)"):
        nn.Linear(4, 3).weight.initial = np.zeros((4, 3))


# --- what is refused ----------------------------------------------------------------------------------------

REFUSED = {
    "Linear: in_features 0 is out of range": lambda: nn.Linear(0, 3),
    "Linear: out_features 2.5 is no integer": lambda: nn.Linear(3, 2.5),
    "Linear: name 3 is not a name": lambda: nn.Linear(3, 2, name=3),
    "Embedding: num_embeddings -1 is out of range": lambda: nn.Embedding(-1, 3),
    "LayerNorm: normalized_shape 'x' is no integer": lambda: nn.LayerNorm("x"),
    "LayerNorm: normalized_shape is empty": lambda: nn.LayerNorm(()),
    "LayerNorm: eps -1 is out of range": lambda: nn.LayerNorm(3, eps=-1),
    "Dropout: p -0.5 is out of range": lambda: nn.Dropout(-0.5),
    "GELU: approximate 'erf' is none of its values": lambda: nn.GELU("erf"),
    "MSELoss: reduction 'avg' is none of its values": lambda: nn.MSELoss("avg"),
    "CrossEntropyLoss: reduction 'avg' is none of its values": lambda: nn.CrossEntropyLoss(reduction="avg"),
    "BCEWithLogitsLoss: reduction 'avg' is none": lambda: nn.BCEWithLogitsLoss(reduction="avg"),
    "init.normal: std -1 is out of range": lambda: nn.init.normal(std=-1),
    "init.uniform: high 0.0 is out of range": lambda: nn.init.uniform(1.0, 0.0),
    "init.kaiming_normal: mode 'in' is none of its values": lambda: nn.init.kaiming_normal(mode="in"),
    "calculate_gain: nonlinearity 'gelu' is none": lambda: nn.init.kaiming_normal(nonlinearity="gelu"),
    r"init.xavier_normal: a weight of shape \(3,\) has no fan": lambda: initial(
        nn.init.xavier_normal(), (3,)
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises((errors.ArgumentError, errors.ShapeError), match=text):
        REFUSED[text]()
