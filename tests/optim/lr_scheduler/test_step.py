"""step(): where a schedule's clock moves, what it reports, and who may call it."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from lazyflow.runtime import load_plan
from optim.lr_scheduler.schedules import an_optimizer, run_rates

ONE = np.ones(1, np.float32)


def per_update(make, optimizer=an_optimizer, rates=(1.0,)):
    """A graph whose program "train" updates and steps, and "evaluate" does neither."""
    with lf.Graph("per update") as graph:
        made = optimizer(*rates)
        scheduler = make(made)
        gradients = {w: lf.placeholder(f"g{i}", w.shape) for i, w in enumerate(made.params)}
        fetches = {f"lr{i}": group["lr"] for i, group in enumerate(made.param_groups)}
        with graph.program("train", fetches=fetches):
            made.step(gradients)
            scheduler.step()
        graph.program("evaluate", fetches=fetches)
    return graph


def session_of(graph):
    return lf.compile(graph).session(backend="numpy")


def test_schedule_advances_with_each_update():
    session = session_of(per_update(lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.5)))
    rates = [float(session.run("train", g0=ONE)["lr0"]) for _ in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert session.get("w0") == -sum(rates)
    assert session.get("sgd/schedule") == 6


def test_schedule_does_not_advance_where_nothing_is_updated():
    session = session_of(per_update(lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.5)))
    session.run("train", g0=ONE)
    assert [float(session.run("evaluate")["lr0"]) for _ in range(3)] == [0.5, 0.5, 0.5]


def test_schedule_advances_per_epoch_in_a_program_of_its_own():
    with lf.Graph("per epoch") as graph:
        optimizer = an_optimizer(1.0)
        scheduler = lr_scheduler.StepLR(optimizer, 2, 0.5)
        gradient = lf.placeholder("g", (1,))
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({optimizer.params[0]: gradient})
        with graph.program("epoch"):
            scheduler.step()
    session = session_of(graph)
    rates = []
    for _ in range(4):  # epochs
        rates.append([float(session.run("train", g=ONE)["lr"]) for _ in range(3)])
        session.run("epoch")
    assert rates == [[1.0] * 3, [1.0] * 3, [0.5] * 3, [0.5] * 3]
    assert session.get("sgd/applied") == 12
    assert session.get("sgd/schedule") == 4


class Skipping(optim.SGD):
    """An optimizer whose update is applied where a feed says so."""

    def applied_in(self, program):
        return lf.placeholder("applied", (), lf.bool_) if program.ir.name == "train" else None


def test_schedule_does_not_advance_where_the_update_was_not_applied():
    with lf.Graph("skips") as graph:
        w = lf.Parameter([0.0], name="w")
        optimizer = Skipping([w], lr=1.0)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({w: lf.placeholder("g", (1,))})
            scheduler.step()
        with graph.program("epoch"):
            scheduler.step()
    session = session_of(graph)
    rates = [float(session.run("train", g=ONE, applied=a)["lr"]) for a in (True, False, False, True, True)]
    assert rates == [1.0, 0.5, 0.5, 0.5, 0.25]
    session.run("epoch")  # in a program of its own, always
    assert session.get("skipping/schedule") == 4


def test_one_schedule_may_step_in_several_programs():
    with lf.Graph("several") as graph:
        optimizer = an_optimizer(1.0)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
        for name in ("first", "second"):
            with graph.program(name, fetches={"lr": optimizer.lr}):
                scheduler.step()
    session = session_of(graph)
    assert [float(session.run(name)["lr"]) for name in ("first", "second", "second")] == [1.0, 0.5, 0.25]


def test_base_rate_set_in_a_live_session_starts_the_curve_anew_without_compiling():
    session = session_of(per_update(lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.5)))
    for _ in range(3):
        session.run("train", g0=ONE)
    prepared = session.backend.prepared
    session.groups["sgd"][0]["lr"] = 8.0
    assert session.run("train", g0=ONE)["lr0"] == 4.0
    assert session.backend.prepared == prepared


def test_training_resumes_at_a_step_from_its_number_alone():
    def make(optimizer):
        return lr_scheduler.CosineAnnealingLR(optimizer, 20, 0.1)

    session = session_of(per_update(make))
    whole = [float(session.run("train", g0=ONE)["lr0"]) for _ in range(12)]
    other = session_of(per_update(make))
    other.set("sgd/schedule", np.int64(7))
    assert [float(other.run("train", g0=ONE)["lr0"]) for _ in range(5)] == whole[7:]


def test_saved_plan_goes_on_with_its_schedule(tmp_path):
    graph = per_update(lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda k: 1 if k < 3 else 1 / k))
    plan = lf.compile(graph)
    session = plan.session(backend="numpy")
    for _ in range(4):
        session.run("train", g0=ONE)
    plan.save(tmp_path / "a.lfplan", state=session)
    loaded = load_plan(tmp_path / "a.lfplan").session(backend="numpy")
    for _ in range(3):
        assert loaded.run("train", g0=ONE) == session.run("train", g0=ONE)
    assert loaded.get("w0") == session.get("w0")


def test_half_precision_parameter_gets_the_float64_rate_cast_once():
    with lf.Graph("half") as graph:
        w = lf.Parameter(np.zeros(1, np.float16), name="w")
        optimizer = optim.SGD([w], lr=0.1)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({w: lf.placeholder("g", (1,), lf.float16)})
            scheduler.step()
    session = session_of(graph)
    rates = [session.run("train", g=np.ones(1, np.float16))["lr"] for _ in range(2)]
    assert rates == [0.1, 0.05]
    assert rates[0].dtype == np.float64


# --- another clock ------------------------------------------------------------------------------------------


def test_schedule_may_read_another_clock():
    with lf.Graph("clock") as graph:
        optimizer = an_optimizer(1.0)
        lr_scheduler.ExponentialLR(optimizer, 0.5, clock=optimizer.updates)
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({optimizer.params[0]: lf.placeholder("g", (1,))})
    session = session_of(graph)
    assert [float(session.run("train", g=ONE)["lr"]) for _ in range(3)] == [1.0, 0.5, 0.25]
    assert "sgd/schedule" not in session.state_dict()


def test_schedule_that_reads_another_clock_has_nothing_to_advance():
    with lf.Graph("clock") as graph:
        optimizer = an_optimizer(1.0)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5, clock=optimizer.updates)
        with graph.program("train"), pytest.raises(lf.GraphError, match="reads the clock 'sgd/updates'"):
            scheduler.step()


# --- reports ------------------------------------------------------------------------------------------------


def test_verbose_reports_the_first_rate_and_each_change(capsys):
    def make(optimizer):
        return lr_scheduler.StepLR(optimizer, 2, 0.1, verbose=True)

    run_rates(make, 5, [0.1, 0.02])
    assert capsys.readouterr().out.splitlines() == [
        "Adjusting learning rate of group 0 to 1.0000e-01.",
        "Adjusting learning rate of group 1 to 2.0000e-02.",
        "Adjusting learning rate of group 0 to 1.0000e-02.",
        "Adjusting learning rate of group 1 to 2.0000e-03.",
        "Adjusting learning rate of group 0 to 1.0000e-03.",
        "Adjusting learning rate of group 1 to 2.0000e-04.",
    ]


def test_silence_unless_verbose(capsys):
    run_rates(lambda optimizer: lr_scheduler.StepLR(optimizer, 1), 3)
    assert capsys.readouterr().out == ""


def test_verbose_with_another_clock_reports(capsys):
    with lf.Graph("clock") as graph:
        optimizer = an_optimizer(1.0)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5, verbose=True, clock=optimizer.updates)
        with graph.program("train"):
            optimizer.step({optimizer.params[0]: lf.placeholder("g", (1,))})
            scheduler.step()
    session = session_of(graph)
    for _ in range(2):
        session.run("train", g=ONE)
    assert [line[-11:] for line in capsys.readouterr().out.splitlines()] == ["1.0000e+00.", "5.0000e-01."]


# --- who may call it ----------------------------------------------------------------------------------------


def test_step_outside_of_a_graph_says_what_to_write():
    scheduler = lr_scheduler.StepLR(an_optimizer(), 2)
    with pytest.raises(lf.GraphError, match=r"scheduler.step\(\): no graph is open") as error:
        scheduler.step()
    assert "with lf.Graph() as graph:" in str(error.value)


def test_step_outside_of_a_program_says_what_to_write():
    with lf.Graph("none"):
        scheduler = lr_scheduler.StepLR(an_optimizer(), 2)
        with pytest.raises(
            lf.GraphError, match=r"scheduler.step\(\) was called outside of a program"
        ) as error:
            scheduler.step()
    assert 'with graph.program("train"): ... scheduler.step()' in str(error.value)


def test_second_step_in_a_program_names_both_lines():
    with lf.Graph("twice") as graph:
        scheduler = lr_scheduler.StepLR(an_optimizer(), 2)
        with graph.program("train"):
            scheduler.step()
            with pytest.raises(
                lf.GraphError, match=r"StepLR\.step\(\): called twice in program 'train'"
            ) as error:
                scheduler.step()
    assert str(error.value).count("test_step.py:") == 2


def test_clock_that_the_user_assigns_as_well_is_named():
    with lf.Graph("both") as graph:
        scheduler = lr_scheduler.StepLR(an_optimizer(), 2)
        with graph.program("train"):
            scheduler.step()
            with pytest.raises(lf.GraphError, match="assign: 'sgd/schedule' is assigned twice"):
                scheduler.own_clock.assign(0)


def test_two_schedulers_that_nobody_owns():
    with lf.Graph("two") as graph:
        optimizer = an_optimizer()
        schedulers = [lr_scheduler.StepLR(optimizer, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
        with graph.program("train"):
            for scheduler in schedulers:
                with pytest.raises(lf.GraphError, match="2 schedulers that nobody composes") as error:
                    scheduler.step()
                for text in ("StepLR made at test_step.py:", "ExponentialLR made at", "ChainedScheduler"):
                    assert text in str(error.value)
                assert "SequentialLR" in str(error.value)


def test_scheduler_made_after_the_rate_was_read():
    with lf.Graph("late"):
        optimizer = an_optimizer()
        assert optimizer.lr is optimizer.param_groups[0]["lr"]
        with pytest.raises(lf.GraphError, match="after the rate of 'sgd' was read") as error:
            lr_scheduler.StepLR(optimizer, 2)
    assert "make the scheduler first" in str(error.value)


def test_another_start_of_the_clock_after_it_was_read():
    with lf.Graph("started"):
        optimizer = an_optimizer()
        _ = optimizer.clock("schedule") + 1
        scheduler = lr_scheduler.StepLR(optimizer, 2, last_step=4)
        with pytest.raises(lf.GraphError, match="'sgd/schedule' was read already, starting at 0, not at 5"):
            _ = scheduler.clock


def test_repr_names_the_optimizer_and_what_was_chosen():
    text = repr(lr_scheduler.StepLR(an_optimizer(), 30, gamma=0.5))
    assert text.startswith("<StepLR of 'sgd', step_size=30, gamma=0.5, made at test_step.py:")
    optimizer = an_optimizer()
    text = repr(lr_scheduler.StepLR(optimizer, 30, clock=optimizer.updates))
    assert "clock=<Variable 'sgd/updates' int64[]>" in text
