"""Records what optax's optimizers compute: writes optimizers.json beside this file.

Needs optax 0.2.8 and jax; the tests need the recording only. Each case is one optimizer that makes 200
float32 updates by the same gradients, and the parameters after some of them. The options beside it are those
by which ``lazyflow.optim`` reads the equations as optax does.

Not here, because optax reads another equation: NAdam (no momentum schedule), LARS with a decay (inside the
norm), Adan with a decay (not proximal), Muon with nesterov (corrected moments). Two agree in one place only,
which is recorded: its Adan looks ahead by 1 - b2 where the paper's share is b2, by which the difference
decays; its schedule-free AdamW weighs by lr**2, the paper by lr**2 * (1 - beta2**t).

    python tests/golden/optax/record_optimizers.py
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

SHAPES = [(3, 2), (4,), (2, 3)]
STEPS = 200
ROWS = [1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100, 200]


def relative(step):
    """Adafactor's relative step."""
    return jnp.minimum(0.05, 1.0 / jnp.sqrt(step + 1.0))


CORRECTED = {"do_bias_correction": True}
MUON = {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}

CASES = [
    ("SGD", {"lr": 0.1}, optax.sgd(0.1)),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, optax.sgd(0.1, momentum=0.9)),
    (
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
        optax.sgd(0.1, momentum=0.8, nesterov=True),
    ),
    ("Adam", {"lr": 0.02, **CORRECTED}, optax.adam(0.02)),
    (
        "Adam",
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, **CORRECTED},
        optax.adam(0.02, 0.8, 0.9, 1e-3),
    ),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.1, **CORRECTED}, optax.adamw(0.02, weight_decay=0.1)),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3}, optax.rmsprop(0.02, decay=0.9, eps=1e-3)),
    (
        "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-2, "centered": True, "momentum": 0.9},
        optax.rmsprop(0.02, decay=0.9, eps=1e-2, centered=True, momentum=0.9),
    ),
    (
        "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "eps_inside_sqrt": False},
        optax.rmsprop(0.02, decay=0.9, eps=1e-3, eps_in_sqrt=False),
    ),
    (
        "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.1, "eps": 0.0},
        optax.adagrad(0.1, initial_accumulator_value=0.1, eps=0.0),
    ),
    ("Adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-3}, optax.adadelta(1.0, rho=0.9, eps=1e-3)),
    ("Adamax", {"lr": 0.02}, optax.adamax(0.02)),
    ("RAdam", {"lr": 0.02, "betas": (0.9, 0.99), "eps": 0.0}, optax.radam(0.02, b2=0.99, eps=0.0)),
    ("LAMB", {"lr": 0.02, "eps": 1e-6, "weight_decay": 0.1}, optax.lamb(0.02, weight_decay=0.1)),
    (
        "LARS",
        {"lr": 1.0, "momentum": 0.9, "trust_coefficient": 0.01, "eps": 1e-3},
        optax.lars(1.0, trust_coefficient=0.01, eps=1e-3),
    ),
    (
        "Lion",
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1},
        optax.lion(0.01, b1=0.8, b2=0.9, weight_decay=0.1),
    ),
    ("Adan", {"lr": 0.02, "betas": (0.98, 0.5, 0.99)}, optax.adan(0.02, b2=0.5, eps_root=0.0)),
    (
        "Adafactor",
        {"lr": 0.05},
        optax.adafactor(relative, min_dim_size_to_factor=1),
    ),
    (
        "Muon",
        {"lr": 0.02, "betas": (0.9, 0.99), "adam_eps": 1e-8, **MUON},
        contrib.muon(0.02, adam_b2=0.99, nesterov=False, consistent_rms=0.2),
    ),
    (
        "ScheduleFreeAdamW",
        {"lr": 0.02, "betas": (0.8, 0.0), "weight_decay": 0.1},
        contrib.schedule_free_adamw(0.02, b1=0.8, b2=0.0, weight_decay=0.1),
    ),
]


def numbers(array):
    """The elements, with the nine digits that tell any two float32 numbers apart."""
    return [float(f"{x:.9g}") for x in np.asarray(array).ravel().tolist()]


def trajectory(kind, options, transformation, initial, gradients):
    """The parameters after each step of ``ROWS``."""
    params = [jnp.asarray(array) for array in initial]
    state = transformation.init(params)
    rows = []
    for step, row in enumerate(gradients, start=1):
        changes, state = transformation.update([jnp.asarray(g) for g in row], state, params)
        params = optax.apply_updates(params, changes)
        if step in ROWS:
            rows.append([numbers(parameter) for parameter in params])
    which = list(range(len(SHAPES)))
    return {"optimizer": kind, "options": options, "parameters": which, "rows": rows}


def main():
    """Write the recording."""
    rng = np.random.default_rng(0)
    initial = [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    gradients = [[rng.standard_normal(shape).astype(np.float32) for shape in SHAPES] for _ in range(STEPS)]
    recorded = {
        "made_with": f"optax {optax.__version__}",
        "shapes": SHAPES,
        "initial": [numbers(array) for array in initial],
        "gradients": [[numbers(array) for array in row] for row in gradients],
        "steps": ROWS,
        "cases": [trajectory(*case, initial, gradients) for case in CASES],
    }
    path = Path(__file__).with_name("optimizers.json")
    path.write_text(
        json.dumps(recorded, separators=(",", ":")).replace('{"optimizer"', '\n{"optimizer"') + "\n"
    )


if __name__ == "__main__":
    main()
