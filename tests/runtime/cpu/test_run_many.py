"""Many runs in one native call: whole steps, errors that say which, interrupts that wait for a step's end."""

import signal
import threading
import time

import numpy as np
import pytest

from documents import Program, call, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import OutOfRangeError


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


def test_stacked_feed_in_the_memory_of_a_variable_is_read_before_it_changes():
    session = counting(size=4)
    memory = np.zeros(4, np.float32)
    session.bind("total", memory)
    session.run_many("main", {"x": memory})
    assert memory.tolist() == [0] * 4
    memory[:] = 1
    session.run_many("main", {"x": memory})
    assert memory.tolist() == [5] * 4


def test_error_names_the_run_and_keeps_those_before_it():
    p = Program(dimensions=())
    index, count = p.feed("index", (2,), "int64"), p.variable("count", ())
    p.add(schema.Check(space=(2,), size=3, index=index.access()))
    p.kernel([count], [literal(1.0), call("add", 0, 1)], [(2, count)])
    session = plan(p, variables=[variable("count")]).session("cpu")
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


def test_interrupt_leaves_whole_steps_and_comes_soon():
    session = counting(size=100_000)
    main, pressed = threading.main_thread().ident, []

    def press():
        time.sleep(0.3)
        pressed.append(time.perf_counter())
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.run_many("main", {"x": np.ones(10**7, np.float32)})
    waited = time.perf_counter() - pressed[0]
    thread.join()
    assert waited < 1.0  # some 50 ms where the machine is quiet
    a, b, total = (session.get(name) for name in ("a", "b", "total"))
    assert a[0] > 0
    for other in (a, b, total):
        np.testing.assert_array_equal(other, a[0])
    session.run("main", x=1.0)
    assert session.get("a")[0] == a[0] + 1
