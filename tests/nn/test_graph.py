"""nn.Graph: traced at the first call, stepping by itself, sharing its model with other graphs."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.nn import functional as F  # noqa: N812, as everybody calls it
from lazyflow.optim.lr_scheduler.decay import StepLR
from lazyflow.runtime import errors

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = RNG.standard_normal((12, 3)).astype(np.float32)


class Train(nn.Graph):
    """A step of a linear model; returns the loss, and the rate of the step."""

    def __init__(self, model=None, lr=0.1, schedule=False, **settings):
        super().__init__(backend="numpy", **settings)
        self.model = model or nn.Linear(4, 3)
        self.optimizer = optim.SGD(self.model.parameters(), lr=lr)
        scheduler = StepLR(self.optimizer, step_size=2, gamma=0.5) if schedule else None
        self.add_optimizer(self.optimizer, lr_sch=scheduler)

    def build(self, x, y):
        loss = F.mse_loss(self.model(x), y)
        loss.backward()
        return loss, self.optimizer.lr


class Apply(nn.Graph):
    """What a model, or a function, makes of the arguments."""

    def __init__(self, function, **settings):
        super().__init__(backend="numpy", **settings)
        self.function = function

    def build(self, *inputs, **named):
        return self.function(*inputs, **named)


def test_a_call_runs_a_step_of_the_optimizer_and_of_the_scheduler():
    graph = Train(schedule=True)
    runs = [graph(X, Y) for _ in range(5)]
    assert [float(lr) for _, lr in runs] == [0.1, 0.1, 0.05, 0.05, 0.025]
    losses = [float(loss) for loss, _ in runs]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_the_numbers_are_those_of_a_plain_graph():
    sugar = Train(seed=3)
    losses = [sugar(X, Y)[0] for _ in range(3)]
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", ("batch", 4)), lf.placeholder("y", ("batch", 3))
        model = nn.Linear(4, 3, name="model")
        loss = F.mse_loss(model(x), y)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    session = lf.compile(graph).session("numpy", seed=3)
    assert losses == [session.run("train", x=X, y=Y)["loss"] for _ in range(3)]
    assert set(session.state_dict()) == set(sugar.state_dict())


def test_batches_of_any_size_run_on_one_plan():
    graph = Train()
    graph(X, Y)
    plan = graph.plan
    graph(X[:5], Y[:5])
    assert graph.plan is plan
    with pytest.raises(errors.FeedError, match=r"x is .* with batch=5, y says batch=6"):
        graph(X[:5], Y[:6])


def test_a_static_graph_refuses_another_size():
    graph = Train(static=True)
    graph(X, Y)
    with pytest.raises(errors.FeedError, match=r"feed 'x': axis 0 is 5(.|\n)*float32\[12, 4\]"):
        graph(X[:5], Y[:5])


def test_first_axes_of_other_sizes_are_static():
    graph = Apply(lambda x, table: x @ table)
    graph(X, np.ones((4, 2), np.float32))
    assert graph(X[:4], np.ones((4, 2), np.float32)).shape == (4, 2)
    with pytest.raises(errors.FeedError, match="feed 'input_1': axis 0 is 5"):
        graph(X, np.ones((5, 2), np.float32))


def test_dtypes_are_those_of_the_first_call():
    graph = Apply(lambda i: i + 1)
    assert graph(np.array([1, 2], np.int32)).dtype == np.int32
    with pytest.raises(errors.FeedError, match="float32"):
        graph(np.array([1.5], np.float32))


def test_numbers_are_scalars_that_each_call_gives():
    graph = Apply(lambda x, factor: x * factor)
    np.testing.assert_array_equal(graph(X, factor=2.0), X * 2)
    np.testing.assert_array_equal(graph(X, factor=3.0), X * 3)


def test_results_keep_their_structure():
    graph = Apply(lambda x: {"double": x * 2, "rest": [x + 1, (x, None)]})
    result = graph(X)
    assert list(result) == ["double", "rest"]
    np.testing.assert_array_equal(result["double"], X * 2)
    assert isinstance(result["rest"], list)
    assert result["rest"][1][1] is None
    np.testing.assert_array_equal(result["rest"][1][0], X)


def test_arguments_that_are_not_read_need_not_fit():
    graph = Apply(lambda x, unused: x)
    graph(X, Y)
    np.testing.assert_array_equal(graph(X, Y[:3]), X)


# --- models in several graphs -------------------------------------------------------------------------------


def test_graphs_of_one_model_share_its_values():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    train, predict = Train(model), Apply(model.eval())
    before = predict(X)
    model.train()
    for _ in range(3):
        train(X, Y)
    state = train.state_dict()
    expected = X @ state["model.0.weight"].T + state["model.0.bias"]
    np.testing.assert_allclose(predict(X), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(before, expected)
    train(X, Y)
    np.testing.assert_array_equal(predict.state_dict()["model.0.bias"], train.state_dict()["model.0.bias"])


def test_a_state_loaded_into_one_graph_is_seen_by_the_others():
    model = nn.Linear(4, 3)
    first, second, third = Apply(model), Apply(model), Apply(model)
    for graph in (first, second, third):
        graph(X)
    zeros = {name: np.zeros_like(value) for name, value in second.state_dict().items()}
    second.load_state_dict(zeros)
    for graph in (first, second, third):
        np.testing.assert_array_equal(graph(X), np.zeros((12, 3)))


def test_the_first_graph_names_what_is_shared():
    model = nn.Linear(4, 3, bias=False)
    graph = Apply(model)
    graph(X)
    assert set(graph.state_dict()) == {"function.weight", "random/seed", "random/runs"}
    graph = Apply(nn.Linear(4, 3, bias=False, name="net"))
    graph(X)
    assert "net.weight" in graph.state_dict()


def test_a_build_that_fails_gives_the_parameters_back():
    model = nn.Linear(4, 3)
    with pytest.raises(errors.ShapeError):
        Apply(model)(X[:, :2])
    assert Apply(model)(X).shape == (12, 3)


# --- state --------------------------------------------------------------------------------------------------


def test_training_goes_on_from_a_state():
    first = Train(schedule=True)
    for _ in range(3):
        first(X, Y)
    second = Train(schedule=True)
    second.load_state_dict(first.state_dict())  # before the first call: loaded when that comes
    for _ in range(3):
        (loss, lr), (other, other_lr) = first(X, Y), second(X, Y)
        assert (loss, lr) == (other, other_lr)


def test_a_state_that_does_not_fit_is_refused():
    graph = Train()
    graph(X, Y)
    with pytest.raises(errors.StateError, match=r"missing(.|\n)*model.weight"):
        graph.load_state_dict({})


def test_compile_runs_nothing():
    graph = Train(seed=1)
    graph.compile(X, Y)
    assert graph.session.get("sgd/updates") == 0
    graph(X, Y)
    assert graph.session.get("sgd/updates") == 1


# --- what is refused ----------------------------------------------------------------------------------------


def test_an_optimizer_and_backward_belong_together():
    class Forgot(Train):
        def build(self, x, y):
            return F.mse_loss(self.model(x), y)

    class Alone(nn.Graph):
        def __init__(self):
            self.model = nn.Linear(4, 3)

        def build(self, x, y):
            F.mse_loss(self.model(x), y).backward()

    with pytest.raises(errors.GraphError, match="there is an optimizer, and build calls no loss"):
        Forgot()(X, Y)
    with pytest.raises(
        errors.GraphError, match=r"calls loss.backward\(\), and there is no optimizer(.|\n)*hint"
    ):
        Alone()(X, Y)


def test_optimizers_are_checked_when_they_are_added():
    graph = Train()
    here = "test_graph.py:"
    with pytest.raises(errors.ArgumentTypeError, match="3 is no optimizer(.|\n)*" + here):
        graph.add_optimizer(3)
    with pytest.raises(errors.GraphError, match="'sgd' is added twice(.|\n)*" + here):
        graph.add_optimizer(graph.optimizer)
    other = optim.SGD([lf.Parameter([1.0])], name="other")
    with pytest.raises(errors.ArgumentTypeError, match="lr_sch 0.5 is no scheduler(.|\n)*" + here):
        graph.add_optimizer(other, lr_sch=0.5)
    scheduler = StepLR(other, step_size=2)
    with pytest.raises(errors.ArgumentError, match="no lr_sch is given(.|\n)*StepLR made at " + here):
        graph.add_optimizer(other)
    third = optim.SGD([lf.Parameter([1.0])], name="third")
    with pytest.raises(errors.ArgumentError, match="lr_sch is StepLR, which is not the scheduler of 'third'"):
        graph.add_optimizer(third, lr_sch=scheduler)
    graph(X, Y)
    with pytest.raises(errors.GraphError, match="Train is compiled already"):
        graph.add_optimizer(third)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Train()(X), r"Train: missing a required argument: 'y'(.|\n)*build\(x, y\)"),
        (lambda: Train()(X, Y, z=X), "Train: got an unexpected keyword argument 'z'"),
        (lambda: Train()(X, Y.tolist()), r"y: list is no array(.|\n)*numpy.asarray"),
        (lambda: Apply(lambda x: 3)(X), "build returned 3, which is no Tensor"),
        (lambda: nn.Graph()(), r"Graph has no build\(\)"),
        (lambda: Train().plan, "plan: Train is compiled by its first call"),
        (lambda: Train().state_dict(), "state_dict: Train is compiled by its first call"),
    ],
)
def test_calls_that_are_refused(call, text):
    with pytest.raises(errors.LazyflowError, match=text):
        call()


def test_a_model_that_an_lf_graph_has_is_refused():
    model = nn.Linear(4, 3)
    Apply(model)(X)
    with lf.Graph("plain"):
        model(lf.placeholder("x", (4,)))
    with pytest.raises(errors.GraphError, match="a Tensor of another graph"):
        Apply(model)(X)
