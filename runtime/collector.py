"""The garbage collector, paused while much is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(leaves: bool = False) -> Iterator[None]:
    """Pause the garbage collector inside the block.

    Ops and their values refer to each other and stay: where many are made at once, to look through all of
    them again and again frees next to nothing, and takes longer than to make them.

    Args:
        leaves: Whether the block leaves much behind that nothing refers to, as the passes leave old graphs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if leaves:
                gc.collect(0)
            if not gc.get_freeze_count():  # else the caller froze objects, which stay so
                gc.freeze()  # these two put all that is left among the oldest objects, which the collector
                gc.unfreeze()  # hardly ever looks through: else it would do so with each generation
            gc.enable()
