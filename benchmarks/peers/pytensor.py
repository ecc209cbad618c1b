"""The works in PyTensor: one compiled function with updates, without checks of its arguments."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from works import DECAY_STEPS, RATE, Call, Logistic, Mlp, data

pytensor.config.floatX = "float32"


def loss_of(work, parameters, x, y):
    if isinstance(work, Logistic):
        z = pt.dot(x, parameters[0][0]) + parameters[1][0]
        return pt.mean(pt.softplus(z) - y * z)
    for i in range(0, len(parameters), 2):
        x = pt.dot(x, parameters[i].T) + parameters[i + 1]
        x = pt.maximum(x, np.float32(0)) if i + 2 < len(parameters) else x
    return -pt.mean(pt.special.log_softmax(x, axis=-1)[pt.arange(y.shape[0]), y])


def adam(parameters, gradients):
    """Updates of Adam with bias correction and a cosine schedule."""
    count = pytensor.shared(np.int64(0))
    t = count + 1
    rate = RATE * 0.5 * (1.0 + pt.cos(np.pi * pt.minimum(count / DECAY_STEPS, 1.0)))
    c1, c2 = ((1.0 - beta**t).astype("float32") for beta in (0.9, 0.999))
    rate = (rate / c1).astype("float32")
    updates = [(count, t)]
    for p, g in zip(parameters, gradients, strict=True):
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in range(2))
        m_next = np.float32(0.9) * m + np.float32(0.1) * g
        v_next = np.float32(0.999) * v + np.float32(0.001) * g * g
        p_next = p - rate * m_next / (pt.sqrt(v_next / c2) + np.float32(1e-8))
        updates += [(m, m_next), (v, v_next), (p, p_next)]
    return updates


def calls(work, threads):
    if not isinstance(work, (Mlp, Logistic)):
        return {}
    feeds, values = data(work)
    parameters = [pytensor.shared(value) for value in values]
    symbols = [pt.tensor(name, dtype=array.dtype, shape=array.shape) for name, array in feeds.items()]
    loss = loss_of(work, parameters, *symbols)
    gradients = pt.grad(loss, parameters)
    if isinstance(work, Mlp):
        updates = adam(parameters, gradients)
    else:
        updates = [(p, p - np.float32(RATE) * g) for p, g in zip(parameters, gradients, strict=True)]
    function = pytensor.function(symbols, loss, updates=updates)
    function.trust_input = True
    x, y = feeds.values()
    return {"function": Call(lambda: function(x, y))}
