"""From nothing to the first finished step, cold and with a cache of compiled code; and the memory that takes.

    python benchmarks/start.py --peers /path/to/python

Every figure is that of a process of its own; those of a round come one after the other, beginning with
another one each time. The small MLP is timed from the start of the process to its end, against the same step
by hand in numpy. AdamW over many tensors and a deep MLP are timed without imports, against optax and JAX:
building, compiling, the first step. "cold" begins with an empty cache of compiled code, "warm" with a filled
one; peers keep none. Ratios are medians of those of the rounds; the peak is that of the resident memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent / "starts"


class Job(NamedTuple):
    """One row: a program, its interpreter, and whether it keeps compiled code."""

    name: str
    command: tuple[str, ...]
    cached: bool = False


class Figure(NamedTuple):
    """What one process took."""

    process: float
    inside: float
    mebibytes: float


def measured(job, folder):
    """Run a job in a process of its own."""
    environment = os.environ | {"LAZYFLOW_CACHE_DIR": folder}
    start = time.perf_counter()
    process = subprocess.Popen(job.command, env=environment, stdout=subprocess.PIPE, text=True)
    inside = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(job.command)} failed")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return Figure(seconds, float(inside), used.ru_maxrss * unit / 2**20)


def rounds(jobs, count):
    """For each job the figures of its cold runs, and of its warm ones."""
    found = {job: ([], []) for job in jobs}
    for number in range(count):
        shift = number % len(jobs)
        for job in jobs[shift:] + jobs[:shift]:
            with tempfile.TemporaryDirectory() as folder:
                for figures in found[job] if job.cached else found[job][:1]:
                    figures.append(measured(job, folder))
    return found


def show(title, jobs, found, which):
    """A table; ratios are to the last job, a peer, where there is one."""
    print(f"\n{title}\n\n| | cold s | warm s | ratio cold | ratio warm | peak MiB cold | warm |")
    print("|---|---|---|---|---|---|---|")
    base = [getattr(figure, which) for figure in found[jobs[-1]][0]]
    for job in jobs:
        seconds, ratios, peaks = [], [], []
        for figures in found[job]:
            times = [getattr(figure, which) for figure in figures]
            pairs = [a / b for a, b in zip(times, base, strict=True)] if times and len(jobs) > 1 else []
            seconds.append(f"{statistics.median(times):.3f}" if times else "")
            ratios.append(f"{statistics.median(pairs):.3g}" if pairs else "")
            peaks.append(f"{statistics.median(f.mebibytes for f in figures):.0f}" if times else "")
        print("|", " | ".join([job.name, *seconds, *ratios, *peaks]), "|", flush=True)


def lacks(python, module):
    """Whether an interpreter has no such module; says so."""
    command = [python, "-c", f"import importlib.util as u; exit(u.find_spec({module!r}) is None)"]
    missing = subprocess.run(command, check=False).returncode != 0
    if missing:
        print(f"{module} is skipped: {python} does not have it (--peers names another interpreter)")
    return missing


def program(name, *arguments, python=sys.executable):
    return (python, str(HERE / f"{name}.py"), *map(str, arguments))


def main():
    parser = argparse.ArgumentParser(description="Times what comes before the second step.")
    parser.add_argument("--tensors", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15, help="of the small MLP")
    parser.add_argument("--long-rounds", type=int, default=3, help="of the others")
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="has PyTorch, JAX and optax"
    )
    arguments = parser.parse_args()
    python = arguments.peers
    torch = not lacks(python, "torch")
    jax = not lacks(python, "jax") and not lacks(python, "optax")
    print(f"load {os.getloadavg()[0]:.1f}")

    with tempfile.TemporaryDirectory() as folder:
        measured(Job("", program("ours", "mlp", "--save", folder)), folder)
        jobs = [
            Job("lazyflow", program("ours", "mlp"), cached=True),
            Job("lazyflow, saved plan", program("saved", f"{folder}/mlp.lfplan"), cached=True),
            *([Job("PyTorch eager", program("in_torch", python=python))] if torch else []),
            *([Job("JAX", program("in_jax", "mlp", python=python))] if jax else []),
            Job("numpy by hand", program("by_hand")),
        ]
        show("MLP 784-128-64-10, whole process", jobs, rounds(jobs, arguments.rounds), "process")
    works = {
        "update": (arguments.tensors, f"AdamW over {arguments.tensors:,} tensors, without imports"),
        "deep": (arguments.layers, f"MLP of {arguments.layers:,} layers, Adam, without imports"),
    }
    for name, (size, title) in works.items():
        jobs = [Job("lazyflow", program("ours", name, size), cached=True)]
        if jax:
            jobs.append(Job("JAX and optax", program("in_jax", name, size, python=python)))
        show(title, jobs, rounds(jobs, arguments.long_rounds), "inside")


if __name__ == "__main__":
    main()
