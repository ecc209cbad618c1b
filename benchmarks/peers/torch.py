"""The works in PyTorch: eager, eager with the fused optimizer, and the whole step compiled."""

import torch
from torch import nn
from works import DECAY_STEPS, RATE, Call, Logistic, Mlp, data


class Block(nn.Module):
    """Attention and a feed-forward network, each after a normalization and around a shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.first, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.second, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def attention(self, x):
        batch, length, width = x.shape
        parts = self.mix(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


def built(work):
    if isinstance(work, Mlp):
        layers = [nn.Linear(i, o) for i, o in work.sizes()]
        parts = [part for layer in layers for part in (layer, nn.ReLU())]
        return nn.Sequential(*parts[:-1]), nn.functional.cross_entropy
    if isinstance(work, Logistic):
        loss = nn.functional.binary_cross_entropy_with_logits
        return nn.Linear(work.features, 1), lambda z, y: loss(z.squeeze(-1), y)
    return nn.Sequential(*(Block(work.width, work.heads) for _ in range(work.blocks))), nn.functional.mse_loss


def stepping(work, compiled=False, fused=False):
    """A step with a model of its own; fused: its optimizer updates all parameters in one call."""
    feeds, values = data(work)
    x, y = (torch.from_numpy(array) for array in feeds.values())
    model, criterion = built(work)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    make = torch.optim.SGD if isinstance(work, Logistic) else torch.optim.Adam
    rate = torch.tensor(RATE) if compiled else RATE  # a number would be compiled in, anew for each step
    optimizer = make(model.parameters(), lr=rate, fused=fused)
    schedule = None
    if isinstance(work, Mlp):
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, DECAY_STEPS)

    def update():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    whole = torch.compile(update) if compiled else update

    def step():
        loss = whole()
        if schedule is not None:
            schedule.step()
        return loss

    return step


def calls(work, threads):
    torch.set_num_threads(threads)
    eager = {"eager": Call(stepping(work)), "fused": Call(stepping(work, fused=True))}
    return eager | {"compiled": Call(stepping(work, compiled=True))}
