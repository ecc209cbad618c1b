"""The networks in OneFlow 0.9: a step of its nn.Graph."""

import oneflow as flow
from oneflow import nn
from works import DECAY_STEPS, RATE, Call, Mlp, data


class Training(nn.Graph):
    """A step as one graph."""

    def __init__(self, model, optimizer, schedule):
        super().__init__()
        self.model, self.criterion = model, nn.CrossEntropyLoss()
        self.add_optimizer(optimizer, lr_sch=schedule)

    def build(self, x, y):
        loss = self.criterion(self.model(x), y)
        loss.backward()
        return loss


def calls(work, threads):
    if not isinstance(work, Mlp):
        return {}
    feeds, values = data(work)
    x, y = (flow.from_numpy(array) for array in feeds.values())
    parts = [part for i, o in work.sizes() for part in (nn.Linear(i, o), nn.ReLU())]
    model = nn.Sequential(*parts[:-1])
    for i, parameter in enumerate(model.parameters()):
        parameter.data.copy_(flow.from_numpy(values[i]))
    optimizer = flow.optim.Adam(model.parameters(), lr=RATE, do_bias_correction=True)
    schedule = flow.optim.lr_scheduler.CosineDecayLR(optimizer, DECAY_STEPS)
    graph = Training(model, optimizer, schedule)
    return {"nn.Graph": Call(lambda: graph(x, y), lambda loss: float(loss.numpy()))}
