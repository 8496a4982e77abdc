"""DREAM-CNN, LegNet and DREAM-RNN of stock PyTorch layers, and their training step, for other programs; it needs PyTorch."""

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
    """Squeeze and excitation; with ``bilinear_fraction`` that of LegNet, with a bilinear form of low rank."""

    def __init__(self, channels, units, bilinear_fraction):
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(channels, units), nn.SiLU())
        self.pairs = units // 2 if bilinear_fraction else 0
        if self.pairs:
            rank = max(1, round(bilinear_fraction * units * units * self.pairs / (2 * units + self.pairs)))
            self.mix = nn.Linear(units, units)
            self.left, self.right = nn.Linear(units, rank, bias=False), nn.Linear(units, rank, bias=False)
            self.bilinear = nn.Linear(rank, self.pairs)
        self.excite = nn.Sequential(nn.Linear(units + self.pairs, channels), nn.Sigmoid())

    def forward(self, x):
        """Weigh the channels of ``(batch, channels, length)``."""
        weight = self.squeeze(x.mean(dim=2))
        if self.pairs:
            weight = self.mix(weight)
            weight = torch.cat([weight, self.bilinear(self.left(weight) * self.right(weight))], dim=1)
            weight = nn.functional.silu(weight)
        return x * self.excite(weight)[:, :, None]


class Block(nn.Module):
    """LegNet's block."""

    def __init__(self, incoming, filters, sizes):
        super().__init__()
        inner, width = sizes["expansion"] * filters, sizes["kernel_size"]
        self.bottleneck = nn.Sequential(
            convolution(incoming, inner, 1),
            convolution(inner, inner, width, groups=inner // sizes["filters_per_group"]),
            Excitation(inner, incoming // sizes["squeeze_reduction"], sizes["bilinear_fraction"]),
            convolution(inner, incoming, 1),
        )
        self.resize = convolution(2 * incoming, filters, width)

    def forward(self, x):
        """Return ``(batch, filters, length)``."""
        return self.resize(torch.cat([x, self.bottleneck(x)], dim=1))


class Parallel(nn.ModuleList):
    """Convolutions of several widths side by side, each with ReLU and dropout."""

    def __init__(self, incoming, filters, widths, dropout):
        each = filters // len(widths)
        super().__init__(
            nn.Sequential(nn.Conv1d(incoming, each, width, padding="same"), nn.ReLU(), nn.Dropout(dropout)) for width in widths
        )

    def forward(self, x):
        """Return ``(batch, filters, length)``."""
        return torch.cat([branch(x) for branch in self], dim=1)


class Convolutional(nn.Module):
    """DREAM-CNN and LegNet: a first layer, blocks, mean over positions of a convolution of 1 bp."""

    def __init__(self, first, sizes, outputs):
        super().__init__()
        filters = [sizes["first_filters"], *sizes["block_filters"]]
        self.first = first
        self.blocks = nn.Sequential(*(Block(a, b, sizes) for a, b in pairwise(filters)))
        self.head = nn.Conv1d(filters[-1], outputs, 1)

    def forward(self, x):
        """Return ``(batch, outputs)`` of ``(batch, channels, length)``."""
        return self.head(self.blocks(self.first(x))).mean(dim=2)


class DreamRnn(nn.Module):
    """DREAM-RNN: convolutions, bidirectional LSTM, convolutions, mean over positions of a convolution of 1 bp."""

    def __init__(self, sizes, outputs):
        super().__init__()
        self.first = Parallel(CHANNELS, sizes["first_filters"], sizes["first_kernel_sizes"], sizes["first_dropout"])
        self.lstm = nn.LSTM(sizes["first_filters"], sizes["lstm_units"], bidirectional=True, batch_first=True)
        widths, dropout = sizes["core_kernel_sizes"], sizes["core_convolution_dropout"]
        self.core = nn.Sequential(
            Parallel(2 * sizes["lstm_units"], sizes["core_filters"], widths, dropout), nn.Dropout(sizes["core_dropout"])
        )
        self.head = nn.Conv1d(sizes["core_filters"], outputs, 1)

    def forward(self, x):
        """Return ``(batch, outputs)`` of ``(batch, channels, length)``."""
        x = self.lstm(self.first(x).transpose(1, 2))[0].transpose(1, 2)
        return self.head(self.core(x)).mean(dim=2)


def build(name, sizes, outputs=BINS):
    """Return one of the networks."""
    if name == "dream_rnn":
        return DreamRnn(sizes, outputs)
    if name == "legnet":
        return Convolutional(convolution(CHANNELS, sizes["first_filters"], sizes["kernel_size"]), sizes, outputs)
    first = Parallel(CHANNELS, sizes["first_filters"], sizes["first_kernel_sizes"], sizes["first_dropout"])
    return Convolutional(first, sizes | {"bilinear_fraction": 0}, outputs)


def train(name, sizes, batch_size, steps, compiled, device="cpu", precision="float32"):
    """Return sequences a second in training and in prediction, and the number of parameters."""
    torch.manual_seed(0)
    model = build(name, sizes).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    call = torch.compile(model) if compiled else model
    x = torch.nn.functional.one_hot(torch.randint(0, CHANNELS, (batch_size, sizes["window"])), CHANNELS).transpose(1, 2).float().to(device)
    y = torch.softmax(torch.randn(batch_size, BINS), dim=1).to(device)
    half = torch.autocast(device, torch.bfloat16, enabled=precision != "float32")
    wait = torch.cuda.synchronize if device == "cuda" else bool

    def step():
        optimizer.zero_grad()
        with half:
            raw = call(x)
        loss = torch.nn.functional.kl_div(torch.log_softmax(raw.float(), dim=1), y, reduction="batchmean")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def seconds(work):
        for _ in range(3):
            work()
        wait()
        with common.timed() as lap:
            for _ in range(steps):
                work()
            wait()
        return lap.seconds

    training = seconds(step)
    model.eval()
    with torch.no_grad(), half:
        prediction = seconds(lambda: call(x))
    return batch_size * steps / training, batch_size * steps / prediction, sum(part.numel() for part in model.parameters())
