"""Learning-rate schedules."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "one_cycle"]


def rate(schedule: Schedule, peak: float, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate at a step.

    Parameters
    ----------
    schedule
        ``constant``; ``cosine``: linear warm-up from 4 % of the peak, then half a cosine to 1 % (Loshchilov & Hutter 2017,
        arXiv:1608.03983); ``one_cycle``: half a cosine up from 4 % in the first 30 % of steps, half a cosine down to 0.0004 % (Smith &
        Topin 2018, arXiv:1708.07120, with PyTorch's shape and default values).
    peak
        Maximum learning rate.
    step, steps
        Step (from 0) and total number of steps.
    warmup
        Steps of the linear warm-up; at most a quarter of ``steps``.
    """
    if schedule == "constant":
        return peak
    if schedule == "one_cycle":
        top = max(1.0, 0.3 * steps - 1)
        if step <= top:
            return _between(peak / 25, peak, step / top)
        return _between(peak, peak / 25e4, (step - top) / max(1.0, steps - 1 - top))
    warmup = min(warmup, steps // 4)
    if step < warmup:
        return peak * (0.04 + 0.96 * step / warmup)
    return _between(peak, 0.01 * peak, (step - warmup) / max(1, steps - warmup))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
