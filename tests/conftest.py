"""Settings of all tests: every run tries the same examples, or new ones with HYPOTHESIS_PROFILE=explore."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from lazyflow.runtime.backends.cpu.running.guard import guarded_mode
from repository import ROOT

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,  # compiling has no fixed time on a shared machine
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# compiled code of tests: kept from one run to the next, but not among the user's
os.environ.setdefault("LAZYFLOW_CACHE_DIR", str(ROOT / ".pytest_cache" / "compiled"))

# tests press Ctrl-C, which a job in a shell's background ignores
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Skip what counts the runs of one native call where guarded memory makes each run a call of its own."""
    if guarded_mode():
        for item in items:
            if item.get_closest_marker("together"):
                item.add_marker(
                    pytest.mark.skip(reason="in guarded memory each run is a native call of its own")
                )
