"""Threads: the same bits for any number of them, one pool for all sessions, and what a fork leaves."""

import ctypes
import ctypes.util
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.runtime import threads as counts
from lazyflow.runtime.backends.backend import address
from lazyflow.runtime.backends.cpu.running.driver import NO_CHUNK, JobWord, PoolWord, TaskWord
from lazyflow.runtime.backends.cpu.running.pool import Pool

COUNTS = (1, 2, 3, 4, 8)


@pytest.fixture(autouse=True)
def _restored():
    before = lf.get_num_threads()
    yield
    lf.set_num_threads(before)


def training(width=300):
    """A step whose kernels and products are large enough to be shared."""
    with lf.Graph("wide") as graph:
        x, labels = lf.placeholder("x", ("batch", 200)), lf.placeholder("labels", ("batch",), lf.int64)
        model = nn.Sequential(nn.Linear(200, width), nn.ReLU(), nn.Linear(width, 10))
        loss = nn.functional.cross_entropy(model(x), labels)
        group = {"params": model.parameters(), "clip_grad_max_norm": 1.0, "clip_grad_norm_type": 2.0}
        optimizer = optim.AdamW([group], lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    return lf.compile(graph)


def feeds(batch=512):
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(batch, 200)).astype(np.float32), "labels": rng.integers(0, 10, batch)}


def trained(plan, threads, steps=5):
    lf.set_num_threads(threads)
    session = plan.session("cpu")
    losses = [session.run("train", feeds())["loss"].tobytes() for _ in range(steps)]
    return losses, {name: value.tobytes() for name, value in session.state_dict().items()}


def test_results_do_not_depend_on_the_number_of_threads():
    plan = training()
    expected = trained(plan, 1)
    for threads in COUNTS[1:]:
        assert trained(plan, threads) == expected, f"{threads} threads"


def test_sessions_in_two_threads_share_the_pool():
    plan, outcomes = training(), {}
    expected = trained(plan, 1, steps=20)
    lf.set_num_threads(4)

    def run(number):
        session = plan.session("cpu")
        losses = [session.run("train", feeds())["loss"].tobytes() for _ in range(20)]
        outcomes[number] = losses, {name: value.tobytes() for name, value in session.state_dict().items()}

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {0: expected, 1: expected}


def run_chunks(host, chunk, tasks=3, chunks=2):
    """Run tasks whose function is one of Python's; the status of the job."""
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(chunk)
    rows, job = np.zeros((tasks, TaskWord.SIZE), np.int64), np.zeros(JobWord.SIZE, np.int64)
    rows[:, TaskWord.FUNCTION] = ctypes.cast(function, ctypes.c_void_p).value
    rows[:, TaskWord.EXTENT], rows[:, TaskWord.CHUNK] = chunks, 1
    rows[:, TaskWord.STATUS] = np.arange(tasks) + 1
    job[JobWord.TASKS], job[JobWord.COUNT] = address(rows), tasks
    job[JobWord.POOL], job[JobWord.STEPS] = host.pool.words, 1
    host.pool.use(2)
    return host.run(address(job))


def test_worker_takes_chunks_of_each_task_beside_the_caller():
    host, both, seen = training().session("cpu").backend.host, threading.Barrier(2), []

    def chunk(args, sizes, begin, end):
        both.wait(60)  # until another thread is inside of the other chunk
        seen.append((begin, end, threading.get_ident()))
        return 0

    assert run_chunks(host, chunk) == 0
    pairs = [sorted(seen[i : i + 2]) for i in (0, 2, 4)]
    assert [[row[:2] for row in pair] for pair in pairs] == [[(0, 1), (1, 2)]] * 3
    assert {len({row[2] for row in pair}) for pair in pairs} == {2}
    following = host.pool._block[PoolWord.NEXT]
    assert following & NO_CHUNK == NO_CHUNK  # else a late worker might take one of the next task's


def test_task_that_fails_in_any_thread_is_the_last():
    host, seen = training().session("cpu").backend.host, []

    def chunk(args, sizes, begin, end):
        seen.append(begin)
        return int(len(seen) > 8 and begin == 3)  # in the second task

    assert run_chunks(host, chunk, chunks=8) == 2
    assert sorted(seen) == sorted([*range(8)] * 2)
    assert run_chunks(host, lambda *given: 0) == 0


