"""Groups as data: what a live session can change without recompiling, and what is structure."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime.errors import ArgumentError, StateError
from optim.training import Training

ONES = np.ones(2, np.float32)


def trained(make):
    """Two parameters of ones."""
    return Training(make, [ONES, ONES])


def two_groups(kind=optim.SGD, second=(), **options):
    return lambda params: kind([{"params": params[0]}, {"params": params[1], **dict(second)}], **options)


def moved(training, times=1):
    """How far each parameter goes by gradients of one."""
    before = training.values
    for _ in range(times):
        training.step([ONES, ONES])
    return [float((a - b)[0]) for a, b in zip(training.values, before, strict=True)]


def test_options_of_a_group_win_over_those_of_the_optimizer():
    training = trained(two_groups(lr=0.5, second={"lr": 0.25, "weight_decay": 1.0}))
    np.testing.assert_allclose(moved(training), [-0.5, -0.5])
    assert training.step([ONES, ONES]) == [0.5, 0.25]


def test_the_base_rate_can_be_set_in_a_live_session():
    training = trained(two_groups(lr=0.5))
    training.step([ONES, ONES])
    prepared = training.session.backend.prepared
    training.session.groups["sgd"][1]["lr"] = 0.125
    assert moved(training) == [-0.5, -0.125]
    assert training.session.backend.prepared == prepared


@pytest.mark.parametrize("option", ["weight_decay", "momentum", "dampening", "scale", "lr_scale"])
def test_every_number_can_be_set_and_equals_a_graph_built_with_it(option):
    value = 0.25
    built = trained(lambda params: optim.SGD(params, **{"lr": 0.5, "momentum": 0.5, option: value}))
    live = trained(lambda params: optim.SGD(params, lr=0.5, momentum=0.5))
    live.session.groups["sgd"][0][option] = value
    assert live.session.groups["sgd"][0][option] == value
    assert moved(live, times=3) == moved(built, times=3)


def test_a_number_that_is_zero_is_data_too():
    training = trained(lambda params: optim.Adam(params, weight_decay=0.0))
    group = training.session.groups["adam"][0]
    group["weight_decay"], group["betas"] = 0.5, (0.5, 0.9)
    assert group["betas"] == (0.5, 0.9)
    training.step([0 * ONES, 0 * ONES])
    np.testing.assert_allclose(training.state(0)["exp_avg"], 0.25)  # (1 - 0.5) * 0.5 * w


@pytest.mark.parametrize(
    ("option", "value"), [("lr", -1.0), ("betas", (0.9, 1.0)), ("eps", float("nan")), ("lr", "fast")]
)
def test_ranges_hold_in_a_live_session(option, value):
    training = trained(optim.Adam)
    with pytest.raises(ArgumentError, match=option):
        training.session.groups["adam"][0][option] = value


@pytest.mark.parametrize("option", ["momentum", "nesterov", "maximize", "clip_grad_max_norm"])
def test_structure_cannot_be_set(option):
    training = trained(optim.SGD)
    with pytest.raises(StateError, match=f"{option}: cannot be changed in a live session"):
        training.session.groups["sgd"][0][option] = 0.5


def test_a_parameter_moves_between_groups_of_equal_structure_and_keeps_its_state():
    training = trained(two_groups(lr=0.5, momentum=0.5, second={"lr": 0.0}))
    training.step([ONES, ONES])
    groups = training.session.groups["sgd"]
    kept = training.state(0)["momentum_buffer"]
    groups.move("w0", 1)
    assert [group.members for group in groups] == [(), ("w0", "w1")]
    assert moved(training)[0] == -0.25  # half of the velocity, and nothing of the gradient
    np.testing.assert_array_equal(training.state(0)["momentum_buffer"], 0.5 * kept)


def test_a_parameter_does_not_move_to_a_group_of_another_structure():
    training = trained(two_groups(second={"momentum": 0.9}))
    with pytest.raises(StateError, match="they differ in structure"):
        training.session.groups["sgd"].move("w0", 1)


def test_clipping_follows_a_parameter_that_moves():
    training = trained(two_groups(lr=1.0, clip_grad_max_norm=1.0, second={"clip_grad_max_norm": 3.0}))
    root = np.sqrt(2)
    np.testing.assert_allclose(moved(training), [-1 / root, -1], rtol=1e-6)
    training.session.groups["sgd"].move("w0", 1)
    np.testing.assert_allclose(moved(training), [-1, -1], rtol=1e-6)  # together 2, below 3
    training.session.groups["sgd"][1]["clip_grad_max_norm"] = 1.0
    np.testing.assert_allclose(moved(training), [-0.5, -0.5], rtol=1e-6)


def test_groups_of_a_session_hold_every_option():
    training = trained(lambda params: optim.SGD(params, clip_grad_norm_type=float("inf")))
    group = training.session.groups["sgd"][0]
    assert {option: group[option] for option in group} == {
        "lr": 0.001,
        "scale": 1.0,
        "lr_scale": 1.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "maximize": False,
        "clip_grad_max_norm": None,
        "clip_grad_norm_type": "inf",
        "frozen": False,
        "momentum": 0.0,
        "nesterov": False,
        "lr_in_velocity": True,
        "first_undamped": False,
        "decay_before_sign": False,
        "damped_nesterov": False,
    }


def test_param_groups_read_as_tensors_and_plain_structure():
    w = lf.Parameter(ONES, name="w")
    with lf.Graph():
        optimizer = optim.Adam([{"params": [w], "amsgrad": True}], lr=0.1)
        (group,) = optimizer.param_groups
        assert group["params"] == [w]
        assert group["amsgrad"] is True
        assert group["lr"] is optimizer.lr
        assert group["initial_lr"] is group.base("lr")
        assert [tensor.dtype for tensor in (group["lr"], group["eps"], *group["betas"])] == [lf.float64] * 4
        assert {"params", "lr", "initial_lr", "eps"} <= set(group)


def test_a_scalar_tensor_is_the_value_of_an_option():
    def make(params):
        warm = lf.where(lf.placeholder("epoch", ()) < 1.0, 0.0, 0.5)
        return optim.SGD(params, lr=1.0, momentum=warm)

    training = trained(make)
    gradients = {"g0": ONES, "g1": ONES}
    for epoch in (0.0, 0.0, 1.0):
        training.session.run("update_0_1", gradients | {"epoch": np.float32(epoch)})
    np.testing.assert_allclose(training.state(0)["momentum_buffer"], 1.5)
    assert "momentum" not in training.session.groups["sgd"][0]  # it is computed, so it cannot be set


def test_the_number_of_groups_changes_no_bit():
    rng = np.random.default_rng(0)
    initial = [rng.standard_normal(7).astype(np.float32) for _ in range(3)]
    makers = [
        lambda params: optim.oneflow.AdamW(params, weight_decay=0.1),
        lambda params: optim.oneflow.AdamW([{"params": [p]} for p in params], weight_decay=0.1),
    ]
    one, many = (Training(make, initial) for make in makers)
    for _ in range(5):
        gradients = [rng.standard_normal(7).astype(np.float32) for _ in range(3)]
        one.step(gradients)
        many.step(gradients)
    assert [value.tobytes() for value in one.values] == [value.tobytes() for value in many.values]
