"""Check of a training configuration for a TPU without TPU hardware: Google's compiler in libtpu compiles the training step.

The check shows whether the step compiles, its precision, whether gradients are summed over the chips, and whether it fits into memory.
It does not run the step: times are estimates from the chips' published peak performance.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from gpraflow.core.conditions import readouts
from gpraflow.core.errors import ConfigError, TrainingError, nearest
from gpraflow.models import backend, registry
from gpraflow.training import data, network, steppers
from gpraflow.training import options as training_options


@dataclass(frozen=True)
class Slice:
    """A TPU slice: libtpu's name, number of chips, and per chip: peak bfloat16 TFLOP/s, memory in GB, memory bandwidth in GB/s."""

    topology: str
    chips: int
    tflops: float
    memory: float
    bandwidth: float


SLICES = {  # source: cloud.google.com/tpu/docs, pages of the TPU generations
    "v3-8": Slice("v3:2x2", 4, 123, 32, 900),
    "v4-8": Slice("v4:2x2x1", 4, 275, 32, 1228),
    "v5e-8": Slice("v5e:2x4", 8, 197, 16, 819),
    "v5p-8": Slice("v5p:2x2x1", 4, 459, 95, 2765),
    "v6e-8": Slice("v6e:2x4", 8, 918, 32, 1638),
}
# Assumed range of utilisation, as fractions of peak. Small convolutions, recurrence and elementwise operations are far below peak.
UTILISATION = (0.05, 0.40)
_SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server exists
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # other processes may compile at the same time
}


def slice_of(name: str) -> Slice:
    """Return the TPU slice of this name."""
    if name not in SLICES:
        raise ConfigError(f"tpu.topology: '{name}' is not one of {', '.join(SLICES)}{nearest(name, SLICES)}")
    return SLICES[name]


