"""Many runs in one native call: as if they were made one by one, and interrupted between two of them."""

import signal
import threading

import numpy as np
import pytest

from documents import Program, call, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.running import binding
from lazyflow.runtime.errors import ArgumentError, FeedError, OutOfRangeError


def counting(size=1):
    """Two variables of which each run adds 1 to, and a sum of what is fed."""
    p = Program(dimensions=())
    a, b, total = (p.variable(name, (size,)) for name in ("a", "b", "total"))
    x = p.feed("x", ())
    for target in (a, b):
        p.kernel([target], [literal(1.0), call("add", 0, 1)], [(2, target)])
    p.kernel([total, x.access((0,))], [call("add", 0, 1)], [(2, total)])
    p.fetch("a", a)
    return plan(p, variables=[variable(name, (size,)) for name in ("a", "b", "total")]).session("cpu")


def test_stacked_feeds_reach_their_steps():
    session = counting()
    found = session.run_many("main", {"x": np.arange(1000, dtype=np.float32)})
    assert found["a"].tolist() == [1000]
    assert session.get("total").tolist() == [999 * 500]


def test_stacked_feeds_of_another_dtype_or_layout():
    session = counting()
    session.run_many("main", {"x": np.arange(10, dtype=np.float16)[::-2]})
    assert session.get("total").tolist() == [25]


def test_bound_feeds_and_empty_batches():
    session, x = counting(), np.array(2.0, np.float32)
    session.bind("x", x)
    session.run_many("main", [{}] * 50)
    x[...] = 3.0
    session.run("main")
    session.run_many("main", [{}] * 2)
    assert session.get("total").tolist() == [109]


@pytest.mark.parametrize("every", [True, False])
def test_stacked_feed_in_the_memory_of_a_variable_is_read_run_by_run(every):
    session, memory = counting(size=4), np.zeros(4, np.float32)
    session.bind("total", memory)
    feeds = {"x": memory} if every else [{"x": memory[run, ...]} for run in range(4)]
    session.run_many("main", feeds)
    assert memory.tolist() == [0] * 4
    memory[:] = 1
    session.run_many("main", feeds)
    assert memory.tolist() == [16] * 4


def test_stacked_feeds_are_read_run_by_run_beside_a_placeholder_bound_to_a_variables_memory():
    p = Program(dimensions=())
    x, y, total = p.feed("x", ()), p.feed("y", ()), p.variable("total", ())
    p.kernel([total, x, y], [call("mul", 1, 2), call("add", 0, 3)], [(4, total)])
    session, memory = plan(p, variables=[variable("total", ())]).session("cpu"), np.ones((), np.float32)
    session.bind("total", memory)
    session.bind("y", memory)
    session.run_many("main", {"x": np.float32([1, 2, 3])})
    assert memory == (1 + 1) * (1 + 2) * (1 + 3)


def test_casts_of_stacked_arrays_are_not_hoarded(monkeypatch):
    p = Program(dimensions=())
    x, first = p.feed("x", (1 << 18,), "float64"), p.arena((), "float64")
    p.kernel([x.access(())], [], [(0, first)], space=())
    p.fetch("first", first)
    session = plan(p).session("cpu")
    asked = offered(session, monkeypatch)
    stacked = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None], (9, 1 << 18))
    found = session.run_many("main", {"x": stacked}, fetch="all")
    assert max(asked) == 2  # of 2 MB each
    assert [step["first"] for step in found] == list(range(9))


def test_rows_of_stacked_arrays_are_read_where_they_lie(monkeypatch):
    p = Program(dimensions=())
    x, y = p.feed("x", (3,)), p.arena((3,))
    p.kernel([x], [call("neg", 0)], [(1, y)])
    p.fetch("y", y)
    session, taken = plan(p).session("cpu"), []
    run_steps = session.backend.run_steps
    monkeypatch.setattr(
        session.backend, "run_steps", lambda *args: (taken.append(args[1].moving["x"]), run_steps(*args))[1]
    )
    memory = np.arange(24, dtype=np.float32).reshape(4, 6)
    for stacked in (memory[::2, :3], memory[::-1, 3:], np.broadcast_to(memory[0, :3], (5, 3))):
        found = session.run_many("main", {"x": stacked}, fetch="all")
        np.testing.assert_array_equal([step["y"] for step in found], -stacked)
        assert np.may_share_memory(taken[-1], memory)


