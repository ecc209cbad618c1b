"""The native code that runs a table of tasks, and shares them among threads: the same for every program.

A job, a pool and a task are rows of 64-bit words in memory; the enums below say what each word holds.
"""

from __future__ import annotations

import platform
import sys
from enum import IntEnum, auto
from pathlib import Path
from string import Template

from lazyflow.runtime.backends.cpu.code.natives import natives_text


class _Word(IntEnum):
    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last: list[int]) -> int:
        return count


class JobWord(_Word):
    """What a job is: tasks to run for a number of steps."""

    TASKS = auto()
    COUNT = auto()  # of tasks
    POOL = auto()
    PATCHES = auto()  # three words each: a place in the table of addresses, a feed, bytes from its start
    PATCH_COUNT = auto()
    FEEDS = auto()  # a row per step: the address of each feed
    FEED_STEP = auto()  # words from a row to the next; 0 where all steps are fed the same
    COPIES = auto()  # three words each: what to keep of every step, where the first step's is put, bytes
    COPY_COUNT = auto()
    STEPS = auto()
    NANOSECONDS = auto()  # after which no further step begins
    DONE = auto()  # steps that have ended
    ADDRESSES = auto()
    BLAS = auto()
    SIZE = auto()


class TaskWord(_Word):
    """A task whose addresses and sizes are known."""

    FUNCTION = auto()
    ARGS = auto()
    SIZES = auto()
    EXTENT = auto()
    CHUNK = auto()  # how much of the extent a thread takes at a time
    WHEN = auto()  # 0, or the address of the address of a bool
    STATUS = auto()  # what a failure gives
    SIZE = auto()


class PoolWord(IntEnum):
    """The state that threads share; words that different threads write lie 64 bytes apart."""

    GENERATION = 0  # counts the tasks that were shared
    NEXT = 8  # the generation, then the next chunk in the low half
    FINISHED = 16  # chunks
    TASK = 24
    CHUNKS = 25
    ACTIVE = 26  # workers that may take part
    SPINS = 27  # tries before a worker sleeps
    BUSY = 32
    SLEEPERS = 40
    FAILED = 48
    SIZE = 64


class BlasWord(_Word):
    """BLAS's own number of threads: 1 while a job runs, then what it was."""

    SET = auto()  # functions; 0 where there is nothing to set
    GET = auto()
    LOCK = auto()
    JOBS = auto()  # that run
    SAVED = auto()
    SIZE = auto()


NO_CHUNK = 0xFFFFFFFF  # in the low half of NEXT: there is nothing to claim
_FUTEX = {"x86_64": 202, "aarch64": 98}

# how a worker sleeps until the generation changes, and how it is woken; where neither is known, it naps
_SLEEP = "%slept = call i64 (i64, ...) @syscall(i64 {}, ptr %pool, i64 128, i64 %seen.wide, ptr null)"
_WAKE = "%woken = call i64 (i64, ...) @syscall(i64 {}, ptr %pool, i64 129, i64 2147483647)"
_NAP = "%slept = call i32 @usleep(i32 50)"
_PAUSE = "call void @llvm.x86.sse2.pause()"
# of each processor's register that says how a thread computes: what it usually holds, and how it is changed
_MODES = {
    "x86_64": (
        0x1F80,
        """  %place = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %before = load i32, ptr %place
  %word = trunc i64 %mode to i32
  store i32 %word, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  %wide = zext i32 %before to i64
  ret i64 %wide""",
        "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)",
    ),
    "aarch64": (
        0,
        """  %before = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret i64 %before""",
        "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)",
    ),
}
_NO_MODE = (0, "  ret i64 0", "")
_MONOTONIC = 6 if sys.platform == "darwin" else 1  # the clock


def driver_text() -> str:
    """The text of the driver's module."""
    words = {w.name: w.value for e in (JobWord, TaskWord, PoolWord, BlasWord) for w in e if w.name != "SIZE"}
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    futex = _FUTEX.get(machine) if sys.platform == "linux" else None
    usual, mode, declarations = _MODES.get(machine, _NO_MODE)
    words |= {"NO_CHUNK": NO_CHUNK, "TASK_BYTES": 8 * TaskWord.SIZE, "clock": _MONOTONIC, "USUAL_MODE": usual}
    code = {
        "mode": mode,
        "pause": _PAUSE if machine == "x86_64" else "",
        "sleep": _SLEEP.format(futex) if futex else _NAP,
        "wake": _WAKE.format(futex) if futex else "",
    }
    text = Template(Path(__file__).with_suffix(".ll").read_text()).substitute(words, **code)
    if machine == "x86_64":
        text += f"\ndeclare void {_PAUSE.split()[-1]}\n"
    return f"{text}\n{declarations}\n{natives_text()}"
