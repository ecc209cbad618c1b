"""What people who come from other systems write, and what replaces it here: the hints of missing names."""

from __future__ import annotations

_BACKEND = "nothing: plan.session(backend=...) chooses what runs the plan"
_ARRAYS = "feed the NumPy array as it is; lf.constant(array) makes it a part of the graph"

OF_TENSORS = {
    "cpu": _BACKEND,
    "cuda": _BACKEND,
    "detach": "lf.stop_gradient(tensor)",
    "dim": "tensor.ndim",
    "grad": "program.gradients[parameter] after backward(), or lf.gradients(loss, tensors)",
    "permute": "tensor.transpose(*axes)",
    "requires_grad": "leave a parameter out of the optimizer's params, or lf.stop_gradient(tensor)",
    "size": "tensor.shape; lf.size(tensor, axis) is a size as a Tensor",
    "squeeze": "lf.squeeze(tensor, axis)",
    "to": "tensor.astype(dtype); plan.session(backend=...) chooses what runs the plan",
    "tolist": "fetch it: graph.program(name, fetches={'x': tensor})",
    "unsqueeze": "lf.expand_dims(tensor, axis)",
    "view": "tensor.reshape(*shape)",
}

_RATE = "fetches={'lr': optimizer.lr} while it trains, scheduler.curve(steps) without training"

OF_OPTIM = {
    "add_param_group": "give all groups at once: optim.Adam([{'params': a}, {'params': b, 'lr': 0.1}])",
    "get_last_lr": _RATE,
    "get_lr": _RATE,
    "load_state_dict": "session.load_state_dict(values), or session.restore(path): a session holds the state",
    "print_lr": "verbose=True, where the scheduler is made",
    "state_dict": "session.state_dict(), or session.save(path): a session holds the state",
    "zero_grad": "nothing: every run makes its gradients anew",
}

OF_LAZYFLOW = {
    "array": _ARRAYS,
    "asarray": _ARRAYS,
    "cat": "lf.concat(tensors, axis)",
    "device": _BACKEND,
    "from_numpy": _ARRAYS,
    "function": "with lf.Graph() as graph: ...; lf.compile(graph)",
    "grad": "lf.gradients(loss, tensors)",
    "jit": "with lf.Graph() as graph: ...; lf.compile(graph)",
    "load": "session.restore(path) for a checkpoint, lf.load_plan(path) for a plan",
    "manual_seed": "plan.session(seed=1)",
    "no_grad": "nothing: a program without backward() makes no gradients",
    "save": "session.save(path) for a checkpoint, plan.save(path, session) for a plan",
    "tensor": _ARRAYS,
    "unsqueeze": "lf.expand_dims(tensor, axis)",
}
