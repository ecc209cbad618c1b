"""Object code on disk: found again, compiled anew where it is damaged, bounded in size."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from documents import Program, call, literal, plan
from lazyflow.runtime.backends.cpu import cpu
from lazyflow.runtime.backends.cpu.running.cache import _ASKED, Cache
from lazyflow.runtime.backends.cpu.running.jit import Machine


@pytest.fixture
def cache(tmp_path):
    return Cache(Machine(), tmp_path / "cache")


def files(cache):
    return sorted(cache.folder.glob("*.object"))


def test_code_is_compiled_once(cache):
    assert [cache.code("a", lambda: b"code"), cache.code("a", lambda: b"other")] == [b"code"] * 2
    again = Cache(Machine(), cache.folder)
    assert again.code("a", lambda: b"other") == b"code"
    assert again.compiled == 0


def test_another_key_is_other_code(cache):
    cache.code("a", lambda: b"code")
    assert cache.code("b", lambda: b"other") == b"other"


@pytest.mark.parametrize("what", ["cpu", "features", "triple"])
def test_another_host_has_code_of_its_own(cache, what):
    cache.code("a", lambda: b"code")
    machine = Machine()
    setattr(machine, what, "another")
    assert Cache(machine, cache.folder).code("a", lambda: b"other") == b"other"


@pytest.mark.parametrize("where", ["llvmlite.__version__", "llvmlite.binding.llvm_version_info"])
def test_another_compiler_makes_code_of_its_own(cache, where, monkeypatch):
    cache.code("a", lambda: b"code")
    monkeypatch.setattr(where, "9" if "__" in where else (9, 9, 9))
    assert Cache(Machine(), cache.folder).code("a", lambda: b"other") == b"other"


def test_version_of_the_code_generator_covers_the_modules_that_it_imports():
    imported = set()
    for path in Path(cpu.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lazyflow.runtime"):
                names = [alias.name for alias in node.names] if node.module == "lazyflow.runtime" else []
                imported |= {*names, *(node.module or "").split(".")[2:3]}
    assert imported - {"backends", "errors", "threads"} == set(_ASKED)  # these decide nothing of the code


def test_folder_whose_files_cannot_be_locked_is_told(cache, monkeypatch, caplog):
    def acquire(lock):
        raise NotImplementedError("this file system has no locks")

    monkeypatch.setattr("filelock.FileLock.__enter__", acquire)
    with caplog.at_level(logging.WARNING, "lazyflow"):
        assert cache.code("a", lambda: b"code") == b"code"
    assert "not kept" in caplog.text
    assert "has no locks" in caplog.text


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: b"", lambda d: d[:40] + b"x" + d[41:]])
def test_damaged_file_is_compiled_anew(cache, damage):
    cache.code("a", lambda: b"code of some length")
    (path,) = files(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.code("a", lambda: b"new") == b"new"
    assert cache.code("a", lambda: b"newer") == b"new"


def test_files_used_longest_ago_are_removed(cache, monkeypatch):
    monkeypatch.setattr("lazyflow.runtime.backends.cpu.running.cache._LOOK", 1)
    cache.most_bytes = 3 * 132  # a file holds a checksum of 32 bytes and the code
    for day, key in enumerate("abc"):
        cache.code(key, lambda: bytes(100))
        newest = max(files(cache), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (day, day))
    cache.code("a", lambda: b"never made")  # used just now
    cache.code("d", lambda: bytes(100))
    assert [cache.code(key, lambda: b"anew") for key in "acdb"] == [bytes(100)] * 3 + [b"anew"]


def test_folder_is_looked_through_now_and_then(cache, monkeypatch):
    looked = []
    monkeypatch.setattr(cache, "_shrink", looked.append)
    for number in range(400):
        cache.code(str(number), lambda: b"code")
    assert 0 < len(looked) < 100


def test_what_a_process_left_half_written_is_removed(cache, monkeypatch):
    monkeypatch.setattr("lazyflow.runtime.backends.cpu.running.cache._LOOK", 1)
    cache.folder.mkdir()
    (cache.folder / "left.partial").write_bytes(b"half")
    cache.code("a", lambda: b"code")
    assert {path.suffix for path in cache.folder.iterdir()} == {".object", ""}  # and the lock


def test_folder_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = Cache(Machine(), tmp_path / "file" / "inside")
    with caplog.at_level(logging.WARNING, "lazyflow"):
        assert cache.code("a", lambda: b"code") == b"code"
        assert cache.code("b", lambda: b"code") == b"code"
    assert len(caplog.records) == 1
    assert "not kept" in caplog.text
    assert "LAZYFLOW_CACHE_DIR names another folder" in caplog.text


SCRIPT = """
import numpy as np
import lazyflow as lf
from lazyflow.runtime.backends.cpu import cpu
with lf.Graph() as graph:
    x = lf.placeholder("x", ("batch", 3))
    graph.program("main", fetches={"y": lf.exp(x) * 3.0})
y = lf.compile(graph).session("cpu").run("main", x=np.ones((2, 3), np.float32))["y"]
print(cpu._hosts[0].cache.compiled, float(y[0, 0]))
"""


def test_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {"LAZYFLOW_CACHE_DIR": str(tmp_path)}

    def run():
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        return found.stdout.split()

    first, second = run(), run()
    assert first[0] == "2"  # the driver, and the plan's kernels
    assert second == ["0", first[1]]


def test_long_compilation_is_announced(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "_SILENT_SECONDS", 0.0)
    p = Program(dimensions=())
    x, y = p.feed("x", (3,)), p.arena((3,))
    p.kernel([x], [literal(float(np.random.default_rng().random())), call("add", 0, 1)], [(2, y)])
    p.fetch("y", y)
    with caplog.at_level(logging.WARNING, "lazyflow"):
        plan(p).session("cpu")
    assert "compiling 1 kernels for this host" in caplog.text
