"""The content of ``model.json``, which describes a trained model."""

import os
from typing import Any

from gpraflow.core import schema as schemas

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
        If the file is damaged, or has other keys or values than ``workflow/schemas/files/model.schema.yaml``.
    """
    about = schemas.read_json(path, "model", "train the model again")
    if "training" in about:
        about["training"] = {RENAMED.get(name, name): value for name, value in about["training"].items()}
    return {"conditions": []} | about
