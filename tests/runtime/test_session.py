"""Sessions: runs, variables, bound arrays, and that failing calls change nothing."""

import copy
import pickle
import signal
import threading

import numpy as np
import pytest

from documents import Program, call, literal, plan, variable
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    FeedError,
    SessionBusyError,
    StateError,
)


def training():
    """w = w - 0.5*g, and the fetch "old": w before the run."""
    p = Program("train", dimensions=())
    g, w, old = p.feed("g", (3,)), p.variable("w", (3,)), p.arena((3,))
    p.kernel([w], [], [(0, old)])
    p.kernel([w, g], [literal(0.5), call("mul", 1, 2), call("sub", 0, 3)], [(4, w)])
    p.fetch("old", old)
    return plan(p, variables=[variable("w", (3,), initial=1.0), variable("steps", (), "int64", 0)])


@pytest.fixture
def session():
    return training().session("numpy")


def ones(value=1.0):
    return np.full(3, value, np.float32)


def test_variables_start_at_their_initial_number_and_stay_between_runs(session):
    assert session.run("train", g=ones())["old"].tolist() == [1.0] * 3
    assert session.run("train", g=ones())["old"].tolist() == [0.5] * 3
    assert session.get("w").tolist() == [0.0] * 3


@pytest.mark.parametrize("initial", [0, 0.0, -0.0, 2, -1.5, "inf", "-inf", "nan"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_variable_starts_at_its_number_sign_and_all(initial, dtype):
    p = Program(dimensions=())
    p.fetch("x", p.variable("x", (3,), dtype))
    found = plan(p, variables=[variable("x", (3,), dtype, initial)]).session("numpy").get("x")
    assert list(map(str, found.astype(float))) == [str(float(initial))] * 3


def test_fetches_are_fresh_arrays(session):
    first = session.run("train", g=ones())["old"]
    first[...] = 99
    assert session.run("train", g=ones())["old"].tolist() == [0.5] * 3


def test_fetch_of_rank_zero_is_an_array():
    p = Program(dimensions=())
    p.fetch("steps", p.variable("steps", (), "int64"))
    found = plan(p, variables=[variable("steps", (), "int64", 3)]).session("numpy").run("main")["steps"]
    assert isinstance(found, np.ndarray)
    assert found.shape == ()
    assert found == 3


def test_unknown_program_lists_those_that_exist(session):
    with pytest.raises(ArgumentError) as caught:
        session.run("trian", g=ones())
    assert str(caught.value).startswith("no program is named 'trian'")
    assert "did you mean 'train'?" in str(caught.value)


# --- run_many -----------------------------------------------------------------------------------------------


def test_run_many_returns_the_last_fetches(session):
    found = session.run_many("train", [{"g": ones()}, {"g": ones()}])
    assert found["old"].tolist() == [0.5] * 3


def test_run_many_returns_all_fetches(session):
    found = session.run_many("train", ({"g": ones()} for _ in range(3)), fetch="all")
    assert [step["old"][0] for step in found] == [1.0, 0.5, 0.0]


def test_run_many_takes_arrays_whose_first_axis_is_the_run(session):
    session.run_many("train", {"g": np.stack([ones(1), ones(2)])})
    assert session.get("w").tolist() == [-0.5] * 3


def test_run_many_refuses_arrays_of_different_lengths_or_ranks(session):
    with pytest.raises(FeedError, match="does not hold one value per run"):
        session.run_many("train", {"g": ones()})
    with pytest.raises(FeedError, match="unknown feed 'h'"):
        session.run_many("train", {"g": ones()[None], "h": np.zeros(2)})
    p = Program(dimensions=())
    p.feed("g", ()), p.feed("h", ())
    with pytest.raises(FeedError, match="different numbers of runs: g 1, h 2"):
        plan(p).session("numpy").run_many("main", {"g": ones()[:1], "h": ones()[:2]})


def test_run_many_says_which_run_failed(session):
    with pytest.raises(FeedError) as caught:
        session.run_many("train", [{"g": ones()}, {"h": ones()}])
    assert "in run 1 (from 0)" in caught.value.__notes__[0]
    assert session.get("w").tolist() == [0.5] * 3


def test_run_many_without_batches_has_no_last_run(session):
    with pytest.raises(ArgumentError, match="there are no batches"):
        session.run_many("train", [])
    assert session.run_many("train", [], fetch="all") == []


@pytest.mark.parametrize("fetch", ["first", np.zeros(2), None])
def test_run_many_refuses_an_unknown_fetch(session, fetch):
    with pytest.raises(ArgumentError, match=r"fetch=.*; expected 'last' or 'all'"):
        session.run_many("train", [], fetch=fetch)


def test_run_many_without_batches_hints_at_what_is_bound(session):
    session.bind("g", ones())
    with pytest.raises(ArgumentError, match=r"hint      \[\{\}\] \* n runs n times on what is bound"):
        session.run_many("train", {})


def test_run_many_of_what_is_no_name_shows_its_own_call(session):
    with pytest.raises(ArgumentTypeError, match="run_many: list is no name of a program") as caught:
        session.run_many([{"g": ones()}], "train")
    assert "hint      session.run_many(program," in str(caught.value)


# --- state --------------------------------------------------------------------------------------------------


def test_state_dict_holds_copies(session):
    state = session.state_dict()
    assert state.keys() == {"w", "steps"}
    state["w"][...] = 7
    assert session.get("w").tolist() == [1.0] * 3


def test_load_state_dict_sets_all_variables(session):
    session.load_state_dict({"w": ones(4), "steps": 12})
    assert session.get("w").tolist() == [4.0] * 3
    assert session.get("steps") == 12


def test_load_state_dict_lists_all_that_does_not_fit_and_changes_nothing(session):
    with pytest.raises(StateError) as caught:
        session.load_state_dict({"w": np.zeros(2, np.float32), "step": 1})
    text = str(caught.value)
    assert "missing   'steps'" in text
    assert "extra     'step'" in text
    assert "'step': did you mean 'steps'?" in text
    assert "'w': the array has shape (2,)" in text
    assert session.get("w").tolist() == [1.0] * 3


@pytest.mark.parametrize(("count", "more"), [(8, None), (9, "and 1 more"), (11, "and 3 more")])
def test_load_state_dict_lists_eight_that_do_not_fit(count, more):
    names = [f"v{number:02}" for number in range(count)]
    made = plan(Program(dimensions=()), variables=[variable(name, (2,)) for name in names]).session("numpy")
    with pytest.raises(StateError) as caught:
        made.load_state_dict({name: np.zeros(3, np.float32) for name in names})
    lines = str(caught.value).splitlines()
    told = [line for line in lines if "the array has shape (3,)" in line]
    assert [line.split("'")[1] for line in told] == names[:8]
    assert lines[-1].strip() == (more or "expected  float32[2]")
    assert all(line.startswith("  ") for line in lines[1:])


def test_load_state_dict_is_all_or_nothing(session):
    with pytest.raises(StateError, match="float64 does not cast safely to float32"):
        session.load_state_dict({"steps": 5, "w": np.zeros(3)})
    assert session.get("steps") == 0


def test_load_state_dict_that_is_not_strict_takes_what_there_is(session):
    session.load_state_dict({"w": ones(2), "other": ones()}, strict=False)
    assert session.get("w").tolist() == [2.0] * 3


def test_load_state_dict_refuses_what_is_no_mapping(session):
    with pytest.raises(ArgumentTypeError, match="list is not a mapping"):
        session.load_state_dict([1])


def test_set_casts_safely_only(session):
    session.set("w", np.array([1, 2, 3], np.int16))
    assert session.get("w").tolist() == [1, 2, 3]
    with pytest.raises(StateError, match="'w': float64 does not cast safely to float32"):
        session.set("w", np.zeros(3))


def test_set_and_get_hint_at_the_closest_name(session):
    for call_ in (lambda: session.get("stepz"), lambda: session.set("stepz", 1)):
        with pytest.raises(StateError) as caught:
            call_()
        assert "no variable is named 'stepz'" in str(caught.value)
        assert "did you mean 'steps'?" in str(caught.value)


def test_name_that_is_none_is_refused(session):
    with pytest.raises(StateError, match="no variable is named None"):
        session.get(None)


def test_session_cannot_be_pickled_or_copied(session):
    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(
            ArgumentTypeError, match=r"it cannot be pickled or copied\n  hint +plan.session\(\)"
        ):
            use(session)


# --- bind ---------------------------------------------------------------------------------------------------


def test_bound_variable_lives_in_the_callers_array(session):
    memory = ones(10)
    session.bind("w", memory)
    session.run("train", g=ones(2))
    assert memory.tolist() == [9.0] * 3
    memory[...] = 5
    assert session.get("w").tolist() == [5.0] * 3


def test_bound_placeholder_is_read_at_every_run(session):
    gradient = ones(2)
    session.bind("g", gradient)
    session.run("train")
    gradient[...] = 4
    session.run("train")
    assert session.get("w").tolist() == [-2.0] * 3
    session.run("train", g=ones(0))
    assert session.get("w").tolist() == [-2.0] * 3


def test_bound_variable_is_restored_in_place(session):
    memory = ones()
    session.bind("w", memory)
    session.load_state_dict({"w": ones(8), "steps": 0})
    assert memory.tolist() == [8.0] * 3


read_only = ones()
read_only.flags.writeable = False


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        ([1.0, 2.0, 3.0], "bind 'w': list is not a plain numpy array"),
        (np.ma.masked_less(ones(), 2), "bind 'w': MaskedArray is not a plain numpy array"),
        (np.zeros(3), "bind 'w': the array is float64"),
        (np.zeros(6, np.float32)[::2], "bind 'w': the array is not contiguous"),
        (np.zeros(13, np.uint8)[1:].view(np.float32), "bind 'w': the array is not contiguous and aligned"),
        (np.zeros(4, np.float32), "bind 'w': the array has shape (4,)"),
        (read_only, "bind 'w': the array is read-only"),
    ],
)
def test_bind_refuses_arrays_that_do_not_fit(session, array, reason):
    with pytest.raises(StateError) as caught:
        session.bind("w", array)
    assert str(caught.value).startswith(reason)
    session.run("train", g=ones())
    assert session.get("w").tolist() == [0.5] * 3


