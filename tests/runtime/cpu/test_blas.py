"""BLAS beside the user's own use of it: runs leave its number of threads as they find it."""

import ctypes
import os
import signal
import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from documents import Program, plan
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu import cpu
from lazyflow.runtime.backends.cpu.running.blas import Blas
from lazyflow.runtime.backends.cpu.running.driver import BlasWord
from lazyflow.runtime.errors import OutOfRangeError

THREADS = 3
X = np.arange(64 * 48, dtype=np.float64).reshape(64, 48)


def squares():
    """Products of a matrix with itself, by BLAS; then an index is checked."""
    p = Program(dimensions=())
    x, index, y = p.feed("x", (64, 48), "float64"), p.feed("index", (), "int64"), p.arena((64, 64), "float64")
    p.add(schema.MatMul(batch=(), m=64, n=64, k=48, a=x.access(), b=x.access((1, 48)), out=y.access()))
    p.add(schema.Check(space=(), size=10, index=index.access()))
    p.fetch("y", y)
    return plan(p)


@pytest.fixture
def blas():
    """The library that runs use, told to take three threads."""
    squares().session("cpu").run("main", x=X, index=0)  # so that it is loaded
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    assert libraries
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(THREADS)
    yield lambda: [library.num_threads for library in libraries]
    for library, threads in zip(libraries, before, strict=True):
        library.set_num_threads(threads)


def test_number_of_threads_is_as_it_was_after_runs(blas):
    before, session = blas(), squares().session("cpu")
    assert THREADS in before
    np.testing.assert_allclose(session.run("main", x=X, index=0)["y"], X @ X.T)
    assert blas() == before
    session.run_many("main", [{"x": X, "index": 0}] * 20)
    assert blas() == before


def test_number_of_threads_is_as_it_was_after_an_error(blas):
    before, session = blas(), squares().session("cpu")
    with pytest.raises(OutOfRangeError):
        session.run("main", x=X, index=10)
    assert blas() == before
    with pytest.raises(OutOfRangeError):
        session.run_many("main", [{"x": X, "index": number} for number in range(20)])
    assert blas() == before


def test_number_of_threads_is_as_it_was_after_sessions_in_two_threads(blas):
    before, made, failed, start = blas(), squares(), [], threading.Barrier(2)

    def run(last):
        session = made.session("cpu")
        batches = [{"x": X, "index": 0}] * 1000 + [{"x": X, "index": last}]
        for _ in range(5):
            start.wait(60)  # so that each begins and ends while the other runs
            try:
                session.run_many("main", batches)
            except OutOfRangeError:
                failed.append(last)

    threads = [threading.Thread(target=run, args=(last,)) for last in (9, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [10] * 5
    assert blas() == before


def test_blas_that_two_threads_load_together_is_one(monkeypatch):
    both, host, found = threading.Barrier(2), cpu.Host(), []

    class Slow(Blas):
        def __init__(self):
            both.wait(60)
            super().__init__()

    monkeypatch.setattr(cpu, "Blas", Slow)
    threads = [threading.Thread(target=lambda: found.append(host.natives(True))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]  # one count of jobs: else the last to end would not be the last


@pytest.mark.together
def test_blas_has_one_thread_while_a_job_runs():
    session, calls, threads = squares().session("cpu"), [], [THREADS]

    def set_threads(number):
        calls.append(number)
        threads[0] = number

    setter = ctypes.CFUNCTYPE(None, ctypes.c_int)(set_threads)
    getter = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: threads[0])
    words = session.backend.host._blas[0].words
    own = words.copy()
    try:
        for place, function in ((BlasWord.SET, setter), (BlasWord.GET, getter)):
            words[place] = ctypes.cast(function, ctypes.c_void_p).value
        session.run("main", x=X, index=0)
        session.run_many("main", {"x": np.stack([X, X]), "index": np.zeros(2, np.int64)})
        threads[0] = 1
        session.run("main", x=X, index=0)
    finally:
        words[:] = own
    assert calls == [1, THREADS, 1, THREADS]  # and none where it has one already


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_forked_during_another_threads_job_finds_blas_as_it_was(blas):
    before, session = blas(), squares().session("cpu")
    words, inside = session.backend.host._blas[0].words, [BlasWord.LOCK, BlasWord.JOBS, BlasWord.SAVED]
    usual = words[inside].copy()
    words[inside] = 1, 1, THREADS  # as in the midst of that job
    set_threads = ctypes.CFUNCTYPE(None, ctypes.c_int)(int(words[BlasWord.SET]))
    set_threads(1)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it, should it wait for ever
        same = blas() == before and np.allclose(session.run("main", x=X, index=0)["y"], X @ X.T)
        os._exit(0 if same and blas() == before else 1)
    words[inside] = usual
    set_threads(THREADS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
