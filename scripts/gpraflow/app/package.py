"""Make a trained model part of the package: ``python -m gpraflow.app.package NAME CONFIG ...`` after a run, as ``make models`` does.

The folder has ``model.keras``, ``model.json``, ``calibration.json`` and the model card. Kernels are stored in half precision if predictions
change by less than 1e-3.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.app import overlays
from gpraflow.app.plan import Plan
from gpraflow.core import checksums, documents, files
from gpraflow.core.errors import GpraflowError, explained
from gpraflow.models import directory as models_directory
from gpraflow.prediction import calibration
from gpraflow.report import findings, model_card
from gpraflow.sequences.scaffold import BASES

LARGEST_CHANGE = 1e-3  # of a prediction, by weights in half precision
LARGEST_SIZE = 8_000_000  # bytes of a packaged model
_COMPARED = 2000  # random promoters
_KEPT = ("model.json", calibration.FILE)


def package(source: str | os.PathLike, target: str | os.PathLike, card: Mapping[str, Any]) -> float:
    """Write a model directory for the package, and return the largest change of a prediction by half precision.

    Parameters
    ----------
    source
        Model directory of a run.
    target
        New folder.
    card
        Model card of the run; its name becomes that of the folder.

    Raises
    ------
    GpraflowError
        If the folder would be larger than 8 MB.
    """
    source, target = Path(source), Path(target)
    about, known = (documents.of_json(documents.read_text(source / name), str(source / name)) for name in _KEPT)
    files.write_json(target / "model.json", about)
    models_directory.write_half(source / "model.keras", target / "model.keras")
    change = _change(source, target)
    if change >= LARGEST_CHANGE:
        with files.whole(target / "model.keras") as temporary:
            shutil.copyfile(source / "model.keras", temporary)
    digest = {"model_sha256": checksums.digests(target / "model.keras")["sha256"]}
    if "readouts" in known:
        known = {"readouts": {name: part | digest for name, part in known["readouts"].items()}}
    else:
        known |= digest
    files.write_json(target / calibration.FILE, known)
    remark = (
        f"Kernels are stored in half precision, which changes predictions by at most {change:.1g}; scores are those before."
        if change < LARGEST_CHANGE
        else f"Weights are stored in single precision, because half precision would change predictions by {change:.1g}."
    )
    model_card.write({**card, "name": target.name, "remarks": [*card["remarks"], remark]}, target)
    if (size := sum(path.stat().st_size for path in target.iterdir())) > LARGEST_SIZE:
        raise GpraflowError(f"{target}: {size:,} bytes, more than {LARGEST_SIZE:,}; train fewer members or a smaller network")
    return change


def _change(before: Path, after: Path) -> float:
    """Return the largest difference between the predictions of two model directories for random promoters."""
    (old, about), (new, _) = models_directory.load(before), models_directory.load(after)
    tokens = np.random.default_rng(0).integers(0, BASES, (_COMPARED, about["input"]["length"])).astype(np.int32)
    return float(np.abs(old.predict(tokens, verbose=0) - new.predict(tokens, verbose=0)).max())


def main(given: Sequence[str] | None = None) -> int:
    """Package the model of a finished run."""
    parser = argparse.ArgumentParser(prog="python -m gpraflow.app.package", description=__doc__)
    parser.add_argument("target", metavar="FOLDER", help="new folder, such as resources/models/yeast-ypd")
    parser.add_argument("config", nargs="+", metavar="CONFIG", help="config files of the run")
    parser.add_argument("--config", dest="settings", nargs="+", default=[], metavar="KEY=VALUE", help="config keys, such as data=../data")
    options = parser.parse_args(given)
    try:
        plan = Plan(overlays.read(options.config, options.settings))
        results = Path("results", plan.config["run"])
        sources = findings.digests(plan.input_files())
        card = model_card.of_run(results=results, config=plan.config, sources=sources, scaffolds_file=plan.scaffolds)
        change = package(results / "model", options.target, card)
    except GpraflowError as error:
        print(explained(error), file=sys.stderr)
        return 1
    sizes = {path.name: path.stat().st_size for path in sorted(Path(options.target).iterdir())}
    print(json.dumps({"model": Path(options.target).name, "largest_change": change, "bytes": sizes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
