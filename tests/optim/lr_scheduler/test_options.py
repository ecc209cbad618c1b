"""Schedules of other numbers than the rate: any option that is data, in each group that has it."""

import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import pytorch
from lazyflow.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
    WarmUpLR,
)
from lazyflow.runtime import load_plan
from optim.lr_scheduler.schedules import SPECIFICATIONS

STEPS = 45
ONE = np.ones(1, np.float32)
OPTIONS = {
    "weight_decay": (optim.SGD, lambda number: {"weight_decay": number}),
    "momentum": (optim.SGD, lambda number: {"momentum": number}),
    "clip_grad_max_norm": (optim.SGD, lambda number: {"clip_grad_max_norm": number}),
    "lr_scale": (optim.AdamW, lambda number: {"lr_scale": number}),
    "betas/1": (optim.AdamW, lambda number: {"betas": (0.5, number)}),
}


def optimizer_with(option, *bases):
    """An optimizer with a group for each base of the option; where that is None, it has not the option."""
    kind, write = OPTIONS[option]
    return kind(
        [
            {"params": [lf.Parameter([0.0], name=f"w{i}")], **({} if base is None else write(base))}
            for i, base in enumerate(bases)
        ]
    )


def run(make, steps, optimizer, driven):
    """The numbers that a plan uses, step by step: float64 array, shape (steps, groups) for each name."""
    with lf.Graph("numbers") as graph:
        scheduler = make(optimizer)
        groups = range(len(optimizer.param_groups))
        fetches = {f"{name}.{i}": optimizer.param_groups[i].value(name) for name in driven for i in groups}
        with graph.program("epoch", fetches=fetches):
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy")
    rows = [session.run("epoch") for _ in range(steps)]
    return {name: np.array([[row[f"{name}.{i}"] for i in groups] for row in rows]) for name in driven}


# --- curves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=str)
def test_plan_computes_the_curve_of_an_option_to_the_last_bit(specification):
    def make(optimizer):
        return specification.make(optimizer, option="weight_decay")

    numbers = run(make, STEPS, optimizer_with("weight_decay", 0.1, 0.37), ["weight_decay"])["weight_decay"]
    scheduler = make(optimizer_with("weight_decay", 0.1, 0.37))
    for group, base in enumerate((0.1, 0.37)):
        np.testing.assert_array_equal(numbers[:, group], scheduler.curve(STEPS, group))
        expected = [specification.rate(base, k) for k in range(STEPS)]
        np.testing.assert_allclose(numbers[:, group], expected, rtol=1e-13, atol=1e-17)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_number_can_be_driven(option):
    def make(optimizer):
        return ExponentialLR(optimizer, 0.5, option=option)

    numbers = run(make, 4, optimizer_with(option, 0.9, 0.8), [option])[option]
    np.testing.assert_array_equal(numbers, [[0.9, 0.8], [0.45, 0.4], [0.225, 0.2], [0.1125, 0.1]])
    assert make(optimizer_with(option, 0.9)).curve([3], base=0.8).tolist() == [0.1]


CYCLES = [
    lambda optimizer: CyclicLR(optimizer, 0.01, 0.1, 4, cycle_momentum=True),
    lambda optimizer: CyclicLR(optimizer, 0.01, 0.1, 4, 3, "exp_range", 0.9, cycle_momentum=True),
    lambda optimizer: OneCycleLR(optimizer, 1.0, 30, cycle_momentum=True),
    lambda optimizer: OneCycleLR(
        optimizer, 1.0, 30, anneal_strategy="linear", cycle_momentum=True, three_phase=True
    ),
    lambda optimizer: WarmUpLR(OneCycleLR(optimizer, 1.0, 30, cycle_momentum=True), warmup_prefix=True),
]


@pytest.mark.parametrize("make", CYCLES)
def test_plan_computes_the_curve_of_a_cycling_momentum_to_the_last_bit(make):
    optimizer = optimizer_with("momentum", 0.9, 0.5)
    numbers = run(make, STEPS, optimizer, ["lr", "momentum"])
    scheduler = make(optimizer_with("momentum", 0.9, 0.5))
    assert scheduler.drives == ("lr", "momentum")
    for option, found in numbers.items():
        for group in range(2):
            np.testing.assert_array_equal(found[:, group], scheduler.curve(STEPS, group, option=option))
    assert np.ptp(numbers["momentum"]) > 0.05


