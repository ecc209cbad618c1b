"""The mistakes of a first day: each is told with its line, and with what to write instead."""

import re
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import habits, nn, optim


@dataclass(frozen=True)
class Mistake:
    """A call of a placeholder x of shape ("batch", 4), what it raises, and words of the hint."""

    call: Callable[[lf.Tensor], object]
    error: type[Exception]
    headline: str
    hint: str
    tells_line: bool = True


BUILDING = {
    "format": Mistake(lambda x: f"{x:.3f}", lf.SymbolicError, "format '.3f' of a Tensor", "fetch it"),
    "view": Mistake(lambda x: x.view(-1), AttributeError, "'Tensor' object has no", "tensor.reshape"),
    "detach": Mistake(lambda x: x.detach(), AttributeError, "'Tensor' object has no", "lf.stop_gradient"),
    "grad": Mistake(
        lambda x: lf.Parameter([1.0]).grad, AttributeError, "'Parameter' object has no", "program.gradients["
    ),
    "numpy.mean": Mistake(
        lambda x: np.mean(x), lf.SymbolicError, "numpy.mean does not", "lazyflow's function"
    ),
    "range": Mistake(
        lambda x: range(x.shape[0]), lf.SymbolicError, "dimension batch:", "lf.size(x, 0)", False
    ),
    "numpy.zeros": Mistake(
        lambda x: np.zeros(x.shape), lf.SymbolicError, "dimension batch:", "shapes take it", False
    ),
    "size as operand": Mistake(
        lambda x: x / x.shape[0], lf.ArgumentTypeError, "div: batch is no operand", "lf.size(x, axis)"
    ),
    "None for a size": Mistake(
        lambda x: lf.placeholder("z", (None, 4)), lf.ShapeError, "placeholder: None in shape", '"batch"'
    ),
    "float index": Mistake(
        lambda x: nn.Embedding(5, 3)(x), lf.DTypeError, "take: the index is float32", "dtype=lf.int64"
    ),
    "list of modules": Mistake(
        lambda x: nn.Sequential([nn.ReLU()]),
        lf.ArgumentTypeError,
        "Sequential: [ReLU()]",
        "Sequential(*modules)",
    ),
    "class of modules": Mistake(
        lambda x: nn.Sequential(nn.ReLU), lf.ArgumentTypeError, "Sequential: <class", "ReLU(...)"
    ),
    "Tensor as initial value": Mistake(
        lambda x: lf.Parameter(x), lf.ArgumentTypeError, "Variable: a Tensor is no initial", "shape=(3, 4)"
    ),
}


def refused(mistake, call):
    with pytest.raises(mistake.error, match="^" + re.escape(mistake.headline)) as caught:
        call()
    _, *rows = str(caught.value).splitlines()
    (hint,) = (row for row in rows if row.startswith("  hint"))
    assert mistake.hint in hint
    assert not mistake.tells_line or re.search(r"^  here +at test_mistakes\.py:\d+$", "\n".join(rows), re.M)


@pytest.mark.parametrize("mistake", BUILDING.values(), ids=BUILDING)
def test_while_the_graph_is_built(mistake):
    with lf.Graph():
        x = lf.placeholder("x", ("batch", 4))
        refused(mistake, lambda: mistake.call(x))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: lf.placeholder("z", (), dtype="floot"),
        lambda x: lf.cast(x, "floot"),
        lambda x: lf.constant(1, "floot"),
        lambda x: lf.constant(np.array(["one"])),
        lambda x: lf.Variable(1.0, dtype="floot"),
        lambda x: lf.zeros((3,), "floot"),
        lambda x: lf.arange(3, dtype="floot"),
        lambda x: lf.uniform((3,), dtype="floot"),
    ],
)
def test_element_type_that_does_not_exist_is_told_with_its_line(call):
    with (
        lf.Graph(),
        pytest.raises(lf.DTypeError, match=r"is not an element type[^!]*\n  here +at test_mista"),
    ):
        call(lf.placeholder("x", ("batch", 4)))


def programs_graph():
    with lf.Graph() as graph:
        loss = lf.sum(lf.Parameter([1.0], name="w"))
        graph.program("predict", fetches={"loss": loss})
    return graph, loss


