"""Training speed of DREAM-CNN: ours, and the same network of stock PyTorch layers, in turns.

python -m venv torch && torch/bin/pip install torch==2.13.0 numpy
torch/bin/python benchmarks/dream_cnn_pytorch.py [--ours .venv/bin/python] [--batch-size 128] [--steps 10] [--rounds 2]
PyTorch is no dependency of gpraflow: this script is run by a Python that has it, and runs benchmarks/training.py with the project's own.
The network is the published one (grouped convolution as nn.Conv1d, heads as there); optimiser AdamW, as in ours. The last line is JSON:
train_per_s of each (sequences), ratio (ours over PyTorch's), parameters.
"""

import argparse
import json
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
LENGTH, CHANNELS, BINS = 150, 6, 18


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

    def __init__(self, incoming, filters):
        super().__init__()
        inner = 4 * filters
        self.bottleneck = nn.Sequential(
            convolution(incoming, inner, 1),
            convolution(inner, inner, 7, groups=inner // 2),
            Excitation(inner, incoming // 4),
            convolution(inner, incoming, 1),
        )
        self.resize = convolution(2 * incoming, filters, 7)

    def forward(self, x):
        """Return ``(batch, filters, length)``."""
        return self.resize(torch.cat([x, self.bottleneck(x)], dim=1))


class DreamCnn(nn.Module):
    """The published network: two convolutions side by side, six blocks, mean over positions of a convolution of 1 bp."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(
            nn.Sequential(nn.Conv1d(CHANNELS, 160, width, padding="same"), nn.ReLU(), nn.Dropout(0.2)) for width in (9, 15)
        )
        filters = [320, 128, 128, 64, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(filters)))
        self.head = nn.Conv1d(64, BINS, 1)

    def forward(self, x):
        """Return ``(batch, bins)`` of ``(batch, channels, length)``."""
        x = torch.cat([branch(x) for branch in self.first], dim=1)
        return self.head(self.blocks(x)).mean(dim=2)


def train(batch_size, steps, compiled):
    """Return sequences a second, and the number of parameters."""
    torch.manual_seed(0)
    model = DreamCnn().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    call = torch.compile(model) if compiled else model
    x = torch.nn.functional.one_hot(torch.randint(0, CHANNELS, (batch_size, LENGTH)), CHANNELS).transpose(1, 2).float()
    y = torch.softmax(torch.randn(batch_size, BINS), dim=1)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.kl_div(torch.log_softmax(call(x), dim=1), y, reduction="batchmean")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(3):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return batch_size * steps / (time.perf_counter() - started), sum(part.numel() for part in model.parameters())


def main():
    """Train both in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=str(ROOT / ".venv/bin/python"))
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    command = [arguments.ours, str(ROOT / "benchmarks/training.py"), "--model", "dream_cnn", "--preset", "paper"]
    command += ["--backend", arguments.backend, "--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ours.append(json.loads(done.stdout.splitlines()[-1]))
        speed, parameters = train(arguments.batch_size, arguments.steps, arguments.compile)
        theirs.append(speed)
    speed = sum(found["train_per_s"] for found in ours) / len(ours)
    theirs_speed = sum(theirs) / len(theirs)
    found = {
        "ours_train_per_s": round(speed, 1),
        "pytorch_train_per_s": round(theirs_speed, 1),
        "ratio": round(speed / theirs_speed, 2),
        "parameters": parameters,
        "ours_parameters": ours[0]["parameters"],
        "torch": torch.__version__,
    }
    print(json.dumps(vars(arguments) | found))


if __name__ == "__main__":
    main()
