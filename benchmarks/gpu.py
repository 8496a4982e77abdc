"""All networks on the accelerator of this machine: training and prediction, beside the same networks of stock PyTorch layers.

python benchmarks/gpu.py [--minutes 10] [--models dream_cnn legnet ...] [--preset paper] [--batch-sizes 128 512 1024] [--steps 30]
    [--device auto] [--torch PYTHON]
Each case (network, backend, precision, batch size) is a process of its own. Cases run in the order of their use until the time is up; what
was left out is named. PyTorch is no dependency of gpraflow: --torch names a Python that has it. Then dream_cnn, legnet and dream_rnn run in
PyTorch right after ours, eager and with torch.compile.

The last line is JSON: device; peak_gflops (matrix product of the device, for each precision); cases, each with model, backend, precision,
batch_size, parameters, train_per_s and predict_per_s (sequences), share_of_peak (three forward passes a training step, over peak_gflops),
torch_train_per_s, torch_compiled_train_per_s, ratio_vs_torch and ratio_vs_torch_compiled (ours over PyTorch's, in training);
pipeline_per_s (promoters read from shards) and pipeline_ratio (over the fastest training); loss_difference (model -> largest relative
difference of its first five losses from those on the CPU); left_out; versions (driver of the GPU, JAX's CUDA plugin here and in the lock
file, where versions of Python may differ).
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata

import common

from gpraflow.models import registry

NETWORKS = ["dream_cnn", "legnet", "dream_rnn", "compact", "slides", "vaishnav_transformer", "vaishnav_cnn", "dream_attn", "biochemical"]
IN_TORCH = ("dream_cnn", "legnet", "dream_rnn")
DTYPES = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
SMALL = {"dream_cnn": {"first_filters": 16, "first_kernel_sizes": [9], "block_filters": [8], "expansion": 1}}
SECONDS = 60  # what a case takes at most, by experience; none is begun with less time left


def peak(dtype, side):
    """Return GFLOP/s of the device's matrix product; for a process of its own."""
    import jax

    a = jax.numpy.ones((side, side), dtype)
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    repeats = 20
    with common.timed() as lap:
        for _ in range(repeats):
            last = product(a)
        last.block_until_ready()
    return repeats * 2 * side**3 / 1e9 / lap.seconds


def torch_rates(name, sizes, batch_size, steps, compiled, precision):
    """Return training sequences a second of PyTorch's network and its number of parameters; for a process of its own, which has PyTorch."""
    import networks_torch
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_per_s, predict_per_s, parameters = networks_torch.train(name, sizes, batch_size, steps, compiled, device, precision)
    return {"train_per_s": train_per_s, "predict_per_s": predict_per_s, "parameters": parameters}


def ours(case, arguments, device, steps=None):
    """Return the figures of benchmarks/training.py for one case."""
    model, backend, precision, batch_size = case
    command = [sys.executable, common.ROOT / "benchmarks/training.py", *(["--smallest"] if arguments.smallest else [])]
    command += ["--model", model, "--backend", backend, "--precision", precision, "--batch-size", batch_size, "--device", device]
    command += ["--preset", arguments.preset if arguments.preset in registry.describe(model).presets else "auto"]
    command += ["--sizes", json.dumps(SMALL.get(model, {}) if arguments.smallest else {})]
    return common.last_line([*command, "--steps", steps or arguments.steps])


def beside_torch(case, arguments, found):
    """Return the figures of PyTorch for one case, and ours over them."""
    model, _, precision, batch_size = case
    sizes = registry.describe(model).presets[arguments.preset] | (SMALL.get(model, {}) if arguments.smallest else {})
    figures = {}
    for key, compiled in (("torch", False), ("torch_compiled", True)):
        if compiled and arguments.eager_only:
            continue
        theirs = common.call("gpu", "torch_rates", model, sizes, batch_size, arguments.steps, compiled, precision, python=arguments.torch)
        figures[f"{key}_train_per_s"] = round(theirs["train_per_s"], 1)
        figures[f"ratio_vs_{key}"] = round(found["train_per_s"] / theirs["train_per_s"], 2)
    return figures


def versions():
    """Return what is installed and what the lock file for GPUs pins."""
    plugin = "jax-cuda12-plugin"
    pins = re.findall(
        rf"^{plugin}(?:\[[^]]*\])?==([^ \\;]+)", (common.ROOT / "requirements/gpraflow-cuda.lock").read_text(), flags=re.MULTILINE
    )
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True).stdout.strip() if shutil.which("nvidia-smi") else None
    here = metadata.version(plugin) if importlib.util.find_spec("jax_cuda12_plugin") else None
    return {"gpu": driver, plugin: here, f"{plugin}_locked": pins}


def main():
    """Measure case after case until the time is up."""
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--models", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--backends", nargs="+", default=["jax", "tensorflow"], choices=["jax", "tensorflow"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1024, 128])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices that are multiplied")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the shards that are read")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--torch", metavar="PYTHON", help="Python that has PyTorch; without it nothing is compared")
    parser.add_argument("--eager-only", action="store_true", help="PyTorch without torch.compile, which needs a C++ compiler")
    small = {"models": ["biochemical"], "backends": ["jax"], "batch_sizes": [32], "steps": 2, "side": 256, "rows": 2000, "preset": "small"}
    arguments = common.parse(parser, **small)
    end = time.monotonic() + 60 * arguments.minutes

    peaks = {precision: round(common.call("gpu", "peak", dtype, arguments.side), 1) for precision, dtype in DTYPES.items()}
    readers = [sys.executable, common.ROOT / "benchmarks/readers.py", *(["--smallest"] if arguments.smallest else [])]
    read = common.last_line([*readers, "--rows", arguments.rows, "--slides-rows", 1000])["memmap_per_s"]
    wanted = [
        (model, backend, precision, size)
        for backend in arguments.backends
        for size in arguments.batch_sizes
        for precision in DTYPES
        for model in arguments.models
    ]
    cases, left_out, losses, device = [], [], {}, None
    for number, case in enumerate(wanted, start=1):
        if time.monotonic() > end - (0 if arguments.smallest else SECONDS):
            left_out.append(dict(zip(("model", "backend", "precision", "batch_size"), case, strict=True)))
            continue
        model, backend, precision, size = case
        found = ours(case, arguments, arguments.device)
        device = device or found["device"]
        figures = {"model": model, "backend": backend, "precision": precision, "batch_size": size, "parameters": found["parameters"]}
        figures |= {key: found[key] for key in ("train_per_s", "predict_per_s")}
        figures["share_of_peak"] = round(found["achieved_gflops"] / peaks[precision], 4)
        if arguments.torch and backend == "jax" and model in IN_TORCH:
            figures |= beside_torch(case, arguments, found)
        if backend == "jax" and precision == "float32" and size == min(arguments.batch_sizes):
            on_cpu = ours(case, arguments, "cpu", steps=1)["losses"]
            losses[model] = max(abs(a / b - 1) for a, b in zip(found["losses"], on_cpu, strict=True))
        cases.append(figures)
        print(f"{number} of {len(wanted)}: {figures}", file=sys.stderr)
    fastest = max(case["train_per_s"] for case in cases)
    common.finish(
        arguments,
        "PyTorch" if arguments.torch else None,
        "" if arguments.torch else "no Python with PyTorch was given (--torch)",
        device=device,
        peak_gflops=peaks,
        cases=cases,
        pipeline_per_s=read,
        pipeline_ratio=round(read / fastest, 2),
        loss_difference=losses,
        left_out=left_out,
        versions=versions(),
    )


if __name__ == "__main__":
    main()
