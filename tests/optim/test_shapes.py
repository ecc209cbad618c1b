"""Rules that look at the shape, and what optimizers keep for a group."""

import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.ops.linalg import matmul
from lazyflow.optim.trace import Kept
from lazyflow.runtime.errors import GraphError, ShapeError, StateError
from lazyflow.runtime.plan import load_plan
from optim.training import Training


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


class Whitened(optim.Optimizer):
    """Keeps a matrix of its rows, and counts how often its rule is traced."""

    traced = 0

    def looks_at_shape(self, shape, h):
        return len(shape) == 2

    def state(self, h):
        return {"gram": Kept(1.0, (h.shape[0],) * 2)} if h.shape else ("sum",)

    def update(self, p, g, lr, t, state, h):
        type(self).traced += 1
        if h.shape is None:
            return p - lr * g, (state[0] + g,)
        gram = state[0] + matmul(g, g.transpose((1, 0)))
        return p - lr * matmul(gram, g), (gram,)


def instructions(plan, kind):
    (program,) = (p for p in plan.document.programs if p.name.startswith("update"))
    return [each for each in program.instructions if type(each).__name__ == kind]


def test_a_rule_that_looks_at_the_shape_may_multiply_matrices_and_keep_others():
    (w, g), lr = arrays((2, 3), (2, 3)), 0.5
    training = Training(lambda params: Whitened(params, lr=lr), [w])
    training.step([g])
    np.testing.assert_allclose(training.state(0)["gram"], 1.0 + g @ g.T, rtol=1e-6)
    np.testing.assert_allclose(training.values[0], w - lr * (1.0 + g @ g.T) @ g, rtol=1e-5)


def test_it_is_traced_once_per_shape_and_other_rules_once():
    class Mine(Whitened):
        traced = 0

    training = Training(Mine, arrays((2, 3), (4, 3), (2, 3), (5,), (7,)))
    assert Mine.traced == 3
    (batch,) = instructions(training.plan, "KernelBatch")
    assert len(batch.segments) == 2


def test_parameters_of_equal_shape_take_the_scalars_of_their_own_group():
    values, gradients = arrays((2, 2), (2, 2), (2, 2)), arrays((2, 2), (2, 2), (2, 2), seed=1)

    def make(params):
        return Whitened([{"params": params[i : i + 1], "lr": 0.1 * (i + 1)} for i in range(3)])

    training = Training(make, values)
    training.step(gradients)
    for i, (w, g) in enumerate(zip(values, gradients, strict=True)):
        wanted = w - 0.1 * (i + 1) * (1.0 + g @ g.T) @ g
        np.testing.assert_allclose(training.values[i], wanted, rtol=1e-5)


def test_a_live_session_moves_a_parameter_to_another_group():
    values, gradients = arrays((2, 2), (2, 2)), arrays((2, 2), (2, 2), seed=1)
    training = Training(
        lambda params: Whitened([{"params": params[:1], "lr": 0.0}, {"params": params[1:], "lr": 0.5}]),
        values,
    )
    training.session.groups["whitened"].move("w0", 1)
    training.step(gradients)
    g = gradients[0]
    np.testing.assert_allclose(training.values[0], values[0] - 0.5 * (1.0 + g @ g.T) @ g, rtol=1e-5)


def test_a_parameter_of_one_element_is_no_scalar_of_the_group():
    training = Training(lambda params: optim.Adafactor(params, lr=0.5), [np.float32(2.0)])
    training.step([np.float32(3.0)])
    assert training.values[0] == pytest.approx(1.0)  # half of its RMS


# --- Adafactor and Muon -----------------------------------------------------------------------------------


def test_adafactor_keeps_one_number_per_row_and_column():
    training = Training(optim.Adafactor, arrays((4, 3), (2, 4, 3), (5,)))
    shapes = [{name: kept.shape for name, kept in training.state(i).items()} for i in range(3)]
    assert shapes == [
        {"row_var": (4, 1), "col_var": (1, 3)},
        {"row_var": (2, 4, 1), "col_var": (2, 1, 3)},
        {"variance": (5,)},
    ]


def test_adafactor_stays_where_all_gradients_are_zero():
    values = arrays((4, 3), (5,))
    training = Training(optim.Adafactor, values)
    for _ in range(3):
        training.step([np.zeros_like(w) for w in values])
    for value, first in zip(training.values, values, strict=True):
        np.testing.assert_array_equal(value, first)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)], ids=str)