def check(
    blueprint: training_options.Blueprint,
    options: training_options.Options,
    length: int,
    *,
    topology: str,
    promoters: int,
    price: float,
    conditions: Sequence[str] = (),
) -> dict[str, Any]:
    """Compile the training step for a TPU, and summarise the result.

    Parameters
    ----------
    blueprint, options
        Network and training options, as in `training.train`.
    length
        Promoter window in bp.
    topology
        One of `SLICES`.
    promoters
        Training promoters per epoch.
    price
        Price of the TPU in US dollars per hour; 0 if unknown.
    conditions
        Conditions in which the library was measured; empty for one.

    Returns
    -------
    dict
        See `summary`.

    Raises
    ------
    ConfigError
        If the batch is not divisible by the number of devices, the architecture is a baseline, or libtpu is missing.
    TrainingError
        If the step does not fit into the chips' memory, or does not compile.
    """
    tpu = slice_of(topology)
    if registry.describe(blueprint.name).baseline:
        raise ConfigError(f"model.name: '{blueprint.name}' is not trained by gradient descent; it needs no TPU")
    try:
        libtpu = version("libtpu")
    except PackageNotFoundError:
        raise ConfigError("libtpu is not installed here; use `make tpu-check`, which uses a separate environment") from None
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    backend.select_backend("jax")
    began = time.monotonic()
    compiled, devices, parameters = _compiled(blueprint, options, length, tpu, topology, conditions)
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis() or {}, compiled.as_text()
    about: dict[str, Any] = {
        "model": f"{blueprint.name}/{blueprint.preset}",
        "parameters": parameters,
        "topology": topology,
        "devices": devices,
        "batch_size": options.batch_size,
        "precision": options.precision,
        "gflop_per_step": float(cost.get("flops", 0.0)) * devices / 1e9,
        "gbytes_per_step": float(cost.get("bytes accessed", 0.0)) * devices / 1e9,
        "memory_gb": memory.peak_memory_in_bytes / 1e9,
        "memory_of_device_gb": tpu.memory * tpu.chips / devices,
        **counts(text),
        "seconds_to_compile": round(time.monotonic() - began, 1),
        "versions": {"libtpu": libtpu, "jax": version("jax"), "keras": version("keras")},
    }
    if options.precision == "mixed_bfloat16" and about["convolutions_float32"] > about["convolutions_bfloat16"]:
        raise TrainingError(f"most convolutions are float32 despite training.precision {options.precision}; report this as a bug")
    if devices > 1 and not about["all_reduces"]:
        raise TrainingError(f"gradients are not summed over the {devices} chips; report this as a bug")
    return about | estimate(tpu, about["gflop_per_step"], about["gbytes_per_step"], promoters // options.batch_size, price)


def _compiled(
    blueprint: training_options.Blueprint, options: training_options.Options, length: int, tpu: Slice, name: str, conditions: Sequence[str]
) -> tuple[Any, int, int]:
    """Return the compiled step, its number of devices, and the number of network parameters."""
    import jax
    import keras
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    places = topologies.get_topology_desc(platform="tpu", topology_name=tpu.topology).devices
    if options.batch_size % len(places):
        raise ConfigError(f"training.batch_size: {options.batch_size} cannot be distributed over the {len(places)} devices of a {name}")
    mesh = Mesh(np.array(places), ("batch",))
    whole, spread = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
    # Placeholder labels: apart from the number of bins, labels do not affect the compiled step.
    labels = np.linspace(0, options.bins - 1, 64).astype(np.float32)[:, None]
    objective = data.objective_of(np.repeat(labels, len(conditions) or 1, axis=1), None, options, conditions)
    with network.policy(options.precision):
        core = network.build_core(blueprint, length, objective, "member_0")
        optimizer = steppers.optimizer_of(options.optimizer, options.weight_decay, options.gradient_clip)
        optimizer.build(core.trainable_variables)
        step = steppers.jax_step(core, optimizer, objective, options.ema)

        def like(variable: Any) -> Any:
            return jax.ShapeDtypeStruct(variable.shape, variable.dtype, sharding=whole)

        averages = core.trainable_variables if options.ema else []
        groups = (core.trainable_variables, core.non_trainable_variables, optimizer.variables, averages)
        state = [[like(variable) for variable in group] for group in groups]
        rows = options.batch_size
        inputs = [
            jax.ShapeDtypeStruct((rows, *each.shape[1:]), np.uint8 if each.name == "tokens" else np.float32, sharding=spread)
            for each in core.inputs
        ]
        target = jax.ShapeDtypeStruct((rows, objective.outputs), np.float32, sharding=spread)
        losses = len(readouts(conditions)) if options.difference_weight else len(conditions)
        weight = jax.ShapeDtypeStruct((rows, losses) if conditions else (rows,), np.float32, sharding=spread)
        number = jax.ShapeDtypeStruct((), np.float32, sharding=whole)
        lowered = jax.jit(step, donate_argnums=0).lower(state, inputs, target, weight, number, number, None)
        try:
            compiled = lowered.compile()
        except Exception as error:
            raise TrainingError(
                too_large(str(error), name, options.batch_size) or f"the training step does not compile for {name}: {error}"
            ) from error
    parameters = int(sum(np.prod(variable.shape) for variable in core.weights))
    keras.utils.clear_session(free_memory=True)
    return compiled, len(places), parameters


def too_large(text: str, topology: str, batch_size: int) -> str:
    """Return the error message for a compiler message about insufficient memory; empty for other compiler messages."""
    match = re.search(r"([\d.]+)([KMG])[^.]*?(?:exceeds|of)[^.]*?([\d.]+)G", text) if "hbm" in text.lower() or "RESOURCE" in text else None
    if not match:
        return ""
    needed = float(match[1]) / {"K": 1 << 20, "M": 1 << 10, "G": 1}[match[2]]
    room = float(match[3])
    return (
        f"training.batch_size: {batch_size} needs {needed:.1f} GB of {room:.1f} GB on each device of a {topology}; set a smaller batch size"
    )


def counts(text: str) -> dict[str, int]:
    """Count convolutions (including matrix products), all-reduces and loops in the text of a compiled program."""
    return {
        "convolutions_bfloat16": len(re.findall(r"= bf16\[[^\n]*convolution\(", text)),
        "convolutions_float32": len(re.findall(r"= f32\[[^\n]*convolution\(", text)),
        "all_reduces": len(re.findall(r"\ball-reduce(?:-start)?\(", text)),
        "loops": len(re.findall(r"\bwhile\(", text)),
    }


def estimate(tpu: Slice, gflop: float, gbytes: float, steps: int, price: float) -> dict[str, Any]:
    """Return ranges of time and cost per epoch, limited by the slower of arithmetic and memory at `UTILISATION` of their peak."""
    seconds = [
        steps * max(gflop / (tpu.tflops * 1e3 * tpu.chips * share), gbytes / (tpu.bandwidth * tpu.chips * min(1.0, 2 * share)))
        for share in reversed(UTILISATION)
    ]
    return {
        "steps_per_epoch": steps,
        "assumed_utilisation": list(UTILISATION),
        "seconds_per_epoch": [round(value, 3) for value in seconds],
        "dollars_per_epoch": [round(value / 3600 * price, 4) for value in seconds] if price else None,
    }


def summary(about: Mapping[str, Any]) -> str:
    """Return the result of `check` as text."""
    low, high = about["seconds_per_epoch"]
    cost = about["dollars_per_epoch"]
    lines = [
        f"{about['model']}, {about['parameters']:,} parameters, batch {about['batch_size']}, {about['precision']}: "
        f"compiles for {about['topology']} ({about['devices']} devices)",
        f"memory: {about['memory_gb']:.2f} GB of {about['memory_of_device_gb']:.0f} GB on each device",
        f"arithmetic: {about['gflop_per_step']:,.0f} GFLOP a step, {about['gbytes_per_step']:,.1f} GB moved; loops are counted once",
        f"convolutions: {about['convolutions_bfloat16']} bfloat16, {about['convolutions_float32']} float32; "
        f"{about['all_reduces']} all-reduces; {about['loops']} loops",
        f"an epoch of {about['steps_per_epoch']:,} steps: {low:,.1f} to {high:,.1f} s, if {about['assumed_utilisation'][1]:.0%} to "
        f"{about['assumed_utilisation'][0]:.0%} of the peak are reached (an assumption; nothing was run on a TPU)",
        f"which costs ${cost[0]:.2f} to ${cost[1]:.2f}" if cost else "its cost: set tpu.price to US dollars per hour (docs/tpu.md)",
    ]
    return "\n".join(lines)
