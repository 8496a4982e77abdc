"""Training and prediction speed of a model, beside the machine's matrix multiplication.

python benchmarks/training.py [--model slides] [--preset auto] [--sizes JSON] [--length 110] [--backend jax|tensorflow]
    [--device auto|cpu|gpu] [--precision float32|mixed_bfloat16] [--batch-size 256] [--steps 20]
Steps are those of `train_model`, predictions those of the model that it saves. The last line is JSON: train_per_s and predict_per_s
(sequences), gflop_per_sequence (forward pass, counted by XLA; loops, as in an LSTM, once), achieved_gflops (three forward passes a training
step: the backward pass costs two), sgemm_gflops (NumPy's float32 matrix product, all threads, in the same run), ratio_vs_sgemm,
first_step_s (from the start of the process to the end of the first step), train_cpu_ms (CPU time of a sequence in training, all threads),
peak_rss_mb (of training and predictions), parameters, device, losses (of the first five steps, from the same seed on every device).
"""

import json
import time

import common
import numpy as np

STARTED = time.perf_counter()
from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the jobs of the workflow have them
from gpraflow.app import plan as plans
from gpraflow.models import backend, registry
from gpraflow.training import network as training_network
from gpraflow.training import objectives, options, steppers

OBJECTIVE = objectives.Objective("mse", 1, 1.0, 0.0)


def sgemm_gflops(side, repeats=10):
    """Return GFLOP/s of NumPy's float32 matrix product."""
    a = np.ones((side, side), np.float32)
    a @ a
    with common.timed() as lap:
        for _ in range(repeats):
            a @ a
    return repeats * 2 * side**3 / 1e9 / lap.seconds


def plan_of(name, preset, sizes, length):
    """Return the run whose model this is, with a window of ``length`` bp; the rest of its config has the defaults."""
    window = {"scaffold": common.CONFIG.get("scaffold", {}) | {"length": length}}
    return plans.Plan(common.CONFIG | window | {"model": {"name": name, "preset": preset, "sizes": sizes}})


def network(plan, rows):
    """Return a network with raw outputs, and random promoters as it takes them."""
    blueprint = options.Blueprint.read(plan.model, plan.scaffolds, plan.motifs or "")
    length = plan.config["scaffold"]["length"]
    core = training_network.build_core(blueprint, length, OBJECTIVE, "core")
    rng = np.random.default_rng(0)
    given = {
        "tokens": rng.integers(0, 4, (rows, length), dtype=np.uint8),
        "singleton": np.zeros((rows, 1), np.float32),
        "reverse": np.zeros((rows, 1), np.float32),
    }
    return core, [given[key] for key in plan.architecture.inputs]


def gflop_per_sequence(name, preset, sizes, length):
    """Return GFLOP of a forward pass, as XLA counts them; for a process of its own, as the backend is JAX."""
    backend.select_backend("jax")
    import jax

    rows = 64
    core, inputs = network(plan_of(name, preset, sizes, length), rows)
    values = [variable.value for variable in core.trainable_variables], [variable.value for variable in core.non_trainable_variables]
    lowered = jax.jit(lambda t, n, x: core.stateless_call(t, n, x, training=False)[0]).lower(*values, inputs)
    return lowered.compile().cost_analysis()["flops"] / rows / 1e9


def main():
    """Train and predict on random tokens."""
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="slides", choices=[name for name in registry.REGISTRY if not registry.describe(name).baseline])
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--sizes", type=json.loads, default={}, help="sizes to be other than the preset's, as JSON")
    parser.add_argument("--length", type=int, default=110, help="of the window, in bp")
    parser.add_argument("--backend", default="jax", choices=["jax", "tensorflow"])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--precision", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--predictions", type=int, default=4096)
    parser.add_argument("--side", type=int, default=2048, help="of the matrices that are multiplied")
    arguments = common.parse(parser, model="biochemical", batch_size=32, steps=2, predictions=1024, side=256)
    device = backend.select_device(arguments.device, backend.select_backend(arguments.backend))
    import keras

    keras.utils.set_random_seed(0)
    with training_network.policy(arguments.precision):
        measure(arguments, device)


def measure(arguments, device):
    """Measure one network and print its figures."""
    size, plan = arguments.batch_size, plan_of(arguments.model, arguments.preset, arguments.sizes, arguments.length)
    core, inputs = network(plan, size)
    training = plan.training_options()
    optimizer = steppers.optimizer_of(training["optimizer"], training["weight_decay"], training["gradient_clip"])
    momentum = training["ema"]
    stepper = steppers.stepper(core, optimizer, OBJECTIVE, momentum)
    label, weight = np.random.default_rng(1).normal(size=(size, 1)).astype(np.float32), np.ones(size, np.float32)

    def train(steps):
        for _ in range(steps):
            loss = stepper.step(inputs, label, weight, training["learning_rate"], None)
        return float(loss)

    losses = [train(1)]
    first = time.perf_counter() - STARTED
    losses += [train(1) for _ in range(4)]
    with common.timed() as lap:
        train(arguments.steps)
    train_per_s, cpu = arguments.steps * size / lap.seconds, lap.cpu_seconds
    length, batch = plan.config["scaffold"]["length"], plan.config["prediction"]["batch_size"]
    predict = stepper.predictor(training_network.serving([core], OBJECTIVE, length, False, arguments.model), batch)
    tokens = np.random.default_rng(2).integers(0, 4, (arguments.predictions, length), dtype=np.uint8)
    predict(tokens[:batch])
    with common.timed() as lap:
        predict(tokens)
    predict_per_s = len(tokens) / lap.seconds
    peak = common.peak_rss_mb()
    sgemm = sgemm_gflops(arguments.side)
    gflop = common.call("training", "gflop_per_sequence", arguments.model, arguments.preset, arguments.sizes, arguments.length)
    common.finish(
        arguments,
        "NumPy's float32 matrix product",
        parameters=core.count_params(),
        device=device,
        losses=losses,
        train_per_s=round(train_per_s, 1),
        predict_per_s=round(predict_per_s, 1),
        gflop_per_sequence=round(gflop, 5),
        achieved_gflops=round(3 * gflop * train_per_s, 1),
        sgemm_gflops=round(sgemm, 1),
        ratio_vs_sgemm=round(3 * gflop * train_per_s / sgemm, 4),
        first_step_s=round(first, 1),
        train_cpu_ms=round(1000 * cpu / (arguments.steps * size), 3),
        peak_rss_mb=peak,
    )


if __name__ == "__main__":
    main()