def test_momentum_is_low_where_the_rate_is_high():
    scheduler = CyclicLR(optimizer_with("momentum", 0.5), 0.0, 1.0, 4, cycle_momentum=True)
    np.testing.assert_allclose(scheduler.curve(9), [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0])
    expected = [0.9, 0.875, 0.85, 0.825, 0.8, 0.825, 0.85, 0.875, 0.9]
    np.testing.assert_allclose(scheduler.curve(9, option="momentum"), expected)


def test_curve_of_what_is_not_driven():
    scheduler = StepLR(optimizer_with("momentum", 0.9, None), 2, option="momentum")
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.curve: group 1 has no 'momentum'; \[0\] have"):
        scheduler.curve(3, 1)
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.curve: option='lr' is not driven"):
        scheduler.curve(3, option="lr")


def test_picture_names_the_option_and_shows_the_groups_that_have_it():
    optimizer = optimizer_with("momentum", None, 0.9)
    picture = StepLR(optimizer, 2, option="momentum")._repr_svg_()
    assert ">StepLR of momentum<" in picture
    assert "<title>group 1</title>" in picture
    assert "<title>group 0</title>" not in picture


# --- updates ------------------------------------------------------------------------------------------------


def test_update_uses_the_scheduled_numbers():
    gradients = np.random.default_rng(0).normal(size=(8, 2))
    with lf.Graph("updates") as graph:
        w = [lf.Parameter([1.0], name=f"w{i}") for i in range(2)]
        own = {"momentum": 0.5, "weight_decay": 0.2}
        groups = [{"params": [w[0]], "momentum": 0.9}, {"params": [w[1]], **own}]
        optimizer = pytorch.SGD(groups, lr=0.1, weight_decay=0.1, clip_grad_max_norm=2.0)
        made = [
            ExponentialLR(optimizer, 0.8),
            LinearLR(optimizer, 0.0, 1.0, 5, option="weight_decay"),
            StepLR(optimizer, 3, 0.5, option="momentum"),
            ExponentialLR(optimizer, 0.7, option="clip_grad_max_norm"),
        ]
        g = [lf.placeholder(f"g{i}", (1,)) for i in range(2)]
        with graph.program("train"):
            optimizer.step(dict(zip(w, g, strict=True)))
            for scheduler in made:
                scheduler.step()
    session = lf.compile(graph).session(backend="numpy", precision="float64")
    p, v = np.ones(2), np.zeros(2)
    for k, d in enumerate(gradients):
        session.run("train", g0=d[:1], g1=d[1:])
        d = d * np.minimum(1.0, 2.0 * 0.7**k / (np.abs(d) + 1e-6)) + np.array([0.1, 0.2]) * min(k, 5) / 5 * p
        v = np.array([0.9, 0.5]) * 0.5 ** (k // 3) * v + d
        p = p - 0.1 * 0.8**k * v
        np.testing.assert_allclose([*session.get("w0"), *session.get("w1")], p, rtol=1e-12)


def test_update_uses_scheduled_betas():
    with lf.Graph("betas") as graph:
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.Adam([w], lr=0.1, betas=(0.8, 0.9))
        scheduler = ExponentialLR(optimizer, 0.5, option="betas/0")
        with graph.program("train"):
            optimizer.step({w: lf.placeholder("g", (1,))})
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy", precision="float64")
    p, m, v = 1.0, 0.0, 0.0
    for k in range(6):
        g = math.cos(k)
        session.run("train", g=np.array([g]))
        beta = 0.8 * 0.5**k
        m, v = beta * m + (1 - beta) * g, 0.9 * v + 0.1 * g * g
        p -= 0.1 * m / (math.sqrt(v) + 1e-8)
        np.testing.assert_allclose(session.get("w"), [p], rtol=1e-12)


def decaying(**more):
    """A graph in which the rate and the decay of one parameter are scheduled; ``more`` is for the decay."""
    with lf.Graph("decay") as graph:
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.AdamW([w], lr=0.5, weight_decay=0.5)
        rate = StepLR(optimizer, 2, 0.5)
        decay = ExponentialLR(optimizer, 0.5, option="weight_decay", **more)
        (group,) = optimizer.param_groups
        with graph.program("train", fetches={"lr": group["lr"], "decay": group["weight_decay"]}):
            optimizer.step({w: lf.placeholder("g", (1,))})
            rate.step()
            decay.step()
    return graph


def test_base_of_an_option_is_set_in_a_live_session_without_compiling():
    session = lf.compile(decaying()).session(backend="numpy")
    for _ in range(2):
        session.run("train", g=0 * ONE)
    prepared = session.backend.prepared
    session.groups["adamw"][0]["weight_decay"] = 8.0
    assert session.groups["adamw"][0]["weight_decay"] == 8.0
    assert session.run("train", g=0 * ONE)["decay"] == 2.0
    assert session.backend.prepared == prepared


def test_each_option_has_a_clock_of_its_own():
    session = lf.compile(decaying(last_step=1)).session(backend="numpy")
    found = [session.run("train", g=0 * ONE) for _ in range(3)]
    assert [float(run["lr"]) for run in found] == [0.5, 0.5, 0.25]
    assert [float(run["decay"]) for run in found] == [0.125, 0.0625, 0.03125]
    assert session.get("adamw/schedule") == 3
    assert session.get("adamw/schedule/weight_decay") == 5


def test_saved_plan_goes_on_with_the_schedule_of_an_option(tmp_path):
    plan = lf.compile(decaying())
    session = plan.session(backend="numpy")
    session.run("train", g=ONE)
    plan.save(tmp_path / "a.lfplan", state=session)
    loaded = load_plan(tmp_path / "a.lfplan").session(backend="numpy")
    for _ in range(3):
        assert loaded.run("train", g=ONE) == session.run("train", g=ONE)
    assert loaded.get("w") == session.get("w")


def test_schedule_of_an_option_may_read_another_clock():
    with lf.Graph("clock") as graph:
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.SGD([w], momentum=0.8)
        ExponentialLR(optimizer, 0.5, option="momentum", clock=optimizer.updates)
        with graph.program("train", fetches={"momentum": optimizer.momentum}):
            optimizer.step({w: lf.placeholder("g", (1,))})
    session = lf.compile(graph).session(backend="numpy")
    assert [float(session.run("train", g=ONE)["momentum"]) for _ in range(3)] == [0.8, 0.4, 0.2]
    assert not [name for name in session.state_dict() if "schedule" in name]


def test_verbose_names_the_option(capsys):
    with lf.Graph("verbose") as graph:
        optimizer = optimizer_with("momentum", 0.5, None, 0.25)
        scheduler = StepLR(optimizer, 2, 0.5, option="momentum", verbose=True)
        with graph.program("epoch"):
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy")
    for _ in range(3):
        session.run("epoch")
    assert capsys.readouterr().out.splitlines() == [
        "Adjusting momentum of group 0 to 5.0000e-01.",
        "Adjusting momentum of group 2 to 2.5000e-01.",
        "Adjusting momentum of group 0 to 2.5000e-01.",
        "Adjusting momentum of group 2 to 1.2500e-01.",
    ]


# --- groups -------------------------------------------------------------------------------------------------


def test_group_reads_as_what_is_scheduled():
    with lf.Graph("read"):
        optimizer = optim.Adam([lf.Parameter([0.0], name="w")], betas=(0.5, 0.75))
        ExponentialLR(optimizer, 0.5, option="betas/1")
        (group,) = optimizer.param_groups
        first, second = group["betas"]
        assert first is group.base("betas/0")
        assert second is group["betas"][1] is optimizer.betas[1]
        assert second is not group.base("betas/1")
        assert isinstance(group.base("betas/1"), lf.Variable)


def test_groups_differ_in_function_and_base():
    def make(optimizer):
        functions = [lambda step: 1.0, lambda step: 0.5**step]
        return LambdaLR(optimizer, functions, option="weight_decay")

    numbers = run(make, 3, optimizer_with("weight_decay", 0.25, 8.0), ["weight_decay"])["weight_decay"]
    np.testing.assert_array_equal(numbers, [[0.25, 8.0], [0.25, 4.0], [0.25, 2.0]])


def test_group_without_the_term_is_left_alone():
    with lf.Graph("some"):
        optimizer = optimizer_with("momentum", 0.9, None)
        StepLR(optimizer, 2, option="momentum")
        assert isinstance(optimizer.param_groups[0]["momentum"], lf.Tensor)
        assert optimizer.param_groups[1]["momentum"] == 0.0


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("betas", 'option="betas/0" or option="betas/1"'),
        ("amsgrad", "amsgrad decides which terms an update has"),
        ("clip_grad_norm_type", "clip_grad_norm_type decides which terms an update has"),
        ("clip_grad_max_norm", "clip_grad_max_norm=None leaves the term out of the update"),
    ],
)
def test_option_that_is_no_number_says_what_to_write(option, hint):
    optimizer = optim.Adam([lf.Parameter([0.0], name="w")])
    with pytest.raises(lf.ArgumentError, match=f"StepLR: option='{option}' is no number of 'adam'") as error:
        StepLR(optimizer, 2, option=option)
    assert "lr, scale, lr_scale, betas/0, betas/1, eps, weight_decay" in str(error.value)
    assert hint in str(error.value)


