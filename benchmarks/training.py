"""Training and prediction speed of a preset of a model, beside the machine's matrix multiplication.

python benchmarks/training.py [--model slides] [--preset small] [--backend jax|tensorflow] [--rows 8192]
The last line is JSON; sequences per second, seconds to the first step, GFLOP/s of a float32 matrix product in the same run.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from gpraflow import models


def sgemm_gflops(side=2048, repeats=10):
    """Return GFLOP/s of NumPy's float32 matrix product."""
    a = np.ones((side, side), np.float32)
    a @ a
    started = time.perf_counter()
    for _ in range(repeats):
        a @ a
    return repeats * 2 * side**3 / 1e9 / (time.perf_counter() - started)


def main():
    """Train and predict on random tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="slides")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8192)
    arguments = parser.parse_args()
    started = time.perf_counter()
    models.select_backend(arguments.backend)
    import keras

    sizes = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["model"][arguments.model][arguments.preset]
    model = models.build(arguments.model, 110, sizes)
    model.compile(keras.optimizers.AdamW(1e-3), "mse", jit_compile=True)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (arguments.rows, 110), dtype=np.uint8)
    label = rng.normal(size=arguments.rows).astype("float32")
    size = arguments.batch_size
    model.fit(tokens[:size], label[:size], batch_size=size, verbose=0)
    first = time.perf_counter() - started
    model.predict(tokens[:1024], batch_size=1024, verbose=0)
    laps = [time.perf_counter()]
    model.fit(tokens, label, batch_size=size, verbose=0)
    laps.append(time.perf_counter())
    model.predict(tokens, batch_size=1024, verbose=0)
    laps.append(time.perf_counter())
    found = {
        "parameters": model.count_params(),
        "train_per_s": round(arguments.rows / (laps[1] - laps[0]), 1),
        "predict_per_s": round(arguments.rows / (laps[2] - laps[1]), 1),
        "first_step_s": round(first, 1),
        "sgemm_gflops": round(sgemm_gflops(), 1),
    }
    print(json.dumps(vars(arguments) | found))


if __name__ == "__main__":
    main()
