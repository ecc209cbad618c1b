"""Each row of the table in docs/from_oneflow.md, done to a script."""

import re
import sys

import numpy as np
import pytest

import lazyflow as flow
from lazyflow import nn
from lazyflow.nn.graph import Graph
from lazyflow.optim import oneflow as optim
from lazyflow.runtime.errors import SymbolicError
from repository import ROOT

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((8, 2, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 8)


def make_model():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 4))


class TrainGraph(nn.Graph):
    def __init__(self, model, optimizer=None, scheduler=None, **settings):
        super().__init__(**{"backend": "numpy", **settings})
        self.model = model
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.add_optimizer(self.optimizer, lr_sch=scheduler)

    def build(self, images, labels):
        loss = self.loss(self.model(images), labels)
        loss.backward()
        return loss, self.optimizer.lr


class Call(nn.Graph):
    """A graph of one function or module."""

    def __init__(self, function, **settings):
        super().__init__(backend="numpy", **settings)
        self.function = function

    def build(self, *arrays):
        return self.function(*arrays)


def call(function, *arrays):
    return Call(function)(*arrays)


def rows():
    page = (ROOT / "docs" / "from_oneflow.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (\w+) \| .+ \| .+ \|$", page, re.M)[1:]


def test_every_row_has_its_test():
    tests = {name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert sorted(rows()) == sorted(tests - {"every_row_has_its_test"})


def test_imports():
    assert flow.Parameter is nn.Parameter
    assert nn.Graph is Graph


def test_optimizers():
    weight = nn.Parameter(0.0, shape=(1,))
    assert optim.Adam([weight]).param_groups[0]["do_bias_correction"] is True
    scheduler = optim.lr_scheduler.StepLR(optim.SGD([weight], lr=1.0), step_size=2)
    np.testing.assert_allclose(scheduler.curve(3), [1.0, 1.0, 0.1])


def test_graph_class():
    model = make_model()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.CosineDecayLR(optimizer, decay_steps=4, alpha=0.5)
    graph = TrainGraph(model, optimizer, scheduler)
    rates = [float(graph(IMAGES, LABELS)[1]) for _ in range(5)]
    assert rates[0] == 0.01
    assert rates[4] == pytest.approx(0.005)


def test_device():
    graph = TrainGraph(make_model(), backend="numpy")
    graph(IMAGES, LABELS)
    assert type(graph.session.backend).__name__ == "NumpyBackend"
    with pytest.raises(flow.ArgumentError, match="no backend is named 'gpu'"):
        TrainGraph(make_model(), backend="gpu")(IMAGES, LABELS)


def test_inputs():
    assert call(make_model(), IMAGES).dtype == np.float32
    assert call(make_model(), IMAGES.astype(np.float64)).dtype == np.float64


def test_batches():
    graph = TrainGraph(make_model())
    graph(IMAGES, LABELS)
    graph(IMAGES[:3], LABELS[:3])
    fixed = TrainGraph(make_model(), static=True)
    fixed(IMAGES, LABELS)
    with pytest.raises(flow.FeedError):
        fixed(IMAGES[:3], LABELS[:3])


def test_outputs():
    loss, _ = TrainGraph(make_model())(IMAGES, LABELS)
    assert isinstance(loss, np.ndarray)
    assert isinstance(loss.item(), float)


def test_axis():
    got = call(lambda x: flow.sum(x, axis=1, keepdims=True), IMAGES)
    np.testing.assert_allclose(got, IMAGES.sum(1, keepdims=True), rtol=1e-6)


def test_classes_axis():
    labels = LABELS[:, None] % 2 + np.zeros((1, 3), int)
    loss = call(nn.CrossEntropyLoss(axis=1), IMAGES, labels)
    chosen = np.take_along_axis(IMAGES, labels[:, None], 1)[:, 0]
    np.testing.assert_allclose(loss, np.mean(np.log(np.exp(IMAGES).sum(1)) - chosen), rtol=1e-5)


def test_view():
    np.testing.assert_array_equal(
        call(lambda x: x.reshape(x.shape[0], -1), IMAGES), IMAGES.reshape(len(IMAGES), -1)
    )


def test_functions():
    np.testing.assert_array_equal(call(nn.functional.relu, IMAGES), np.maximum(IMAGES, 0))
    sums = call(lambda x: nn.functional.softmax(x, axis=1), IMAGES).sum(1)
    np.testing.assert_allclose(sums, np.ones((8, 3)), rtol=1e-6)


def test_parameters():
    zeros, given = nn.Parameter(0.0, shape=(3,)), nn.Parameter(np.ones(3, np.float32))
    np.testing.assert_array_equal(call(lambda x: x * zeros + given, IMAGES), np.ones_like(IMAGES))


def test_buffers():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask = flow.Variable(np.array([1, 0, 1], np.float32))

        def forward(self, x):
            return x * self.mask

    graph = Call(Masked())
    np.testing.assert_array_equal(graph(IMAGES), IMAGES * [1, 0, 1])
    np.testing.assert_array_equal(graph.state_dict()["function.mask"], [1, 0, 1])


def test_initial_values():
    layer = nn.Linear(100, 100)
    layer.weight.initial = nn.init.normal(std=0.02)
    graph = Call(layer)
    graph(np.zeros((1, 100), np.float32))
    assert graph.state_dict()["function.weight"].std() == pytest.approx(0.02, rel=0.05)


def test_seed():
    losses = [TrainGraph(make_model(), seed=seed)(IMAGES, LABELS)[0] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_rate():
    model = make_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    graph = TrainGraph(model, optimizer, scheduler)
    assert [graph(IMAGES, LABELS)[1] for _ in range(4)] == list(scheduler.curve(4))


def test_new_rate():
    graph = TrainGraph(make_model())
    graph(IMAGES, LABELS)
    plan = graph.plan
    graph.session.groups["sgd"][0]["lr"] = 0.01
    assert graph(IMAGES, LABELS)[1] == 0.01
    assert graph.plan is plan


def test_frozen():
    model = make_model()
    graph = TrainGraph(model, optim.SGD(model[4].parameters(), lr=0.1))
    graph.compile(IMAGES, LABELS)
    before = graph.state_dict()
    graph(IMAGES, LABELS)
    changed = {name for name, value in graph.state_dict().items() if not np.array_equal(value, before[name])}
    assert {name for name in changed if name.startswith("model")} == {"model.4.weight", "model.4.bias"}


def test_no_grad():
    predict = Call(make_model())
    before = predict.compile(IMAGES).session.state_dict()
    predict(IMAGES)
    changed = {n for n, value in predict.state_dict().items() if not np.array_equal(value, before[n])}
    assert changed == {"random/runs"}


def test_shared_model():
    model = make_model()
    train, predict = TrainGraph(model), Call(model)
    model.train()
    train(IMAGES, LABELS)
    model.eval()
    before = predict(IMAGES)
    train(IMAGES, LABELS)
    assert not np.array_equal(predict(IMAGES), before)


def test_modes():
    model = make_model()
    train = Call(model.train())
    assert not np.array_equal(train(IMAGES), train(IMAGES))
    predict = Call(model.eval())
    np.testing.assert_array_equal(predict(IMAGES), predict(IMAGES))


def test_conditions():
    with pytest.raises(SymbolicError, match=r"lf.where"):
        call(lambda x: x if flow.max(x) > 1 else -x, IMAGES)
    np.testing.assert_array_equal(call(lambda x: flow.where(flow.max(x) > 100, x, -x), IMAGES), -IMAGES)


def test_save(tmp_path):
    graph = TrainGraph(make_model())
    graph(IMAGES, LABELS)
    graph.session.save(tmp_path / "run.safetensors")
    assert (tmp_path / "run.safetensors").stat().st_size > 0


def test_load(tmp_path):
    first, second = TrainGraph(make_model(), seed=1), TrainGraph(make_model(), seed=2)
    first(IMAGES, LABELS)
    first.session.save(tmp_path / "run.safetensors")
    second.compile(IMAGES, LABELS)
    second.session.restore(tmp_path / "run.safetensors")
    assert first(IMAGES, LABELS)[0] == second(IMAGES, LABELS)[0]


def test_model_state():
    graph = TrainGraph(make_model())
    graph(IMAGES, LABELS)
    assert graph.state_dict()["model.1.weight"].shape == (5, 6)


def test_eager_loop():
    with flow.Graph() as graph:
        images = flow.placeholder("images", ("batch", 2, 3))
        labels = flow.placeholder("labels", ("batch",), flow.int64)
        model = make_model()
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        with graph.program("train", fetches={"loss": loss, "lr": optimizer.lr}):
            loss.backward()
            optimizer.step()
            scheduler.step()
    session = flow.compile(graph).session("numpy")
    assert [session.run("train", images=IMAGES, labels=LABELS)["lr"] for _ in range(2)] == [0.01, 0.005]