def test_bind_refuses_a_placeholders_array_that_does_not_fit(session):
    with pytest.raises(FeedError, match="bind 'g': the array is float64"):
        session.bind("g", np.zeros(3))
    with pytest.raises(FeedError, match="feed 'g': axis 0 is 4"):
        session.bind("g", np.zeros(4, np.float32))


def test_bind_hints_at_the_closest_name(session):
    with pytest.raises(StateError) as caught:
        session.bind("gg", ones())
    assert str(caught.value).startswith("bind: no variable and no placeholder is named 'gg'")


def test_bound_variables_can_be_exchanged():
    p = Program(dimensions=())
    made = plan(p, variables=[variable("a", (3,)), variable("b", (3,))]).session("numpy")
    a, b = ones(1), ones(2)
    made.bind("a", a)
    made.bind("b", b)
    made.load_state_dict({"a": b, "b": a})
    assert a.tolist() == [2.0] * 3
    assert b.tolist() == [1.0] * 3


def test_two_variables_cannot_be_bound_to_the_same_memory():
    p = Program(dimensions=())
    made = plan(p, variables=[variable("a", (3,)), variable("b", (3,))]).session("numpy")
    memory = np.zeros(4, np.float32)
    made.bind("a", memory[:3])
    with pytest.raises(StateError, match="overlaps one that another variable is bound to"):
        made.bind("b", memory[1:])