def test_a_step_of_muon_is_nearly_orthogonal(shape):
    (gradient,) = arrays(shape)
    training = Training(lambda params: optim.Muon(params, lr=1.0), [np.zeros(shape, np.float32)])
    training.step([gradient])
    step = training.values[0] / max(1, shape[0] / shape[1]) ** 0.5
    values = np.linalg.svd(step, compute_uv=False)
    assert 0.6 < values.min() < values.max() < 1.3  # what five steps of these coefficients promise


def test_muon_updates_all_but_matrices_in_one_kernel():
    training = Training(optim.Muon, arrays((4, 3), (5,), (2, 3, 3), ()))
    (batch,) = instructions(training.plan, "KernelBatch")
    assert len(batch.segments) == 3
    assert [set(training.state(i)) for i in range(4)] == [
        {"momentum_buffer"},
        *[{"exp_avg", "exp_avg_sq"}] * 3,
    ]


def test_muon_with_a_group_of_matrices_that_follow_adamw():
    def make(params):
        return optim.Muon([{"params": params[:1]}, {"params": params[1:], "orthogonalize": False}])

    training = Training(make, arrays((4, 3), (4, 3)))
    assert [set(training.state(i)) for i in range(2)] == [{"momentum_buffer"}, {"exp_avg", "exp_avg_sq"}]


def test_the_products_of_muon_stand_in_the_summary_with_their_memory():
    training = Training(optim.Muon, arrays((40, 20)))
    assert len(instructions(training.plan, "MatMul")) == 15  # three for each of five steps
    summary = str(training.plan.summary())
    assert "15 matmuls" in summary
    assert "matmul [20, 20, 40]" in summary
    assert "memory        peak 0 B" not in summary.split("program init")[0]


def test_pytorch_refuses_parameters_that_are_no_matrices():
    with pytest.raises(ShapeError, match=r"Muon: parameter 'b' has shape \(3,\), and is no matrix"):
        optim.pytorch.Muon([lf.Parameter([1.0, 2.0, 3.0], name="b")])


def test_pytorch_takes_none_for_the_first_eps():
    optimizer = optim.pytorch.Adafactor([lf.Parameter([1.0], name="w")], eps=(None, 0.1))
    assert optimizer.param_groups[0].settings["eps"] == (2.0**-23, 0.1)


# --- what is kept for a group -----------------------------------------------------------------------------


def test_nadam_keeps_the_product_of_momenta_of_each_group():
    def make(params):
        return optim.NAdam([{"params": params[:1]}, {"params": params[1:], "betas": (0.5, 0.9)}])

    training = Training(make, arrays((2,), (3,)))
    for _ in range(3):
        training.step(arrays((2,), (3,)))
    for i, beta in enumerate((0.9, 0.5)):
        momenta = [beta * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (1, 2, 3)]
        kept = training.session.get(f"nadam/groups/{i}/mu_product")
        assert kept.dtype == np.float64
        assert kept == pytest.approx(np.prod(momenta), rel=1e-14)


def test_what_a_group_keeps_is_saved_and_restored(tmp_path):
    gradients = [arrays((2,), seed=i) for i in range(4)]
    first, second = (Training(optim.NAdam, arrays((2,))) for _ in range(2))
    for row in gradients[:2]:
        first.step(row)
    first.session.save(tmp_path / "run.safetensors")
    second.session.restore(tmp_path / "run.safetensors")
    for row in gradients[2:]:
        first.step(row)
        second.step(row)
    np.testing.assert_array_equal(first.values[0], second.values[0])


# --- averages ---------------------------------------------------------------------------------------------


def averaging(**options):
    """A program that trains, and one that fetches a parameter and its loss as they are and as averages."""
    with lf.Graph() as graph:
        w = lf.Parameter(np.float64([5.0, -3.0]), name="w")
        target = lf.placeholder("target", (2,), lf.float64)
        loss = ((w - target) ** 2).sum()
        optimizer = optim.ScheduleFreeAdamW([w], **options)
        with graph.program("train"):
            loss.backward()
            optimizer.step()
        graph.program("weights", fetches={"y": w * 1.0, "x": optimizer.averaged(w)})
        graph.program("losses", fetches={"y": loss, "x": optimizer.averaged(loss)})
    return lf.compile(graph).session(backend="numpy")