def checked():
    """A count of the runs whose two indices are below 3."""
    p = Program(dimensions=())
    index, count = p.feed("index", (2,), "int64"), p.variable("count", ())
    p.add(schema.Check(space=(2,), size=3, index=index.access()))
    p.kernel([count], [literal(1.0), call("add", 0, 1)], [(2, count)])
    return plan(p, variables=[variable("count")]).session("cpu")


def test_error_names_the_run_and_keeps_those_before_it():
    session = checked()
    batches = np.zeros((9, 2), np.int64)
    batches[5, 1] = 7
    with pytest.raises(OutOfRangeError, match="index 7 is outside") as caught:
        session.run_many("main", {"index": batches})
    assert caught.value.__notes__ == ["in run 5 (from 0) of run_many; the runs before it have happened"]
    assert session.get("count") == 5


def test_prints_of_every_step_are_written(capsys):
    p = Program(dimensions=())
    x = p.feed("x", ())
    p.add(schema.Print(text="x", space=(), source=x.access()))
    plan(p).session("cpu").run_many("main", {"x": np.arange(3, dtype=np.float32)})
    assert capsys.readouterr().out == "x 0.0\nx 1.0\nx 2.0\n"


def printing(shape):
    """A program that prints x where it is to, and then looks at an index."""
    p = Program(dimensions=())
    x, when, index = p.feed("x", shape), p.feed("when", (), "bool"), p.feed("index", (1,), "int64")
    on = p.arena((), "bool")
    p.kernel([when], [], [(0, on)])
    p.add(schema.Print(text="x", space=shape, source=x.access(), when=on.buffer))
    p.add(schema.Check(space=(1,), size=3, index=index.access()))
    return plan(p)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_what_a_failing_run_would_print_is_never_printed(backend, capsys):
    session, x, good, bad = printing(()).session(backend), 1.0, np.array([0]), np.array([7])
    for run in (session.run, lambda name, **feeds: session.run_many(name, [feeds] * 2)):
        with pytest.raises(OutOfRangeError):
            run("main", x=x, when=True, index=bad)
        run("main", x=x, when=False, index=good)
        assert capsys.readouterr().out == ""
        run("main", x=x, when=True, index=good)
        assert "x 1.0\n" in capsys.readouterr().out


def test_what_is_printed_lies_in_the_memory_that_is_forecast():
    made = printing((1000,))
    session = made.session("cpu")
    session.run("main", x=np.ones(1000, np.float32), when=True, index=np.array([0]))
    program = made.summary().programs["main"]
    assert program.scratch_bytes == 4032
    assert session.backend.arena.size == program.peak_bytes + program.scratch_bytes


def test_print_on_change_is_silent_while_the_value_stays(capsys):
    p = Program(dimensions=())
    x, loud = p.feed("x", (2,)), p.feed("loud", (), "bool")
    p.add(schema.Print(text="x {}", space=(2,), source=x.access(), on_change=True))
    p.add(schema.Print(text="loud {}", space=(2,), source=x.access(), when=loud.buffer))
    session = plan(p).session("cpu")
    batches = [{"x": np.full(2, value, np.float32), "loud": value == 3} for value in (1, 1, 2, 2)]
    session.run_many("main", batches)
    session.run("main", x=np.full(2, 2, np.float32), loud=True)
    session.run_many("main", [{"x": np.full(2, value, np.float32), "loud": value == 3} for value in (3, 1)])
    assert capsys.readouterr().out.split("\n") == [
        "x [1. 1.]",
        "x [2. 2.]",
        "loud [2. 2.]",
        "x [3. 3.]",
        "loud [3. 3.]",
        "x [1. 1.]",
        "",
    ]


def offered(session, monkeypatch):
    """How many runs the backend is asked to make together, call by call."""
    asked, run_steps = [], session.backend.run_steps

    def watched(program, steps, every):
        asked.append(steps.runs)
        return run_steps(program, steps, every)

    monkeypatch.setattr(session.backend, "run_steps", watched)
    return asked


