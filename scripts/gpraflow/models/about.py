"""The content of ``model.json``, which describes a trained model."""

import json
import os
from typing import Any

from gpraflow.core.errors import InputError

# Training options: names in version 0.1 -> names since version 0.2.
RENAMED = {
    "average": "ema",
    "average_strands": "rc_averaging",
    "reverse_complement": "rc_augmentation",
    "guard": "divergence_factor",
}


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a ``model.json``, with ``conditions`` (empty for one) as all models before version 0.3 had one.

    Training options of version 0.1 are renamed to the current names.

    Raises
    ------
    InputError
        If the file is not JSON.
    """
    with open(path, encoding="utf-8") as handle:
        try:
            about = json.load(handle)
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); train the model again") from None
    if "training" in about:
        about["training"] = {RENAMED.get(name, name): value for name, value in about["training"].items()}
    return {"conditions": []} | about