def test_schedule_free_averages_are_those_of_the_paper():
    lr, beta1, beta2 = 0.3, 0.8, 0.9
    session = averaging(lr=lr, betas=(beta1, beta2))
    target = np.float64([1.0, 2.0])
    x = z = y = np.float64([5.0, -3.0])
    v, total = 0.0, 0.0
    for t in range(1, 30):
        g = 2 * (y - target)
        v = beta2 * v + (1 - beta2) * g**2
        rate = lr * np.sqrt(1 - beta2**t)
        z = z - rate * g / (np.sqrt(v) + 1e-8)
        total += rate**2
        x = (1 - rate**2 / total) * x + rate**2 / total * z
        y = (1 - beta1) * z + beta1 * x
        session.run("train", target=target)
    found = session.run("weights")
    np.testing.assert_allclose(found["x"], x, rtol=1e-12)
    np.testing.assert_allclose(found["y"], y, rtol=1e-12)
    losses = session.run("losses", target=target)
    np.testing.assert_allclose([losses["x"], losses["y"]], [((w - target) ** 2).sum() for w in (x, y)])


def test_schedule_free_averages_start_as_the_weights_that_were_loaded():
    session = averaging(lr=0.1)
    session.set("w", np.float64([7.0, 8.0]))
    found = session.run("weights")
    np.testing.assert_array_equal(found["x"], [7.0, 8.0])
    session.run("train", target=np.zeros(2))
    found = session.run("weights")
    np.testing.assert_allclose(found["x"], found["y"])  # the first average is the first step
    assert (found["x"] < [7.0, 8.0]).all()


def test_schedule_free_averages_before_step_are_refused():
    with lf.Graph():
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.ScheduleFreeAdamW([w])
        with pytest.raises(GraphError, match=r"averaged: 'schedulefreeadamw' keeps no averages yet"):
            optimizer.averaged(w)


def test_read_with_shares_what_does_not_change():
    with lf.Graph() as graph:
        w, other = lf.Parameter([1.0], name="w"), lf.Parameter([2.0], name="other")
        shared = lf.exp(other)
        result = shared * w
        before = len(graph.ir.ops)
        assert optim.read_with(shared, {w: other}) is not None
        assert len(graph.ir.ops) == before
        changed = optim.read_with(result, {w: other})
        assert len(graph.ir.ops) == before + 1
        graph.program("p", fetches={"result": result, "changed": changed})
    found = lf.compile(graph).session(backend="numpy").run("p")
    np.testing.assert_allclose(found["changed"], 2 * found["result"])


@pytest.mark.parametrize("value", [lambda: lf.zeros((2,)), lambda: lf.zeros((1,), lf.float64)])
def test_read_with_values_that_do_not_fit(value):
    with lf.Graph():
        w = lf.Parameter([1.0], name="w")
        with pytest.raises(ShapeError, match="read_with: 'w' is float32"):
            optim.read_with(w * 2.0, {w: value()})


# --- plans ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(
    "kind", [optim.NAdam, optim.Ftrl, optim.Adafactor, optim.Muon, optim.ScheduleFreeAdamW]
)
def test_a_plan_from_a_file_trains_as_the_one_that_was_saved(kind, backend, tmp_path):
    values, gradients = arrays((3, 2), (4,)), arrays((3, 2), (4,), seed=1)
    training = Training(kind, values)
    training.plan.save(tmp_path / "plan.lfplan")
    plan = load_plan(tmp_path / "plan.lfplan")
    assert plan.fingerprint == training.plan.fingerprint
    session = plan.session(backend=backend)
    for _ in range(3):
        training.step(gradients)
        session.run("update_0_1", {f"g{i}": g for i, g in enumerate(gradients)})
    for i, value in enumerate(training.values):
        np.testing.assert_allclose(session.get(f"w{i}"), value, rtol=1e-5)


def test_what_a_session_says_of_structure_that_is_a_tuple_or_a_name():
    session = Training(optim.ScheduleFreeAdamW, arrays((2,))).session
    assert session.groups["schedulefreeadamw"][0]["betas"] == (0.9, 0.999)
    with pytest.raises(StateError, match=re.escape("betas=(0.9, 0.999), as when the graph was compiled")):
        session.groups["schedulefreeadamw"][0]["betas"] = (0.5, 0.9)
    session = Training(optim.Muon, arrays((2, 2))).session
    assert session.groups["muon"][0]["adjust_lr_fn"] == "original"
    assert session.groups["muon"][0]["ns_steps"] == 5
