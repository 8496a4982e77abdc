"""Training speed of DREAM-CNN: ours, and the same network of stock PyTorch layers, in turns.

python -m venv torch && torch/bin/pip install torch==2.13.0 numpy
torch/bin/python benchmarks/dream_cnn_pytorch.py [--ours .venv/bin/python] [--preset paper] [--batch-size 128] [--steps 10] [--rounds 2]
PyTorch is no dependency of gpraflow: this script is run by a Python that has it, and runs benchmarks/training.py with the project's own.
Without PyTorch only ours is measured. The network is the published one (networks_torch.py: grouped convolution as nn.Conv1d, heads as
there); optimiser AdamW, as in ours. The last line is JSON: ours_train_per_s and pytorch_train_per_s (sequences), ratio (ours over
PyTorch's), ours_parameters and parameters (PyTorch's).
"""

import importlib.util
import json
import sys

import common

from gpraflow.models import registry

TINY = {"first_filters": 16, "first_kernel_sizes": [9], "block_filters": [8], "expansion": 1}


def main():
    """Train both in turns."""
    parser = common.parser(__doc__)
    parser.add_argument("--ours", help="Python that has gpraflow's dependencies; the one that runs this program, if there is no .venv")
    parser.add_argument("--preset", default="paper", choices=list(registry.describe("dream_cnn").presets))
    parser.add_argument("--sizes", type=json.loads, default={}, help="sizes to be other than the preset's, as JSON")
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile, which needs a C++ compiler")
    arguments = common.parse(parser, preset="small", sizes=TINY, batch_size=8, steps=1, rounds=1)
    there = importlib.util.find_spec("torch")
    python = common.ROOT / ".venv/bin/python"
    command = [arguments.ours or (python if there and python.exists() else sys.executable), common.ROOT / "benchmarks/training.py"]
    command += ["--smallest"] if arguments.smallest else []
    command += [
        "--model",
        "dream_cnn",
        "--preset",
        arguments.preset,
        "--sizes",
        json.dumps(arguments.sizes),
        "--backend",
        arguments.backend,
    ]
    command += ["--batch-size", arguments.batch_size, "--steps", arguments.steps]
    sizes = registry.describe("dream_cnn").presets[arguments.preset] | arguments.sizes
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(common.last_line(command))
        if there:
            import networks_torch

            theirs.append(networks_torch.train("dream_cnn", sizes, arguments.batch_size, arguments.steps, arguments.compile))
    speed = sum(found["train_per_s"] for found in ours) / len(ours)
    figures = {"ours_train_per_s": round(speed, 1), "ours_parameters": ours[0]["parameters"]}
    if not there:
        common.finish(arguments, None, "PyTorch is not installed in the Python that runs this program", **figures)
        return
    import torch

    their_speed = sum(per_s for per_s, _, _ in theirs) / len(theirs)
    figures |= {"pytorch_train_per_s": round(their_speed, 1), "ratio": round(speed / their_speed, 2), "parameters": theirs[0][2]}
    common.finish(arguments, f"PyTorch {torch.__version__}", **figures)


if __name__ == "__main__":
    main()