PROGRAMS = {
    "list of fetches": Mistake(
        lambda g, loss: g.program("p", fetches=[loss]),
        lf.ArgumentTypeError,
        "program: fetches=[",
        "fetches={",
    ),
    "Tensor as fetches": Mistake(
        lambda g, loss: g.program("p", fetches=loss), lf.ArgumentTypeError, "program: fetches=<", "fetches={"
    ),
    "a name twice": Mistake(
        lambda g, loss: g.program("predict"), lf.GraphError, "program: the name 'predict' is", "another name"
    ),
    "number after the block": Mistake(
        lambda g, loss: loss * 2, lf.GraphError, "mul: no graph is open", "session.run(program"
    ),
    "product after the block": Mistake(
        lambda g, loss: loss * loss, lf.GraphError, "mul: no graph is open", "session.run(program"
    ),
    "function after the block": Mistake(
        lambda g, loss: lf.exp(loss), lf.GraphError, "exp: no graph is open", "session.run(program"
    ),
    "after compiling": Mistake(
        lambda g, loss: (lf.compile(g), loss + loss), lf.GraphError, "add: no graph is open", "session.run("
    ),
    "step in the loop": Mistake(
        lambda g, loss: optim.SGD([lf.Parameter([1.0])]).step(),
        lf.GraphError,
        "sgd.step()",
        "session.run(program",
    ),
    "compile a model": Mistake(
        lambda g, loss: lf.compile(nn.ReLU()), lf.ArgumentTypeError, "compile: ReLU()", "lf.compile(graph)"
    ),
    "feeds first": Mistake(
        lambda g, loss: lf.compile(g).session(backend="numpy").run({"x": 1}),
        lf.ArgumentTypeError,
        "run: dict is no name of a program",
        "session.run(program, x=array)",
        tells_line=False,
    ),
}


@pytest.mark.parametrize("mistake", PROGRAMS.values(), ids=PROGRAMS)
def test_around_the_graph(mistake):
    graph, loss = programs_graph()
    refused(mistake, lambda: mistake.call(graph, loss))


def test_a_refused_program_takes_no_name():
    graph, loss = programs_graph()
    with pytest.raises(lf.ArgumentTypeError):
        graph.program("again", fetches=[loss])
    assert list(graph.programs()) == ["predict"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("relu", "lazyflow.nn.functional.relu"),
        ("Linear", "lazyflow.nn.Linear"),
        ("SGD", "lazyflow.optim.SGD"),
        ("StepLR", "lazyflow.optim.lr_scheduler.StepLR"),
        ("manual_seed", "plan.session(seed=1)"),
        ("tensor", "feed the NumPy array as it is; lf.constant(array)"),
        ("save", "session.save(path) for a checkpoint"),
    ],
)
def test_a_name_of_another_package_or_system_tells_what_to_write(name, hint):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'\n  hint      {re.escape(hint)}"):
        getattr(lf, name)


def test_no_hint_speaks_of_a_name_that_exists():
    assert not [name for name in habits.OF_LAZYFLOW if name in lf.__all__]
    assert not [name for name in habits.OF_TENSORS if hasattr(lf.Tensor, name)]
    for hint in [*habits.OF_LAZYFLOW.values(), *habits.OF_TENSORS.values(), *habits.OF_OPTIM.values()]:
        assert all(hasattr(lf, name) for name in re.findall(r"\blf\.(\w+)", hint))


def test_a_name_that_is_nowhere_suggests_one_that_is_near():
    with pytest.raises(AttributeError, match=r"no attribute 'constnt'$") as caught:
        lf.constnt  # noqa: B018, the access is the call
    assert caught.value.obj is lf
    assert "constant" in dir(caught.value.obj)


def test_hints_for_foreign_names_leave_tensors_as_they_are():
    with lf.Graph():
        x = lf.placeholder("x", (4,))
        assert not hasattr(x, "view")
        assert not hasattr(x, "__deepcopy__")
        assert repr(copy(x)) == repr(x) == f"{x}"
        assert deepcopy(nn.Linear(3, 3)).weight.shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("zero_grad", "every run makes its gradients anew"),
        ("state_dict", "session.state_dict()"),
        ("get_last_lr", "optimizer.lr"),
    ],
)
def test_optimizers_and_schedulers_tell_what_replaces_a_method(name, hint):
    optimizer = optim.SGD([lf.Parameter([1.0])], lr=0.1)
    for missing in (optimizer, optim.lr_scheduler.StepLR(optimizer, 10)):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}'[^!]*hint [^!]*{re.escape(hint)}"):
            getattr(missing, name)


def test_backward_after_the_step_is_refused_where_nothing_would_see_it():
    graph, loss = programs_graph()
    w, v = lf.Parameter([1.0]), lf.Parameter([1.0])
    with graph:
        loss, other = lf.sum(w * w), lf.sum(w * v)
        optimizer = optim.SGD([w], lr=0.1)
        with graph.program("train") as program:
            loss.backward()
            optimizer.step()
            with pytest.raises(lf.GraphError, match=r"no step of program 'train'[^!]*before optimizer.step"):
                loss.backward()
            other.backward()  # the gradient of v is still free
            assert v in program.gradients


def test_scheduler_that_no_program_steps_is_told():
    with lf.Graph() as graph:
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.SGD([w], lr=0.1)
        optim.lr_scheduler.StepLR(optimizer, 10)
        with graph.program("train"):
            lf.sum(w * w).backward()
            optimizer.step()
    with pytest.warns(UserWarning, match="StepLR of 'sgd'.*no program calls its step") as caught:
        lf.compile(graph)
    assert caught[0].filename == __file__
