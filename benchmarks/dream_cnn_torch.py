"""DREAM-CNN of stock PyTorch layers, and its training step, for dream_cnn_pytorch.py; it needs PyTorch."""

from itertools import pairwise

import common
import torch
from torch import nn

CHANNELS, BINS = 6, 18


def convolution(incoming, filters, kernel_size, groups=1):
    """Return convolution, batch normalisation and SiLU."""
    layer = nn.Conv1d(incoming, filters, kernel_size, padding="same", groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm1d(filters), nn.SiLU())


class Excitation(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels, units):
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(channels, units), nn.SiLU(), nn.Linear(units, channels), nn.Sigmoid())

    def forward(self, x):
        """Weigh the channels of ``(batch, channels, length)``."""
        return x * self.weigh(x.mean(dim=2))[:, :, None]


class Block(nn.Module):
    """LegNet's block with plain squeeze and excitation."""

    def __init__(self, incoming, filters, sizes):
        super().__init__()
        inner, width = sizes["expansion"] * filters, sizes["kernel_size"]
        self.bottleneck = nn.Sequential(
            convolution(incoming, inner, 1),
            convolution(inner, inner, width, groups=inner // sizes["filters_per_group"]),
            Excitation(inner, incoming // sizes["squeeze_reduction"]),
            convolution(inner, incoming, 1),
        )
        self.resize = convolution(2 * incoming, filters, width)

    def forward(self, x):
        """Return ``(batch, filters, length)``."""
        return self.resize(torch.cat([x, self.bottleneck(x)], dim=1))


class DreamCnn(nn.Module):
    """The published network: two convolutions side by side, blocks, mean over positions of a convolution of 1 bp."""

    def __init__(self, sizes):
        super().__init__()
        widths, dropout = sizes["first_kernel_sizes"], sizes["first_dropout"]
        each = sizes["first_filters"] // len(widths)
        self.first = nn.ModuleList(
            nn.Sequential(nn.Conv1d(CHANNELS, each, width, padding="same"), nn.ReLU(), nn.Dropout(dropout)) for width in widths
        )
        filters = [sizes["first_filters"], *sizes["block_filters"]]
        self.blocks = nn.Sequential(*(Block(a, b, sizes) for a, b in pairwise(filters)))
        self.head = nn.Conv1d(filters[-1], BINS, 1)

    def forward(self, x):
        """Return ``(batch, bins)`` of ``(batch, channels, length)``."""
        x = torch.cat([branch(x) for branch in self.first], dim=1)
        return self.head(self.blocks(x)).mean(dim=2)


def train(sizes, batch_size, steps, compiled):
    """Return sequences a second, and the number of parameters."""
    torch.manual_seed(0)
    model = DreamCnn(sizes).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    call = torch.compile(model) if compiled else model
    x = torch.nn.functional.one_hot(torch.randint(0, CHANNELS, (batch_size, sizes["window"])), CHANNELS).transpose(1, 2).float()
    y = torch.softmax(torch.randn(batch_size, BINS), dim=1)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.kl_div(torch.log_softmax(call(x), dim=1), y, reduction="batchmean")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(3):
        step()
    with common.timed() as lap:
        for _ in range(steps):
            step()
    return batch_size * steps / lap.seconds, sum(part.numel() for part in model.parameters())
