"""The small MLP from its saved plan, up to the first finished step: ``saved.py mlp.lfplan``."""

import sys
import time

import numpy as np

from lazyflow.runtime.plan import load_plan

start = time.perf_counter()
rng = np.random.default_rng(0)
feeds = {"x": rng.normal(size=(64, 784)).astype(np.float32), "labels": rng.integers(0, 10, 64)}
load_plan(sys.argv[1]).session("cpu").run("train", feeds)
print(time.perf_counter() - start)