def scalars(values, dtype=np.float32):
    return [{"x": np.array(value, dtype)} for value in values]


@pytest.mark.parametrize("kind", [list, tuple])
def test_list_of_feeds_is_one_call(kind, monkeypatch):
    session = counting()
    asked = offered(session, monkeypatch)
    found = session.run_many("main", kind(scalars(range(100))))
    assert asked[0] == 100
    assert found["a"].tolist() == [100]
    assert session.get("total").tolist() == [99 * 50]


def test_long_lists_go_in_groups(monkeypatch):
    session = counting()
    asked = offered(session, monkeypatch)
    session.run_many("main", scalars(range(2500)))
    assert max(asked) < 2500
    assert session.get("total").tolist() == [2499 * 1250]


def test_casts_of_a_list_are_not_hoarded(monkeypatch):
    p = Program(dimensions=())
    p.feed("x", (1 << 18,), "float64")
    session = plan(p).session("cpu")
    asked = offered(session, monkeypatch)
    session.run_many("main", [{"x": np.ones(1 << 18, np.float32)}] * 9)
    assert max(asked) == 2  # of 2 MB each


def growing():
    """Each run adds its batch to a count, and fetches the count and the batch's first row."""
    p = Program()
    x, first, count = p.feed("x", ("batch", 2)), p.arena((2,)), p.variable("count", (), "int64")
    p.kernel([x.access((1,))], [], [(0, first)], space=(2,))
    p.kernel([count], [literal(1, "int64"), call("add", 0, 1, dtype="int64")], [(2, count)])
    p.fetch("first", first)
    p.fetch("count", count)
    return plan(p, variables=[variable("count", (), "int64", 0)]).session("cpu")


def batches_of(*sizes):
    return [{"x": np.full((size, 2), number, np.float32)} for number, size in enumerate(sizes)]


@pytest.mark.together
def test_sizes_may_change_from_batch_to_batch(monkeypatch):
    session = growing()
    asked = offered(session, monkeypatch)
    found = session.run_many("main", batches_of(4, 4, 4, 3, 4), fetch="all")
    assert asked == [3, 1, 1]
    assert [step["count"] for step in found] == [1, 2, 3, 4, 5]
    assert [step["first"].tolist() for step in found] == [[n, n] for n in range(5)]


def test_all_fetches_are_kept_in_one_call(monkeypatch):
    session = growing()
    asked = offered(session, monkeypatch)
    found = session.run_many("main", batches_of(*[3] * 50), fetch="all")
    assert asked[0] == 50
    assert [step["count"] for step in found] == list(range(1, 51))
    found[0]["first"][...] = 99
    found[1]["count"][...] = 99
    assert found[1]["first"].tolist() == [1, 1]
    assert found[2]["count"] == 3
    assert isinstance(found[2]["count"], np.ndarray)


@pytest.mark.together
def test_large_fetches_are_kept_a_few_at_a_time():
    p = Program(dimensions=())
    x, y = p.feed("x", ()), p.arena((1 << 19,))
    p.kernel([x.access((0,))], [], [(0, y)], space=(1 << 19,))
    p.fetch("y", y)
    session = plan(p).session("cpu")
    found = session.run_many("main", scalars(range(5)), fetch="all")
    assert [step["y"][-1] for step in found] == [0, 1, 2, 3, 4]
    bases = [step["y"].base for step in found]
    assert max(base.nbytes for base in bases) <= 1 << 22


@pytest.mark.together
def test_fetches_hold_no_more_memory_than_what_was_run(monkeypatch):
    monkeypatch.setattr(binding, "_PATIENCE", 0)  # so that each call ends with its first run
    found = growing().run_many("main", batches_of(3, 3, 3), fetch="all")
    assert [step["count"].base.nbytes for step in found] == [8] * 3


BATCHES = np.arange(18, dtype=np.float32).reshape(3, 3, 2)


