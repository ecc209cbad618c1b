"""Memory: nothing outside of buffers is touched, nothing grows, and the arena is as large as planned."""

import gc
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import lazyflow as lf
from documents import Program, call, plan
from lazyflow import nn, optim
from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.backend import HUGE_PAGE, aligned
from lazyflow.runtime.backends.cpu.running.guard import guarded

HELPERS = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))

# sizes around the number of lanes, in every kind of loop; a stray write or read ends the process
SAMPLE = """
import numpy as np
import lazyflow as lf
from lazyflow import nn, optim

for width in (1, 7, 16, 17, 33):
    with lf.Graph() as graph:
        x, labels = lf.placeholder("x", ("batch", width)), lf.placeholder("labels", ("batch",), lf.int64)
        model = nn.Sequential(nn.Linear(width, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3))
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer = optim.AdamW(model.parameters(), lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    session = lf.compile(graph).session("cpu")
    rng = np.random.default_rng(0)
    for batch in (1, 3, 16, 19):
        given = {"x": rng.normal(size=(batch, width)).astype(np.float32), "labels": rng.integers(0, 3, batch)}
        assert np.isfinite(session.run("train", given)["loss"])
print("whole")
"""

# a plan never reads past its buffers; this one is made to, past the verifier
STRAY = """
import numpy as np
from documents import Program, call, document
from lazyflow.runtime.backends.cpu.cpu import CpuBackend

p = Program(dimensions=())
x, y = p.feed("x", (5,)), p.arena((5,))
p.kernel([x.access((1,), offset=OFFSET)], [call("neg", 0)], [(1, y)], space=(5,))
p.fetch("y", y)
CpuBackend(document(p), {}).run("main", {"x": np.ones(5, np.float32)}, {})
print("whole")
"""


def in_guarded_memory(script):
    environment = os.environ | {"LAZYFLOW_GUARD_PAGES": "1", "PYTHONPATH": HELPERS}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def test_training_touches_nothing_outside_of_its_buffers():
    found = in_guarded_memory(SAMPLE)
    assert (found.returncode, found.stdout) == (0, "whole\n"), found.stderr


def test_no_kind_of_instruction_touches_anything_outside_of_its_buffers():
    found = in_guarded_memory(Path(__file__).with_name("variety.py").read_text())
    assert (found.returncode, found.stdout) == (0, "whole\n"), found.stderr


@pytest.mark.skipif(os.name != "posix", reason="pages are guarded by mprotect")
@pytest.mark.parametrize("offset", [0, 1, -2000])
def test_guard_pages_catch_one_element_too_far(offset):
    found = in_guarded_memory(STRAY.replace("OFFSET", str(offset)))
    assert found.returncode == (0 if offset == 0 else -signal.SIGSEGV), found.stderr


def test_guarded_memory_ends_with_its_last_element():
    array = guarded(7, dtypes.float32)
    array[:] = 1.0
    assert array.sum() == 7.0
    assert (array.ctypes.data + array.nbytes) % os.sysconf("SC_PAGE_SIZE") == 0


def test_arena_is_as_large_as_the_plan_says():
    p = Program()
    x = p.feed("x", ("batch", 100))
    hidden, y = p.arena(("batch", 100)), p.arena(("batch", 100))
    p.kernel([x], [call("neg", 0)], [(1, hidden)])
    p.kernel([hidden], [call("exp", 0)], [(1, y)])
    p.fetch("y", y)
    made = plan(p)
    session = made.session("cpu")
    session.run("main", x=np.ones((64, 100), np.float32))
    assert session.backend.arena.nbytes == 2 * 64 * 100 * 4
    assert session.backend.arena.ctypes.data % 64 == 0


