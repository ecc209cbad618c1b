"""Tracing of update rules: one body for all parameters of a structure and dtype, with element work only."""

import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.compiler.text import to_text
from lazyflow.ops.elementwise import sign, sqrt
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GraphError,
    ShapeError,
    SymbolicError,
)
from optim.specifications import SPECIFICATIONS
from optim.training import Training


def updates(make, dtypes=("float32",) * 3):
    """The graph, and the update ops that an optimizer appends for parameters of the dtypes."""
    with lf.Graph() as graph:
        params = [lf.Parameter(np.ones(i + 1, dtype), name=f"w{i}") for i, dtype in enumerate(dtypes)]
        optimizer = make(params)
        with graph.program("train"):
            optimizer.step({w: w * 1.0 for w in params})
    return graph, [op for op in graph.ir.ops if op.primitive.name == "update"]


def bodies(make, dtypes=("float32",) * 3):
    """The numbers of the bodies that the update ops point to."""
    ops = updates(make, dtypes)[1]
    found = list(dict.fromkeys(id(op.attributes["body"]) for op in ops))
    return [found.index(id(op.attributes["body"])) for op in ops]


class Counting(optim.SGD):
    """Counts how often its rule is traced."""

    traced = 0

    def update(self, p, g, lr, t, state, h):
        type(self).traced += 1
        return super().update(p, g, lr, t, state, h)


def test_a_rule_is_traced_once_per_structure_and_dtype():
    class Mine(Counting):
        pass

    groups = lambda w: [{"params": w[:2], "lr": 1.0}, {"params": w[2:4]}, {"params": w[4:], "momentum": 0.5}]  # noqa: E731
    dtypes = ["float32", "float64", "float32", "float64", "float32"]
    assert bodies(lambda params: Mine(groups(params)), dtypes) == [0, 1, 0, 1, 2]
    assert Mine.traced == 3


def test_programs_share_the_body():
    with lf.Graph() as graph:
        w = lf.Parameter(np.ones(2, np.float32), name="w")
        optimizer = optim.Adam([w])
        for name in ("a", "b"):
            with graph.program(name):
                optimizer.step({w: w * 1.0})
    first, second = (op for op in graph.ir.ops if op.primitive.name == "update")
    assert first.attributes["body"] is second.attributes["body"]


STRUCTURE = [
    (optim.SGD, {"momentum": 0.9}),
    (optim.SGD, {"maximize": True}),
    (optim.SGD, {"clip_grad_max_norm": 1.0}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {"do_bias_correction": True}),
    (optim.RMSprop, {"centered": True}),
    (optim.RMSprop, {"eps_inside_sqrt": False}),
]
DATA = [
    (optim.SGD, {"lr": 0.5}),
    (optim.SGD, {"weight_decay": 0.5}),
    (optim.SGD, {"scale": 0.5}),
    (optim.Adam, {"betas": (0.0, 0.5), "eps": 0.0}),
    (optim.AdamW, {"weight_decay": 0.5}),
    (optim.RMSprop, {"alpha": 0.0}),
]


@pytest.mark.parametrize(("kind", "options"), STRUCTURE, ids=str)
def test_structure_has_a_body_of_its_own(kind, options):
    assert bodies(lambda w: kind([{"params": w[:1]}, {"params": w[1:], **options}])) == [0, 1, 1]


@pytest.mark.parametrize(("kind", "options"), DATA, ids=str)
def test_data_shares_the_body(kind, options):
    assert bodies(lambda w: kind([{"params": w[:1]}, {"params": w[1:], **options}])) == [0, 0, 0]


NORMS = ("LAMB", "LARS", "Adafactor")  # their papers reduce each parameter
ELEMENTWISE = [s for s in SPECIFICATIONS if s.kind.__name__ not in NORMS and s.kind is not optim.pytorch.Muon]


@pytest.mark.parametrize("spec", ELEMENTWISE, ids=str)
def test_bodies_work_on_elements_only(spec):
    _, ops = updates(spec.make)
    body = ops[0].attributes["body"]
    computed = [op for op in body.ops if not op.primitive.leaf]
    assert {op.output.dtype for op in computed} <= {np.dtype("float32"), np.dtype("bool")}
    assert {op.output.shape for op in computed} == {body.ops[0].output.shape}
    used = {value for op in computed for value in op.inputs}
    assert all(op.output in used for op in body.ops if op.primitive.leaf), "nothing is passed in vain"


