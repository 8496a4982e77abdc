"""TF-MoDISco (modisco-lite) on the ISM effects of motifs.py, which calls `discover` in a Python that has modisco-lite."""

import common
import numpy as np
from modiscolite import tfmodisco

INFORMATION = 0.25  # bits


def trimmed(frequencies):
    """Return the columns from the first to the last with at least .25 bit."""
    frequencies = (frequencies + 1e-3) / (frequencies + 1e-3).sum(axis=1, keepdims=True)
    there = np.flatnonzero(2 + (frequencies * np.log2(frequencies)).sum(axis=1) >= INFORMATION)
    return frequencies[there[0] : there[-1] + 1] if len(there) else frequencies[:0]


def discover(source, target, changed):
    """Write the base frequencies of each pattern, ``(width, 4)``, that with the most seqlets first, to ``target`` (.npz).

    ``source`` (.npz) has ``tokens``, ``(promoters, length)``, and ``effects`` of each base, ``(promoters, length, 4)``. Hypothetical
    contributions are effects less their mean over the bases of a position, and 0 where nothing was mutated. ``changed`` are the keyword
    arguments of `TFMoDISco` that differ from its defaults. Returns the number of patterns and of seqlets in them, seconds and CPU seconds;
    kernels are compiled at the first call on a machine.
    """
    with np.load(source) as given:
        tokens, effects = given["tokens"], given["effects"]
    one_hot = np.eye(5, 4, dtype=np.float32)[np.minimum(tokens, 4)]
    contributions = np.nan_to_num(effects - effects.mean(axis=2, keepdims=True)).astype(np.float32)
    with common.timed() as lap:
        found = tfmodisco.TFMoDISco(one_hot, contributions, **changed)
    patterns = sorted((pattern for patterns in found for pattern in patterns or []), key=lambda one: -len(one.seqlets))
    frequencies = [trimmed(np.asarray(pattern.sequence)) for pattern in patterns]
    np.savez(target, *[each for each in frequencies if len(each) >= 4])
    seqlets = sum(len(pattern.seqlets) for pattern in patterns)
    return {"patterns": len(patterns), "seqlets": seqlets, "seconds": lap.seconds, "cpu_seconds": lap.cpu_seconds}