def test_base_that_a_tensor_gives_is_scheduled_too():
    with lf.Graph("fed") as graph:
        decay = lf.placeholder("decay", (), lf.float64)
        optimizer = optim.SGD([lf.Parameter([0.0], name="w")], weight_decay=decay)
        scheduler = StepLR(optimizer, 1, 0.5, option="weight_decay")
        with pytest.raises(lf.ArgumentError, match="base 'weight_decay' of group 0 is computed while"):
            scheduler.curve(2)
        with graph.program("epoch", fetches={"decay": optimizer.weight_decay}):
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy")
    assert [float(session.run("epoch", decay=8.0)["decay"]) for _ in range(3)] == [8.0, 4.0, 2.0]


# --- who drives what ----------------------------------------------------------------------------------------


def test_scheduler_made_after_its_option_was_read():
    with lf.Graph("late"):
        optimizer = optimizer_with("momentum", 0.9)
        assert optimizer.momentum is optimizer.param_groups[0]["momentum"]
        StepLR(optimizer, 2, option="weight_decay")  # another one was not read
        with pytest.raises(lf.GraphError, match="attached after the 'momentum' of 'sgd' was read") as error:
            StepLR(optimizer, 2, option="momentum")
        with pytest.raises(lf.GraphError, match="after the 'momentum' of 'sgd' was read"):
            CyclicLR(optimizer, 0.1, 0.2, cycle_momentum=True)
    assert "make the scheduler first" in str(error.value)