def test_no_more_threads_take_part_than_are_set():
    host, seen = training().session("cpu").backend.host, set()
    host.pool.use(8)  # so that there are more

    def chunk(args, sizes, begin, end):
        seen.add(threading.get_ident())
        time.sleep(0.001)  # in which the others wake up
        return 0

    assert run_chunks(host, chunk, chunks=40) == 0
    assert len(seen) <= 2


def test_runs_take_the_threads_that_the_system_starts(monkeypatch, caplog):
    pool, started = Pool(lambda words, number: None), []

    def start(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):
        pool.use(4)
    assert pool._block[PoolWord.ACTIVE] == len(started) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "4 threads are set, but runs take 2: can't start new thread"
    ]


UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # FE_UPWARD of the C library


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in UPWARD, reason="the number of the mode is not known"
)
def test_bits_do_not_depend_on_how_the_caller_rounds():
    plan, library = training(), ctypes.CDLL(ctypes.util.find_library("m"))
    expected, upward = trained(plan, 1), UPWARD[platform.machine()]
    given = feeds()  # made with the usual mode
    usual = library.fegetround()
    for threads in (1, 4):
        lf.set_num_threads(threads)
        session, losses = plan.session("cpu"), []
        assert library.fesetround(upward) == 0
        try:
            losses = [session.run("train", given)["loss"] for _ in range(5)]
            mode = library.fegetround()
        finally:
            library.fesetround(usual)
        assert mode == upward
        found = {name: value.tobytes() for name, value in session.state_dict().items()}
        assert ([loss.tobytes() for loss in losses], found) == expected, f"{threads} threads"


def _report(plan, queue):
    queue.put(trained(plan, 3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_child_of_a_fork_starts_workers_of_its_own():
    plan = training()
    expected = trained(plan, 3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_report, args=(plan, queue))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()


STARTING = """
import threading
import numpy as np
import lazyflow as lf
with lf.Graph() as graph:
    x = lf.placeholder("x", ("batch", 1000))
    graph.program("main", fetches={"y": x * 2.0})
session = lf.compile(graph).session("cpu")
for rows in (1, 3000):
    feeds = {"x": np.ones((rows, 1000), np.float32)}
    session.run("main", feeds)
    session.run_many("main", [feeds] * 2)
    print(threading.active_count())
"""


def test_workers_start_with_the_first_large_task():
    command, environment = [sys.executable, "-c", STARTING], os.environ | {"LAZYFLOW_NUM_THREADS": "4"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "4"]


@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, True, "2"])
def test_number_of_threads_is_checked(threads):
    with pytest.raises(lf.ArgumentError, match=r"^set_num_threads: threads=.*\n.*a number from 1 to 256"):
        lf.set_num_threads(threads)


def told(**environment):
    code = "import lazyflow as lf; print(lf.get_num_threads())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_environment_gives_the_number_of_threads():
    assert told(LAZYFLOW_NUM_THREADS=" 5 ").stdout == "5\n"
    assert "LAZYFLOW_NUM_THREADS='many'" in told(LAZYFLOW_NUM_THREADS="many").stderr


def test_a_wrong_number_in_the_environment_is_told_by_the_session(monkeypatch):
    monkeypatch.setattr(counts, "_chosen", [])
    monkeypatch.setenv("LAZYFLOW_NUM_THREADS", "0")
    with lf.Graph() as graph:
        graph.program("main", fetches={"y": lf.placeholder("x", (3,)) * 2.0})
    with pytest.raises(lf.ArgumentError, match="LAZYFLOW_NUM_THREADS='0'"):
        lf.compile(graph).session("cpu")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_default_follows_the_affinity_mask(monkeypatch):
    monkeypatch.delenv("LAZYFLOW_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6})
    monkeypatch.setattr(counts, "_granted", lambda: 256)
    assert counts._default() == 3
    monkeypatch.setattr(counts, "_granted", lambda: 2)
    assert counts._default() == 2
