"""Training steps: lazyflow, and whichever of its peers are installed, in turns.

    python benchmarks/training.py --rounds 15
    python benchmarks/training.py --python oneflow=/opt/python3.9/bin/python

Each peer has a process of its own, stopped but for its turn, so that no pool of threads spins beside another.
All begin with the same parameters; the first losses must agree. In each round every call makes steps for a
fixed time, after some that are not timed; the order moves on from round to round. A row gives the median time
of a step, and the medians of its ratios, round by round, to lazyflow's run and to PyTorch eager.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from works import WORKS

HERE = Path(__file__).parent
PEERS = ("lazyflow", "torch", "jax", "pytensor", "numpy", "oneflow")
OURS, EAGER = ("lazyflow", "run"), ("torch", "eager")


class Worker:
    """The process of a peer.

    Attributes:
        calls: Its ways to make steps.
        missing: What it lacks, where it cannot run.
    """

    def __init__(self, peer, name, arguments, python):
        command = [python, str(HERE / "worker.py"), peer, name, str(arguments.threads), arguments.clock]
        silent = None if arguments.verbose else subprocess.DEVNULL
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": silent}
        self.process = subprocess.Popen(command, text=True, **pipes)
        first = self._answer()
        self.missing = first.get("missing")
        self.losses = first.get("losses", {})
        self.calls = list(self.losses)
        self._send(signal.SIGSTOP)

    def time(self, call, seconds):
        """The seconds of a step, over a stretch of as many."""
        self._send(signal.SIGCONT)
        print(json.dumps([call, seconds]), file=self.process.stdin, flush=True)
        found = self._answer()
        self._send(signal.SIGSTOP)
        return found

    def close(self):
        self.process.kill()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": "it failed; --verbose shows how"}

    def _send(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)


def check(workers):
    """Refuse to compare works that are not the same: all losses of the first steps agree."""
    expected = workers["lazyflow"].losses["run"]
    for peer, worker in workers.items():
        for call, losses in worker.losses.items():
            if losses[0] is None or (peer, call) == ("lazyflow", "run_many"):
                continue  # products have no loss, and run_many goes on where run ended
            if any(abs(a - b) > 1e-3 * abs(a) for a, b in zip(expected, losses, strict=True)):
                raise SystemExit(f"{peer} {call} computes something else: {losses}, lazyflow {expected}")


def measure(workers, arguments):
    """For each peer and call the seconds of its steps, round by round."""
    turns = [(peer, call) for peer, worker in workers.items() for call in worker.calls]
    found = {turn: [] for turn in turns}
    for number in range(arguments.rounds):
        shift = number % len(turns)
        for peer, call in turns[shift:] + turns[:shift]:
            found[peer, call].append(workers[peer].time(call, arguments.seconds))
    return found


def show(name, workers, found):
    print(f"\n{name}\n\n| | us per step | / lazyflow run | / PyTorch eager |\n|---|---|---|---|")
    for turn, times in found.items():
        cells = [" ".join(turn), f"{statistics.median(times) * 1e6:.4g}"]
        for base in (found[OURS], found.get(EAGER)):
            ratios = [a / b for a, b in zip(times, base, strict=True)] if base else []
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
        print("|", " | ".join(cells), "|")
    for peer, worker in workers.items():
        if worker.missing:
            print(f"\n{peer}: {worker.missing}", end="")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description="Times training steps.")
    parser.add_argument("--works", nargs="+", default=[""], help="beginnings of names of works")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--python", nargs="+", default=[], help="PEER=PATH: an interpreter that has it")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each stretch")
    parser.add_argument("--threads", type=int, default=2)
    clock = "cpu: the time of the process's threads together, which says more on a machine that is not quiet"
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=clock)
    parser.add_argument("--verbose", action="store_true", help="show what the processes say")
    arguments = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    print(f"{arguments.threads} threads, {arguments.clock} time, load {os.getloadavg()[0]:.1f}")
    for name in WORKS:
        if not name.startswith(tuple(arguments.works)):
            continue
        peers = ["lazyflow", *(peer for peer in arguments.peers if peer != "lazyflow")]
        workers = {}
        try:
            for peer in peers:
                workers[peer] = Worker(peer, name, arguments, pythons.get(peer, sys.executable))
            if workers["lazyflow"].missing:
                raise SystemExit(f"lazyflow: {workers['lazyflow'].missing}")
            check(workers)
            show(name, workers, measure(workers, arguments))
        finally:
            for worker in workers.values():
                worker.close()


if __name__ == "__main__":
    main()