@pytest.mark.parametrize("name", ["w", "g"])
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a.reshape(1000), lambda a: np.frombuffer(a.data)])
def test_bound_memory_cannot_be_given_back(name, view):
    p = Program("train", dimensions=())
    g, w = p.feed("g", (1000,), "float64"), p.variable("w", (1000,), "float64")
    p.kernel([w, g], [call("add", 0, 1, dtype="float64")], [(2, w)])
    made = plan(p, variables=[variable("w", (1000,), "float64")]).session("cpu")
    memory = np.zeros(1000)
    made.bind(name, view(memory))
    with pytest.raises(ValueError, match="cannot resize an array"):
        memory.resize(10**6, refcheck=False)
    made.bind(name, np.zeros(1000))
    memory.resize(10**6, refcheck=False)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_shape_of_a_bound_array_may_be_seen_in_another_way(backend):
    made, memory, gradient = training().session(backend), ones(), ones(2)
    made.bind("w", memory)
    made.bind("g", gradient)
    memory.resize((3, 1), refcheck=False)
    gradient.resize((1, 3), refcheck=False)
    assert made.run("train")["old"].shape == (3,)
    assert made.state_dict()["w"].tolist() == [0.0] * 3
    assert memory.tolist() == [[0.0]] * 3


def test_memory_that_is_lent_is_found_as_numpy_finds_it():
    rng, memory = np.random.default_rng(0), np.zeros(400, np.float32)
    starts = [10, 60, 70, 120, 300]
    names = [f"w{start}" for start in starts]
    made = plan(Program(dimensions=()), variables=[variable(name, (n,)) for n, name in enumerate(names, 1)])
    session, arrays = made.session("numpy"), []
    for size, (start, name) in enumerate(zip(starts, names, strict=True), 1):
        arrays.append(memory[start : start + size])
        session.bind(name, memory[200:][:size])  # and leaves it again
        session.bind(name, arrays[-1])
    for _ in range(2000):
        start, size = rng.integers(0, 390), rng.integers(1, 10)
        array = memory[start : start + size][:: rng.choice([-2, -1, 1, 3])]
        expected = any(np.may_share_memory(array, other) for other in arrays)
        assert session._state.overlaps(array) == expected
    assert not session._state.overlaps(np.zeros(3))


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("first", ["w", "g"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_placeholder_in_the_memory_of_a_variable_is_read_as_it_was_before_each_run(backend, first, place):
    made, memory = training().session(backend), np.arange(6, dtype=np.float32)
    arrays, expected = {"w": memory[:3], "g": memory[place : place + 3]}, memory.copy()
    for name in (first, *arrays.keys() - {first}):
        made.bind(name, arrays[name])
    for runs in (1, 1, 3):
        made.run_many("train", [{}] * runs)
        for _ in range(runs):
            expected[:3] -= np.float32(0.5) * expected[place : place + 3].copy()
    assert memory.tolist() == expected.tolist()


def lent(backend="numpy"):
    """A session with a program that changes w and one that reads it, and the array that w is bound to."""
    reading = Program("look", dimensions=())
    reading.fetch("w", reading.variable("w", (3,)))
    changing = Program("train", dimensions=())
    w, g = changing.variable("w", (3,)), changing.feed("g", (3,))
    changing.kernel([w, g], [call("sub", 0, 1)], [(2, w)])
    made = plan(changing, reading, variables=[variable("w", (3,)), variable("v", (3,))]).session(backend)
    memory = ones()
    made.bind("w", memory)
    return made, memory


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.run("train", g=ones()),
        lambda made: made.run_many("train", [{"g": ones()}]),
        lambda made: made.run_many("train", [{"g": ones()}] * 2),
        lambda made: made.run_many("train", {"g": ones()[None]}),
        lambda made: made.set("w", ones(2)),
        lambda made: made.load_state_dict({"v": ones(2), "w": ones(2)}, strict=False),
    ],
)
def test_bound_array_that_became_read_only_is_not_changed(backend, change):
    made, memory = lent(backend)
    made.run("train", g=ones(0))
    memory.flags.writeable = False
    with pytest.raises(StateError) as caught:
        change(made)
    assert str(caught.value).startswith("variable 'w': the array that it is bound to is read-only now")
    assert "array.flags.writeable = True, or session.bind('w', array.copy())" in str(caught.value)
    assert memory.tolist() == [1.0] * 3
    assert made.get("v").tolist() == [0.0] * 3
    assert made.run("look")["w"].tolist() == [1.0] * 3  # which changes nothing
    made.bind("w", memory.copy())
    change(made)


