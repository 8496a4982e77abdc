"""Random numbers: each step derives its own generator from the seed in the config."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive(seed: int, *names: object) -> int:
    """Return a 63-bit seed for a step: a hash of the seed and the step's names, so that steps use independent random numbers."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return the generator of a step (PCG64)."""
    import numpy as np  # here, since the Snakefile derives seeds where NumPy may be missing

    return np.random.Generator(np.random.PCG64(derive(seed, *names)))