def test_scheduler_made_after_the_update_that_read_all_options():
    with lf.Graph("late") as graph:
        optimizer = optimizer_with("weight_decay", 0.1)
        with graph.program("train"):
            optimizer.step({optimizer.params[0]: lf.placeholder("g", (1,))})
        with pytest.raises(lf.GraphError, match="after the 'weight_decay' of 'sgd' was read"):
            StepLR(optimizer, 2, option="weight_decay")


@pytest.mark.parametrize("act", ["step", "read", "update"])
def test_two_schedulers_of_one_option_that_nobody_owns(act):
    with lf.Graph("two") as graph:
        optimizer = optimizer_with("momentum", 0.9)
        first = CyclicLR(optimizer, 0.1, 0.2, cycle_momentum=True)
        StepLR(optimizer, 2, option="momentum")
        acts = {
            "step": first.step,
            "read": lambda: optimizer.momentum,
            "update": lambda: optimizer.step({optimizer.params[0]: lf.constant(ONE)}),
        }
        text = "2 schedulers for 'momentum' that nobody composes"
        with graph.program("train"), pytest.raises(lf.GraphError, match=text) as error:
            acts[act]()
        assert not graph.ir.programs["train"].effects
    assert "CyclicLR made at test_options.py:" in str(error.value)
    assert "StepLR made at test_options.py:" in str(error.value)


def test_scheduled_number_is_not_read_outside_of_a_graph():
    optimizer = optimizer_with("momentum", 0.9)
    StepLR(optimizer, 2, option="momentum")
    with pytest.raises(lf.GraphError, match=r"sgd\.momentum: no graph is open"):
        _ = optimizer.momentum


