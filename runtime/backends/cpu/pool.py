"""Worker threads: started once, they wait in native code for chunks of work, and never come back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lazyflow.runtime.backends.backend import aligned
from lazyflow.runtime.backends.cpu.driver import NO_CHUNK, PoolWord
from lazyflow.runtime.backends.cpu.table import address
from lazyflow.runtime.errors import ArgumentError, message

MOST = 256
_SPINS = 3000  # some 30 microseconds


class Pool:
    """The workers of this process.

    Args:
        work: The native function that a worker runs, with the address of the pool's words and its number.
    """

    def __init__(self, work: Callable[[int, int], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._block = aligned(8 * PoolWord.SIZE).view(np.int64)
        self.words = address(self._block)
        self._started = 0
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """As at first: the threads of a parent process are not those of its child."""
        self._lock = threading.Lock()
        self._block[:] = 0
        self._block[PoolWord.NEXT] = NO_CHUNK
        self._block[PoolWord.SPINS] = _SPINS
        self._started = 0

    def use(self, threads: int) -> None:
        """Let as many threads take part, the caller's one among them; missing ones are started."""
        workers = threads - 1
        if self._block[PoolWord.ACTIVE] == workers and self._started >= workers:
            return
        with self._lock:
            for number in range(self._started, workers):
                name = f"lazyflow-{number}"
                thread = threading.Thread(
                    target=self._work, args=(self.words, number), name=name, daemon=True
                )
                thread.start()
                self._started = number + 1
            self._block[PoolWord.ACTIVE] = workers


_chosen: list[int] = []


def set_num_threads(threads: int) -> None:
    """Let runs on the cpu backend use up to as many threads; results do not depend on it.

    Args:
        threads: At least 1. Without a call it is LAZYFLOW_NUM_THREADS, or else the processors that this
            process may use.

    Raises:
        ArgumentError: if it is no number from 1 to 256.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST:
        raise ArgumentError(message(f"threads: {threads!r}", expected=f"a number from 1 to {MOST}"))
    _chosen[:] = [threads]


def get_num_threads() -> int:
    """How many threads runs on the cpu backend may use."""
    if not _chosen:
        _chosen.append(_default())
    return _chosen[0]


def _default() -> int:
    text = os.environ.get("LAZYFLOW_NUM_THREADS", "")
    if text:
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST:
            raise ArgumentError(
                message(f"LAZYFLOW_NUM_THREADS={text!r}", expected=f"a number from 1 to {MOST}")
            )
        return int(text)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, _granted(), MOST))


def _granted() -> int:
    """The processors that the control group of this process may keep busy."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):  # no such limit is told here
        return MOST
    return MOST if quota == "max" else max(1, round(int(quota) / int(period)))
