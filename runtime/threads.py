"""How many threads runs may use: what was set, or the environment says, or the host grants."""

from __future__ import annotations

import os
from pathlib import Path

from lazyflow.runtime.errors import ArgumentError, message

MOST = 256
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
        raise ArgumentError(
            message(f"set_num_threads: threads={threads!r}", expected=f"a number from 1 to {MOST}")
        )
    _chosen[:] = [threads]


def get_num_threads() -> int:
    """How many threads runs on the cpu backend may use."""
    if not _chosen:
        _chosen.append(_default())
    return _chosen[0]


def _default() -> int:
    text = os.environ.get("LAZYFLOW_NUM_THREADS", "").strip()
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
