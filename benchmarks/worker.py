"""A process for one peer: makes its calls, says their first losses, then times stretches of steps as asked.

It reads and writes a line of JSON at a time, and runs on Python 3.9 too: not every peer is for newer ones.
"""

import importlib
import json
import os
import sys
import time

WARM = 0.3  # of a stretch, untimed, before it
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def stretch(call, seconds, once, clock=time.perf_counter):
    """The seconds per step over about as many seconds."""
    repeats = max(1, int(seconds / once))
    for count in (max(1, int(WARM * repeats)), repeats):
        start = clock()
        for _ in range(count):
            result = call.step()
        call.loss(result)  # waits for the last one where steps run on behind
    return (clock() - start) / repeats / call.steps


def main():
    peer, name, threads, clock = sys.argv[1], sys.argv[2], int(sys.argv[3]), CLOCKS[sys.argv[4]]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints is no answer
    from works import WORKS

    try:
        calls = importlib.import_module("peers." + peer).calls(WORKS[name], threads)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    losses = {key: [call.loss(call.step()) for _ in range(3)] for key, call in calls.items()}
    once = {key: stretch(call, 0.0, 1.0) * call.steps for key, call in calls.items()}
    print(json.dumps({"losses": losses}), file=answers, flush=True)
    for line in sys.stdin:
        key, seconds = json.loads(line)
        print(json.dumps(stretch(calls[key], seconds, once[key], clock)), file=answers, flush=True)


if __name__ == "__main__":
    main()