@pytest.mark.parametrize(("fetched", "expected"), [("transposed", -BATCHES.swapaxes(1, 2)), ("fed", BATCHES)])
def test_all_fetches_that_are_no_block_of_memory(fetched, expected):
    p = Program()
    x, y = p.feed("x", ("batch", 2)), p.arena(("batch", 2))
    p.kernel([x], [call("neg", 0)], [(1, y)])
    p.fetch("y", y)
    p.fetch(fetched, x if fetched == "fed" else y._replace(shape=(2, "batch"), strides=(1, 2)))
    found = plan(p).session("cpu").run_many("main", [{"x": batch} for batch in BATCHES], fetch="all")
    np.testing.assert_array_equal([step[fetched] for step in found], expected)
    np.testing.assert_array_equal([step["y"] for step in found], -BATCHES)


def test_all_fetches_of_a_program_that_has_none():
    p = Program(dimensions=())
    p.feed("x", ())
    assert plan(p).session("cpu").run_many("main", scalars(range(3)), fetch="all") == [{}, {}, {}]


def test_list_of_other_dtypes_and_layouts():
    session = counting()
    session.run_many("main", [{"x": np.float16(3.0)}, {"x": 2}, *scalars([1], np.int16), *scalars([4.0])])
    assert session.get("total").tolist() == [10]


def test_list_of_what_runs_change_is_read_run_by_run():
    session, memory = counting(), np.ones(1, np.float32)
    session.bind("total", memory)
    feed = {"x": memory.reshape(())}
    session.run_many("main", [*scalars([1.0]), feed, feed, *scalars([1.0])])
    assert memory.tolist() == [((1 + 1) * 2) * 2 + 1]


def test_placeholder_bound_to_a_variables_memory_is_read_run_by_run():
    session, memory = counting(), np.ones(1, np.float32)
    session.bind("total", memory)
    session.bind("x", memory.reshape(()))
    session.run_many("main", [{}] * 3)
    assert memory.tolist() == [8]


@pytest.mark.parametrize(
    ("batches", "text"),
    [
        (np.ones((2, 3)), "run_many: ndarray holds no batches"),
        (None, "run_many: NoneType holds no batches"),
        ("x", "run_many: str holds no batches"),
        ([np.ones(3), np.ones(3)], "run_many: a batch is ndarray, no mapping"),
        ([np.ones(3)], "run_many: a batch is ndarray, no mapping"),
        (["x", "x"], "run_many: a batch is str, no mapping"),
        ([{"x": 1.0}, None], "run_many: a batch is NoneType, no mapping"),
    ],
)
def test_batches_that_are_none_are_refused(batches, text):
    with pytest.raises(FeedError, match=text) as caught:
        counting().run_many("main", batches)
    assert "hint      session.run_many(program, [{'x': array}, ...])" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "found", "hint"),
    [
        (np.float32([[1.0]]), "float32 of shape (1, 1)", "array[None] for one run"),
        (np.array(1.0), "float64 of shape ()", "or a list of feeds: [{'x': array}, ...]"),
        ([1.0, 2.0], "a list of 2", "np.stack(...) of the values of all runs"),
        (None, "NoneType", ""),
    ],
)
def test_stacked_feed_that_holds_no_value_per_run_says_what_it_holds(value, found, hint):
    with pytest.raises(FeedError) as caught:
        counting().run_many("main", {"x": value})
    text = str(caught.value)
    assert text.startswith("run_many: feed 'x' does not hold one value per run\n")
    assert "expected  a numpy array with 1 axis, the first of which is the run\n" in text
    assert f"found     {found}" in text
    assert hint in text


@pytest.mark.parametrize("value", [np.array(1.0), [1.0]])
def test_stacked_feed_of_an_unknown_name_is_named(value):
    with pytest.raises(FeedError, match="unknown feed 'nope'"):
        counting().run_many("main", {"nope": value})


def test_placeholder_bound_anew_is_read_from_where_it_is_now():
    session, memory = counting(), np.ones(1, np.float32)
    for value in (2.0, 3.0):
        session.bind("x", np.array(value, np.float32))
        session.run_many("main", [{}] * 10)
        session.run_many("main", {"x": np.ones(3, np.float32)})
        session.run_many("main", [{}] * 10)
    assert session.get("total").tolist() == [2 * 20 + 3 * 20 + 2 * 3]
    session.set("total", np.ones(1, np.float32))
    session.bind("total", memory)
    session.bind("x", memory.reshape(()))
    session.run_many("main", [{}] * 4)
    assert memory.tolist() == [16]


