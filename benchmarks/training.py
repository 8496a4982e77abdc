"""Training and prediction speed of a model, beside the machine's matrix multiplication.

python benchmarks/training.py [--model slides] [--preset auto] [--backend jax|tensorflow] [--batch-size 256] [--steps 20]
Steps are those of `train_model`, predictions those of the model that it saves. The last line is JSON: train_per_s and predict_per_s
(sequences), gflop_per_sequence (forward pass, counted by XLA; loops, as in an LSTM, once), achieved_gflops (three forward passes a training
step: the backward pass costs two), sgemm_gflops (NumPy's float32 matrix product, all threads, in the same run), ratio_vs_sgemm,
first_step_s (from the start of the process to the end of the first step), parameters.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STARTED = time.perf_counter()
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the jobs of the workflow have them
from gpraflow.models import backend, registry
from gpraflow.sequences import scaffold
from gpraflow.training import network as training_network
from gpraflow.training import objectives, options, steppers

LENGTH = 110
COUNT = """
import sys
sys.path[:0] = [sys.argv[1] + "/benchmarks", sys.argv[1] + "/scripts"]
from gpraflow.models.backend import select_backend
select_backend("jax")
import jax
import training as benchmark
core, inputs = benchmark.network(sys.argv[2], sys.argv[3], 64)
values = [variable.value for variable in core.trainable_variables], [variable.value for variable in core.non_trainable_variables]
lowered = jax.jit(lambda t, n, x: core.stateless_call(t, n, x, training=False)[0]).lower(*values, inputs)
print(lowered.compile().cost_analysis()["flops"] / 64 / 1e9)
"""


def sgemm_gflops(side=2048, repeats=10):
    """Return GFLOP/s of NumPy's float32 matrix product."""
    a = np.ones((side, side), np.float32)
    a @ a
    started = time.perf_counter()
    for _ in range(repeats):
        a @ a
    return repeats * 2 * side**3 / 1e9 / (time.perf_counter() - started)


def network(name, preset, rows):
    """Return a network with raw outputs, and random promoters as it takes them."""
    preset, sizes = registry.choose_sizes(name, preset, {})
    upstream = scaffold.load(ROOT / "resources/scaffolds.yaml", "pTpA").upstream
    motifs = str(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")
    core = training_network.build_core(options.Blueprint(name, preset, sizes, upstream, motifs), LENGTH, 1, "core")
    rng = np.random.default_rng(0)
    given = {
        "tokens": rng.integers(0, 4, (rows, LENGTH), dtype=np.uint8),
        "singleton": np.zeros((rows, 1), np.float32),
        "reverse": np.zeros((rows, 1), np.float32),
    }
    return core, [given[key] for key in registry.describe(name).inputs]


def main():
    """Train and predict on random tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="slides", choices=[name for name in registry.REGISTRY if not registry.describe(name).baseline])
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--backend", default="jax", choices=["jax", "tensorflow"])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    backend.select_backend(arguments.backend)

    size = arguments.batch_size
    core, inputs = network(arguments.model, arguments.preset, size)
    objective = objectives.Objective("mse", 1, 1.0, 0.0)
    stepper = steppers.stepper(core, steppers.optimizer_of("adamw", 0.01, 1.0), objective, 0.99)
    label, weight = np.random.default_rng(1).normal(size=(size, 1)).astype(np.float32), np.ones(size, np.float32)

    def train(steps):
        for _ in range(steps):
            loss = stepper.step(inputs, label, weight, 1e-3, None)
        return float(loss)

    train(1)
    first = time.perf_counter() - STARTED
    train(2)
    started = time.perf_counter()
    train(arguments.steps)
    train_per_s = arguments.steps * size / (time.perf_counter() - started)
    predict = stepper.predictor(training_network.serving([core], objective, LENGTH, False, arguments.model), 1024)
    tokens = np.random.default_rng(2).integers(0, 4, (4096, LENGTH), dtype=np.uint8)
    predict(tokens[:1024])
    started = time.perf_counter()
    predict(tokens)
    predict_per_s = len(tokens) / (time.perf_counter() - started)
    sgemm = sgemm_gflops()
    command = [sys.executable, "-c", COUNT, str(ROOT), arguments.model, arguments.preset]
    gflop = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    found = {
        "parameters": core.count_params(),
        "train_per_s": round(train_per_s, 1),
        "predict_per_s": round(predict_per_s, 1),
        "gflop_per_sequence": round(gflop, 5),
        "achieved_gflops": round(3 * gflop * train_per_s, 1),
        "sgemm_gflops": round(sgemm, 1),
        "ratio_vs_sgemm": round(3 * gflop * train_per_s / sgemm, 3),
        "first_step_s": round(first, 1),
    }
    print(json.dumps(vars(arguments) | found))


if __name__ == "__main__":
    main()
