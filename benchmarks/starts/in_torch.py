"""The small MLP in PyTorch, eager, up to the first finished step."""

import time

import numpy as np
import torch

start = time.perf_counter()
linear, relu = torch.nn.Linear, torch.nn.ReLU
model = torch.nn.Sequential(linear(784, 128), relu(), linear(128, 64), relu(), linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
rng = np.random.default_rng(0)
images = torch.from_numpy(rng.normal(size=(64, 784)).astype(np.float32))
labels = torch.from_numpy(rng.integers(0, 10, 64))
torch.nn.functional.cross_entropy(model(images), labels).backward()
optimizer.step()
schedule.step()
print(time.perf_counter() - start)