def test_generator_may_bind_a_placeholder_to_a_variables_memory():
    session, memory = counting(), np.ones(1, np.float32)
    session.bind("total", memory)
    session.bind("x", np.ones((), np.float32))

    def batches():
        yield from [{}] * 4
        session.bind("x", memory.reshape(()))
        yield from [{}] * 4

    session.run_many("main", batches(), ahead=4)
    assert memory.tolist() == [5 * 2**4]


def test_generator_is_asked_when_the_runs_before_have_happened():
    session, memory, seen = counting(), np.zeros((), np.float32), []

    def batches():
        for number in range(4):
            memory[...] = number  # the same array, filled anew
            seen.append(session.get("total").item())
            yield {"x": memory}

    session.run_many("main", batches())
    assert seen == [0, 0, 1, 3]
    assert session.get("total") == 6


def test_generator_read_ahead_is_one_call_for_several_batches(monkeypatch):
    session = counting()
    asked, given = offered(session, monkeypatch), []

    def batches():
        for batch in scalars(range(10)):
            given.append(session.get("a").item())
            yield batch

    session.run_many("main", batches(), ahead=4)
    assert given == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    assert asked[0] == 4
    assert session.get("total") == 45


@pytest.mark.parametrize("ahead", [1, 4])
def test_error_of_a_generator_comes_after_the_runs_it_gave(ahead):
    session = counting()

    def batches():
        yield from scalars(range(6))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        session.run_many("main", batches(), ahead=ahead)
    assert session.get("a") == 6


@pytest.mark.parametrize("ahead", [0, True, 2.0])
def test_ahead_is_a_positive_number(ahead):
    with pytest.raises(ArgumentError, match=r"ahead=.*; expected a number of batches, at least 1"):
        counting().run_many("main", [], ahead=ahead)


def test_feed_that_does_not_fit_is_refused_when_the_runs_before_have_happened():
    session = counting()
    batches = [*scalars(range(5)), {"x": "5"}, *scalars(range(5))]
    with pytest.raises(FeedError, match="feed 'x': str is not a plain numpy array") as caught:
        session.run_many("main", batches)
    assert caught.value.__notes__ == ["in run 5 (from 0) of run_many; the runs before it have happened"]
    assert session.get("a") == 5


@pytest.mark.parametrize("kind", [list, iter])
def test_failing_run_of_a_list_is_named(kind):
    session = checked()
    batches = [{"index": np.array([0, number])} for number in range(6)]
    with pytest.raises(OutOfRangeError, match="index 3 is outside") as caught:
        session.run_many("main", kind(batches), ahead=4)
    assert caught.value.__notes__ == ["in run 3 (from 0) of run_many; the runs before it have happened"]
    assert session.get("count") == 3


def test_number_of_runs_is_a_lower_bound_where_the_handler_of_a_signal_raises():
    session, main = counting(size=100_000), threading.main_thread().ident

    def stop(number, frame):
        raise TimeoutError("enough")

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(TimeoutError) as caught:
            session.run_many("main", {"x": np.ones(10**6, np.float32)})
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    words = caught.value.__notes__[0].split()
    assert " ".join(words[:4]) == "in run_many; at least"
    assert int(words[4]) <= session.get("a")[0] < 10**6


def after_interrupt(session, batches):
    """The values of all variables after Ctrl-C in the middle of runs."""
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.run_many("main", batches)
    timer.join()
    return np.concatenate([session.get(name) for name in ("a", "b", "total")])


@pytest.mark.parametrize("kind", ["stacked", "list", "generator"])
def test_interrupt_leaves_whole_steps_and_comes_before_the_last(kind):
    session, one, runs = counting(size=100_000), np.ones((), np.float32), 10**6
    batches = {
        "stacked": {"x": np.ones(runs, np.float32)},
        "list": [{"x": one}] * runs,
        "generator": ({"x": one} for _ in range(runs)),
    }[kind]
    found = after_interrupt(session, batches)
    assert 0 < found[0] < runs  # all of them would take a minute
    np.testing.assert_array_equal(found, found[0])
    session.run("main", x=1.0)
    assert session.get("a")[0] == found[0] + 1