def test_array_that_becomes_read_only_between_batches_is_not_changed():
    made, memory = lent("cpu")

    def batches():
        yield {"g": ones()}
        yield {"g": ones()}
        memory.flags.writeable = False
        yield {"g": ones()}

    with pytest.raises(StateError, match="is read-only now"):
        made.run_many("train", batches())
    assert memory.tolist() == [-1.0] * 3


# --- one user at a time -------------------------------------------------------------------------------------


class Watched:
    """A backend that calls a function at the start of each run."""

    name, prepared, whole = "watched", 0, False

    def __init__(self, backend, at_start):
        self.backend, self.at_start = backend, at_start

    def place(self, variables):
        self.backend.place(variables)

    def run(self, *args):
        self.at_start()
        return self.backend.run(*args)


def test_session_in_use_refuses_a_second_thread(session):
    started, go_on = threading.Event(), threading.Event()
    session.backend = Watched(session.backend, lambda: (started.set(), go_on.wait(10)))
    thread = threading.Thread(target=session.run, args=("train",), kwargs={"g": ones()})
    thread.start()
    try:
        assert started.wait(10)
        for use in (
            lambda: session.run("train", g=ones()),
            lambda: session.run_many("train", [{"g": ones()}] * 2),
            lambda: session.run_many("train", {"g": ones()[None]}),
            lambda: session.run_many("train", iter([{"g": ones()}])),
            lambda: session.get("w"),
            lambda: session.set("w", ones()),
            lambda: session.bind("w", ones()),
            lambda: session.load_state_dict({"w": ones()}, strict=False),
            session.state_dict,
        ):
            with pytest.raises(SessionBusyError, match=r"it is running.*\n.*one session per thread"):
                use()
    finally:
        go_on.set()
        thread.join()
    assert session.get("w").tolist() == [0.5] * 3  # free again, and the second run did not happen


def test_session_that_runs_many_refuses_a_second_thread():
    session, started, go_on = training().session("cpu"), threading.Event(), threading.Event()
    run_steps = session.backend.run_steps

    def waiting(*args):
        started.set()
        go_on.wait(10)
        return run_steps(*args)

    session.backend.run_steps = waiting
    thread = threading.Thread(target=session.run_many, args=("train", [{"g": ones()}] * 2))
    thread.start()
    try:
        assert started.wait(10)
        with pytest.raises(SessionBusyError, match="it is running"):
            session.run("train", g=ones())
    finally:
        go_on.set()
        thread.join()
    assert session.get("w").tolist() == [0.0] * 3


def test_interrupt_waits_for_the_end_of_the_run(session):
    session.backend = Watched(session.backend, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        session.run("train", g=ones())
    assert session.get("w").tolist() == [0.5] * 3  # whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_session_is_free_after_a_failing_run(session):
    with pytest.raises(FeedError):
        session.run("train")
    session.run("train", g=ones())


def test_sessions_of_one_plan_have_their_own_variables():
    made = training()
    first, second = made.session("numpy"), made.session("numpy")
    first.run("train", g=ones())
    assert second.get("w").tolist() == [1.0] * 3
