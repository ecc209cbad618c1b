"""The recipe as PyTorch and OneFlow compute it: trajectories that they recorded."""

import json
import random

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from optim import golden
from repository import ROOT

PYTORCH = json.loads((ROOT / "tests" / "golden" / "pytorch" / "recipes.json").read_text())


class Recipe:
    """The training of a case of PyTorch's: parameters that are drawn to the data that are fed."""

    def __init__(self, case, backend):
        self.case, self.source = case, random.Random(case["seed"])
        initial = self.draw()
        with lf.Graph() as graph:
            parameters = [lf.Parameter(array, name=f"w{i}") for i, array in enumerate(initial)]
            data = [lf.placeholder(f"x{i}", w.shape) for i, w in enumerate(parameters)]
            options = {n: tuple(v) if isinstance(v, list) else v for n, v in case["options"].items()}
            self.optimizer = getattr(optim.pytorch, case["optimizer"])(parameters, **options)
            scaler = optim.LossScaler(**PYTORCH["scaler"])
            with graph.program("train"):
                for w, x in zip(parameters, data, strict=True):
                    scaler.scale(0.5 * lf.sum((w - x) ** 2)).backward()
                self.optimizer.step(loss_scale=scaler, **self.recipe())
        self.session = lf.compile(graph).session(backend=backend)

    def recipe(self):
        case = self.case
        clips = {name: case[name] for name in ("clip_value", "clip_norm") if name in case}
        self.key = "ema" if "decay" in case else "swa"
        average = optim.EMA(case["decay"]) if "decay" in case else optim.SWA()
        return {"accumulate": case["accumulate"], "skip_nonfinite": True, "average": average, **clips}

    def draw(self):
        """Numbers in [-1, 1), as the recording script draws them."""
        return [
            np.float32([2.0 * self.source.random() - 1.0 for _ in range(int(np.prod(shape)))]).reshape(shape)
            for shape in PYTORCH["shapes"]
        ]

    def update(self, number):
        for micro in range(self.case["accumulate"]):
            data = self.draw()
            if number in PYTORCH["bad"] and micro == number % self.case["accumulate"]:
                data[number % len(data)].reshape(-1)[0] = np.inf
            self.session.run("train", {f"x{i}": x for i, x in enumerate(data)})

    def kept(self, suffix):
        return [self.session.get(f"w{i}{suffix}") for i in range(len(PYTORCH["shapes"]))]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("case", PYTORCH["cases"], ids=lambda case: f"{case['optimizer']}-{case['seed']}")
def test_recipe_of_pytorch(case, backend):
    training, rows = Recipe(case, backend), zip(case["rows"], case["averages"], strict=True)
    for number in range(PYTORCH["updates"]):
        training.update(number)
        assert training.session.get("loss_scaler/scale") == case["scales"][number]
        if number + 1 in PYTORCH["steps"]:
            expected, averages = next(rows)
            assert_close(training.kept(""), expected)
            assert_close(training.kept(f"/{training.key}"), averages)
    name = training.optimizer.name
    assert int(training.session.get(f"{name}/skipped")) == len(PYTORCH["bad"])
    assert int(training.session.get(f"{name}/applied")) == PYTORCH["updates"] - len(PYTORCH["bad"])


def assert_close(found, expected):
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.reshape(-1), np.float32(want), rtol=0, atol=ROUNDINGS)


ROUNDINGS = 1e-6  # of values up to 1, in float32


# --- OneFlow ----------------------------------------------------------------------------------------------


class Fed:
    """The training of a case of OneFlow's, by fed gradients."""

    def __init__(self, case):
        self.case = case
        with lf.Graph() as graph:
            rows = zip(case["init"], case["shapes"], strict=True)
            self.parameters = [
                lf.Parameter(np.float32(row).reshape(s), name=f"w{i}") for i, (row, s) in enumerate(rows)
            ]
            self.scaler = golden_scaler(case)
            pairs = [self.optimizer_of(part) for part in case.get("optimizers", [case])]
            rates = [group["lr"] for optimizer, _ in pairs for group in optimizer.param_groups]
            fetches = {f"lr{i}": rate for i, rate in enumerate(rates)}
            with graph.program("train", fetches=fetches):
                self.differentiate()
                for optimizer, scheduler in pairs:
                    optimizer.step(accumulate=case.get("grad_acc", 1), loss_scale=self.scaler)
                    if scheduler is not None:
                        scheduler.step()
        self.optimizer = pairs[0][0]
        self.session = lf.compile(graph).session(backend="numpy")

    def optimizer_of(self, part):
        """An optimizer and its scheduler."""
        groups = part.get("groups", [{"params": part.get("params")}])
        optimizer = golden.optimizer({**part, "id": self.case["id"], "groups": groups}, self.parameters)
        scheduler = part["scheduler"]
        return optimizer, scheduler and golden.scheduler(self.case, scheduler, optimizer)

    def differentiate(self):
        for i, w in enumerate(self.parameters):
            loss = lf.sum(w * lf.placeholder(f"g{i}", w.shape))
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def step(self, step):
        """Run the micro-batches of a step; the rates."""
        count = self.case.get("grad_acc", 1)
        arrays = [
            np.float32(row).reshape(count, *shape)
            for row, shape in zip(self.case["grads"][step], self.case["shapes"], strict=True)
        ]
        for micro in range(count):
            fetched = self.session.run("train", {f"g{i}": each[micro] for i, each in enumerate(arrays)})
        return [fetched[name].item() for name in sorted(fetched)]

    def clock(self, name):
        return int(self.session.get(f"{self.optimizer.name}/{name}"))


def golden_scaler(case):
    description = dict(case.get("grad_scaler", {}))
    kind = description.pop("type", None)
    if kind == "StaticGradScaler":
        return optim.StaticLossScaler(description["scale_factor"])
    return None if kind is None else optim.LossScaler(**description)


@pytest.mark.parametrize("case", golden.cases("graph_features"), ids=lambda case: case["id"])
def test_graph_features_of_oneflow(case):
    training, mode = Fed(case), case["modes"]["graph"]
    expected = golden.expected(case, "graph")
    for step in range(case["steps"]):
        # OneFlow's graphs compute the rate in float32
        np.testing.assert_allclose(training.step(step), mode["lr"][step], rtol=1e-6)
        for w, want, path in zip(
            training.parameters, expected[step], zip(*expected, strict=True), strict=True
        ):
            moved = max(np.abs(value - path[0]).max() for value in path)
            atol = 4e-6 * np.abs(path).max() + 8e-6 * moved  # as for the other families
            np.testing.assert_allclose(training.session.get(w.name), want, rtol=0, atol=atol)
        if "loss_scale_after" in mode:
            assert training.session.get("loss_scaler/scale") == mode["loss_scale_after"][step]
        if "train_step_after" in mode:
            assert training.clock("applied") == mode["train_step_after"][step]
