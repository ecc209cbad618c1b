"""Worker threads: started once, they wait in native code for chunks of work, and never come back."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import numpy as np

from lazyflow.runtime.backends.backend import address, aligned
from lazyflow.runtime.backends.cpu.running.driver import NO_CHUNK, PoolWord

_logger = logging.getLogger("lazyflow")
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
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """As at first: the threads of a parent process are not those of its child."""
        self._lock = threading.Lock()
        self._block[:] = 0
        self._block[PoolWord.NEXT] = NO_CHUNK
        self._block[PoolWord.SPINS] = _SPINS
        self._started = self._active = 0

    def use(self, threads: int) -> None:
        """Let as many threads take part, the caller's one among them; missing ones are started."""
        workers = threads - 1
        if self._active == workers:
            return
        with self._lock:
            for number in range(self._started, workers):
                name = f"lazyflow-{number}"
                thread = threading.Thread(
                    target=self._work, args=(self.words, number), name=name, daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:  # limits of the system, or the interpreter is about to end
                    _logger.warning(f"{threads} threads are set, but runs take {number + 1}: {error}")
                    break
                self._started = number + 1
            self._block[PoolWord.ACTIVE] = min(workers, self._started)
            self._active = workers