# --- compositions -------------------------------------------------------------------------------------------


def parts(optimizer, option):
    return [ConstantLR(optimizer, 0.5, 2, option=option), ExponentialLR(optimizer, 0.5, option=option)]


COMPOSITIONS = [
    (lambda o, p: ChainedScheduler(p), [0.5, 0.25, 0.25, 0.125, 0.0625]),
    (lambda o, p: SequentialLR(o, p, [2]), [0.5, 0.5, 1.0, 0.5, 0.25]),
    (lambda o, p: WarmUpLR(ChainedScheduler(p), 0.0, 2, warmup_prefix=True), [0.0, 0.5, 0.5, 0.25, 0.25]),
]


@pytest.mark.parametrize(("compose", "expected"), COMPOSITIONS)
def test_composition_drives_what_its_parts_drive(compose, expected):
    def make(optimizer):
        return compose(optimizer, parts(optimizer, "weight_decay"))

    optimizer = optimizer_with("weight_decay", 1.0, 4.0)
    numbers = run(make, 5, optimizer, ["weight_decay", "lr"])
    np.testing.assert_array_equal(numbers["weight_decay"], np.outer(expected, [1.0, 4.0]))
    assert (numbers["lr"] == 0.001).all()
    whole = make(optimizer_with("weight_decay", 1.0))
    assert (whole.option, whole.drives) == ("weight_decay", ("weight_decay",))
    assert whole.curve(5).tolist() == expected


def test_warm_up_of_an_option_with_nothing_behind_it():
    warm = WarmUpLR(optimizer_with("weight_decay", 8.0), 0.5, 2, option="weight_decay")
    assert warm.curve(3).tolist() == [4.0, 6.0, 8.0]


@pytest.mark.parametrize("compose", [lambda o, p: ChainedScheduler(p), lambda o, p: SequentialLR(o, p, [2])])
def test_parts_of_two_options_are_refused(compose):
    optimizer = optimizer_with("momentum", 0.9)
    mixed = [StepLR(optimizer, 2), StepLR(optimizer, 2, option="momentum")]
    with pytest.raises(lf.ArgumentError, match="this StepLR drives 'momentum'") as error:
        compose(optimizer, mixed)
    assert "one scheduler for each option" in str(error.value)
    assert [part.owner for part in mixed] == [None, None]


def test_composition_of_another_option_than_its_parts_is_refused():
    inner = StepLR(optimizer_with("momentum", 0.9), 2)
    with pytest.raises(lf.ArgumentError, match="this StepLR drives 'lr'"):
        WarmUpLR(inner, option="momentum")


def test_sequence_leaves_the_momentum_alone_until_it_cycles():
    def make(optimizer):
        once = OneCycleLR(optimizer, 1.0, 10, cycle_momentum=True)
        return SequentialLR(optimizer, [LinearLR(optimizer), once], [3])

    momentum = run(make, 6, optimizer_with("momentum", 0.5), ["lr", "momentum"])["momentum"][:, 0]
    cycled = OneCycleLR(optimizer_with("momentum", 0.5), 1.0, 10, cycle_momentum=True)
    np.testing.assert_array_equal(momentum, [0.5, 0.5, 0.5, *cycled.curve(3, option="momentum")])


def test_plateau_of_an_option():
    with lf.Graph("plateau") as graph:
        loss = lf.placeholder("loss", ())
        optimizer = optimizer_with("weight_decay", 1.0, 4.0)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, option="weight_decay")
        fetches = {str(i): group["weight_decay"] for i, group in enumerate(optimizer.param_groups)}
        with graph.program("epoch", fetches=fetches):
            scheduler.step(loss)
    session = lf.compile(graph).session(backend="numpy")
    rows = [session.run("epoch", loss=loss) for loss in (3.0, 3.0, 2.0, 2.0)]
    assert [float(row["0"]) for row in rows] == [1.0, 1.0, 0.5, 0.5]
    assert [float(row["1"]) for row in rows] == [4.0, 4.0, 2.0, 2.0]
    assert session.get("sgd/plateau/weight_decay/best") == 2.0