def flags_of(array):
    """The flags of the mapping in which an array's memory lies."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        field, *values = line.split()
        if "-" in field and not field.endswith(":"):
            start, end = (int(bound, 16) for bound in field.split("-"))
            inside = start <= array.ctypes.data < end
        elif inside and field == "VmFlags:":
            return values
    return []


@pytest.mark.parametrize("nbytes", [1, 64, (4 << 20) - 64, 4 << 20, (9 << 20) + 192])
def test_block_is_zeroed_and_aligned(nbytes):
    block = aligned(nbytes)
    assert block.nbytes == nbytes
    assert block.ctypes.data % (HUGE_PAGE if nbytes >= 4 << 20 else 64) == 0
    assert not block.any()
    block[:] = 1
    assert block.all()


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages here")
def test_large_blocks_ask_for_huge_pages():
    assert "hg" in flags_of(aligned(8 << 20))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_child_of_a_fork_has_state_of_its_own():
    block = aligned(8 << 20)
    child = os.fork()
    if child == 0:
        block[:] = 1
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not block.any()


def test_large_state_and_arena_are_as_large_as_foretold():
    with lf.Graph() as graph:
        x, w = lf.placeholder("x", ("batch", 1000)), lf.Parameter(0.5, (1000, 1250), name="w")
        gradient = lf.placeholder("gradient", (1000, 1250))
        with graph.program("train", fetches={"y": x @ w}):
            optim.Adam([w]).step({w: gradient})
    made = lf.compile(graph)
    session = made.session("cpu")
    session.run("train", x=np.ones((900, 1000), np.float32), gradient=np.ones((1000, 1250), np.float32))
    assert made.summary(batch=900).programs["train"].peak_bytes == session.backend.arena.nbytes > 4 << 20
    arrays = session.backend.variables.values()
    assert session.backend.arena.ctypes.data % HUGE_PAGE == 0
    first = min(array.ctypes.data for array in arrays)
    assert first % HUGE_PAGE == 0
    end = max(array.ctypes.data + -(-array.nbytes // 64) * 64 for array in arrays)
    assert end - first == sum(-(-array.nbytes // 64) * 64 for array in arrays)


def perceptron(make):
    with lf.Graph() as graph:
        x, labels = lf.placeholder("x", ("batch", 200)), lf.placeholder("labels", ("batch",), lf.int64)
        model = nn.Sequential(nn.Linear(200, 300), nn.LayerNorm(300), nn.ReLU(), nn.Linear(300, 10))
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer = make(model.parameters())
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    return graph, lambda batch: {"x": np.ones((batch, 200), np.float32), "labels": np.zeros(batch, np.int64)}


def attentive(dtype):
    """Embedding, one block of attention with a residual, and the next word."""
    with lf.Graph() as graph:
        words = lf.placeholder("words", ("batch", 16), lf.int64)
        labels = lf.placeholder("labels", ("batch", 16), lf.int64)
        model = nn.Sequential(
            nn.Embedding(500, 64, dtype=dtype), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 500)
        )
        table, query, key, out = model
        x = lf.cast(table(words), lf.float32)
        x = x + nn.functional.scaled_dot_product_attention(query(x), key(x), x, is_causal=True)
        loss = nn.functional.cross_entropy(lf.reshape(out(x), (-1, 500)), lf.reshape(labels, (-1,)))
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()
    return graph, lambda batch: dict.fromkeys(("words", "labels"), np.ones((batch, 16), np.int64))


def clipped(parameters):
    return optim.AdamW([{"params": parameters, "clip_grad_max_norm": 1.0, "clip_grad_norm_type": 2.0}])


JOBS = {
    "clipped AdamW": lambda: perceptron(clipped),
    "LAMB": lambda: perceptron(optim.LAMB),
    "Muon": lambda: perceptron(optim.Muon),
    "attention": lambda: attentive(lf.float32),
    "table of a half type": lambda: attentive(lf.bfloat16),
}
# at least so many bytes: the latter counts how many rows go into each of a table's
SCRATCH = {"clipped AdamW": 1, "table of a half type": 502 * 8}


@pytest.mark.parametrize("job", JOBS)
def test_session_takes_the_memory_that_the_summary_says(job):
    graph, feeds = JOBS[job]()
    made = lf.compile(graph)
    session, largest = made.session("cpu"), 0
    for batch in (4, 1, 16, 7):
        session.run("train", feeds(batch))
        programs = made.summary(batch=batch).programs
        largest = max([largest, *(p.peak_bytes + p.scratch_bytes for p in programs.values())])
        assert programs["train"].scratch_bytes >= SCRATCH.get(job, 0)
        assert session.backend.arena.nbytes == largest
        assert session.backend.arena.ctypes.data % 64 == 0


@pytest.mark.parametrize("job", JOBS)
def test_run_takes_no_memory_besides_the_arena_and_its_fetches(job):
    graph, feeds = JOBS[job]()
    session, given = lf.compile(graph).session("cpu"), feeds(16)
    session.run("train", given)
    tracemalloc.start()
    try:
        session.run("train", given)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found = session.run("train", given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["loss"].nbytes <= peak - before < 4096  # the smallest buffer of a batch of 16 is larger


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_hundred_thousand_steps_do_not_grow():
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", ("batch", 8)), lf.placeholder("y", ("batch", 1))
        model = nn.Linear(8, 1)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    session = lf.compile(graph).session("cpu")
    feeds = {"x": np.ones((16, 8), np.float32), "y": np.zeros((16, 1), np.float32)}

    def steps(count):
        for _ in range(count):
            session.run("train", feeds)
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = steps(20_000)
    assert steps(80_000) - before < 2 << 20  # the smallest object, left behind in every step, is more