def test_the_text_of_a_body():
    _, ops = updates(lambda params: optim.oneflow.SGD(params, momentum=0.9))
    assert (
        to_text(ops[0].attributes["body"]).strip()
        == """
%0 = placeholder name=p : float32[n]
%1 = placeholder name=momentum_buffer : float32[n]
%2 = placeholder name=g : float32[n]
%3 = placeholder name=h/scale : float32[]
%4 = placeholder name=h/weight_decay : float32[]
%5 = placeholder name=h/momentum : float32[]
%6 = placeholder name=h/3 : float32[]
%7 = placeholder name=h/4 : float32[]
%8 = placeholder name=h/5 : bool[]
%9 = mul %2 %3 : float32[n]
%10 = mul %4 %0 : float32[n]
%11 = add %9 %10 : float32[n]
%12 = mul %5 %1 : float32[n]
%13 = mul %6 %11 : float32[n]
%14 = add %12 %13 : float32[n]
%15 = mul %7 %14 : float32[n]
%16 = sub %0 %15 : float32[n]
%17 = where %8 %0 %16 : float32[n]
%18 = where %8 %1 %14 : float32[n]
program update
fetch p = %17
fetch momentum_buffer = %18
""".strip()
    )


def test_all_parameters_of_a_rule_are_one_kernel():
    training = Training(lambda params: optim.AdamW(params), [np.ones(i + 1, np.float32) for i in range(20)])
    (program,) = (p for p in training.plan.document.programs if p.name.startswith("update"))
    batches = [each for each in program.instructions if type(each).__name__ == "KernelBatch"]
    assert [len(batch.segments) for batch in batches] == [20]


# --- rules of one's own -----------------------------------------------------------------------------------


def stepping(update, state=()):
    """An optimizer with this rule, stepped once."""

    class Mine(optim.Optimizer):
        def state(self, h):
            return state

        def update(self, p, g, lr, t, state, h):
            return update(p, g, lr, t, state, h)

    return Training(Mine, [np.float32([4.0, 9.0])])


def test_a_rule_of_five_lines():
    class SignSGD(optim.Optimizer):
        lr: optim.Option[float] = optim.Option(default=0.5, low=0.0)

        def update(self, p, g, lr, t, state, h):
            return p - lr * sign(g), ()

    training = Training(SignSGD, [np.float32([1.0, 2.0])])
    training.step([np.float32([-3.0, 0.1])])
    np.testing.assert_array_equal(training.values[0], np.float32([1.5, 1.5]))
    assert "signsgd/groups/0/lr" in training.session.state_dict()


def test_state_may_start_at_a_number():
    training = stepping(lambda p, g, lr, t, s, h: (p - s[0], (s[0] * 2,)), state={"z": 0.5})
    training.step([np.float32([0, 0])])
    np.testing.assert_array_equal(training.values[0], np.float32([3.5, 8.5]))
    np.testing.assert_array_equal(training.state(0)["z"], np.float32([1, 1]))


def test_a_state_may_be_called_like_an_option_but_not_like_what_the_optimizer_keeps():
    training = stepping(lambda p, g, lr, t, s, h: (p - lr * s[0], (s[0] + 1,)), state={"lr": 2.0})
    training.step([np.float32([0, 0])])
    np.testing.assert_allclose(training.values[0], np.float32([3.998, 8.998]))
    with pytest.raises(ArgumentError, match=r"Mine\.state: 'group' is no name of a state"):
        stepping(lambda p, g, lr, t, s, h: (p, s), state=("group",))


def test_a_rule_may_use_numbers_constants_and_reductions():
    def update(p, g, lr, t, s, h):
        return p / sqrt((p * p).sum()) * np.float32(2.0) + t * (0.5 - 0.25), ()

    training = stepping(update)
    training.step([np.float32([0, 0])])
    wanted = np.float64([4, 9]) / np.sqrt(97) * 2 + 0.25
    np.testing.assert_allclose(training.values[0], wanted, rtol=1e-6)


BROKEN = [
    (lambda p, g, lr, t, s, h: p, ArgumentTypeError, "Mine.update returned <Tensor 'p'"),
    (lambda p, g, lr, t, s, h: (p, s[0]), ArgumentTypeError, "Mine.update returned ("),
    (lambda p, g, lr, t, s, h: (p, ()), ArgumentTypeError, "Mine.update returned 0 next states"),
    (lambda p, g, lr, t, s, h: (p, (1.0,)), ArgumentTypeError, "Mine.update: next z is 1.0"),
    (lambda p, g, lr, t, s, h: (p.sum(), s), ShapeError, 'Mine.update: next p has shape (), not ("n",)'),
    (lambda p, g, lr, t, s, h: (p, (t,)), ShapeError, 'Mine.update: next z has shape (), not ("n",)'),
    (
        lambda p, g, lr, t, s, h: (p.astype("float64"), s),
        DTypeError,
        "Mine.update: next p is float64, not float32",
    ),
    (lambda p, g, lr, t, s, h: (p if t > 1 else g, s), SymbolicError, "bool() of a Tensor"),
    (
        lambda p, g, lr, t, s, h: (p + lf.Parameter([1.0, 1.0], name="v"), s),
        GraphError,
        "a rule reads a Variable that is not its own",
    ),
]


@pytest.mark.parametrize(("update", "error", "text"), BROKEN, ids=[text for *_, text in BROKEN])
def test_rules_that_do_not_fit(update, error, text):
    with pytest.raises(error, match=re.escape(text)):
        stepping(update, state=("z",))
