"""Description of a run as an RO-Crate (https://w3id.org/ro/crate/1.1): what was made, of what, with which versions, under which licence.

The profile is Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5): one action, with the workflow as its instrument.
"""

import datetime
import mimetypes
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpraflow.core import checksums, files

METADATA = "ro-crate-metadata.json"
CONFIG = "config.complete.yaml"
LICENCE = "https://spdx.org/licenses/MIT"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
_LEFT_OUT = (".", "logs/", "benchmarks/", "shards/", "simulated/", "bucket/", "counts/bins/", "model/tensorboard/", "model/.training/")
SOFTWARE = ("gpraflow", "python", "snakemake", "keras", "jax", "tensorflow-cpu", "numpy", "polars")


def outputs(results: Path) -> list[Path]:
    """Return the results of a run that belong to the crate, sorted; not logs, shards, simulated reads and states of the training."""
    paths = (path.relative_to(results) for path in results.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.as_posix() != METADATA and not path.as_posix().startswith(_LEFT_OUT))


def crate(
    results: Path,
    *,
    run: str,
    title: str,
    sources: Sequence[Mapping[str, str]],
    licence: str,
    versions: Mapping[str, str],
    commit: str,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Return the content of ``ro-crate-metadata.json`` for the folder of a run.

    Parameters
    ----------
    results
        Folder of the run.
    run, title
        Name of the run, and one sentence on it.
    sources
        Input files with digests (`findings.digests`); they are described, and lie outside the crate.
    licence
        Licence of the data that the results are made of, an address or a sentence; may be empty.
    versions
        Package -> version.
    commit
        Commit of the code; may be empty.
    now
        Time of publication.
    """
    made = [_file(results, path) for path in outputs(results)]
    inputs = [_input(row) for row in sources]
    software = [_package(name, versions[name]) for name in SOFTWARE[1:] if name in versions]
    version = versions.get("gpraflow", "unknown")
    instrument = {
        "@id": f"pkg:generic/gpraflow@{version}",
        "@type": "SoftwareApplication",
        "name": "gpraflow",
        "description": "Snakemake workflow from promoter libraries to sequence-to-expression models",
        "softwareVersion": f"{version} (commit {commit})" if commit else version,
        "license": {"@id": LICENCE},
        "softwareRequirements": _references(software),
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run {run}",
        "description": title,
        "instrument": {"@id": instrument["@id"]},
        "object": _references([*inputs, {"@id": CONFIG}]),
        "result": _references([part for part in made if part["@id"] != CONFIG]),
        "agent": {"@id": "#operator"},
        "endTime": now.isoformat(timespec="seconds"),
    }
    place = licence if licence.startswith("https://") else "#licence"
    rights = {"@id": place, "@type": "CreativeWork", "name": licence or "not stated", "description": "Licence of the results"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"gpraflow run {run}",
        "description": title,
        "datePublished": now.isoformat(timespec="seconds"),
        "license": {"@id": rights["@id"]},
        "author": {"@id": "#operator"},
        "conformsTo": {"@id": PROFILE},
        "hasPart": _references(made),
        "mentions": {"@id": "#run"},
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    others = [
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {"@id": "#operator", "@type": "Person", "name": "operator of the run"},
        {"@id": LICENCE, "@type": "CreativeWork", "name": "MIT License", "description": "Licence of gpraflow", "identifier": LICENCE},
    ]
    others += [rights] if rights["@id"] != LICENCE else []
    return {"@context": _CONTEXT, "@graph": [descriptor, root, action, instrument, *software, *others, *inputs, *made]}


def _references(entities: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _package(name: str, version: str) -> dict[str, Any]:
    """Return the entity of a Python package, identified by its package URL (https://github.com/package-url/purl-spec)."""
    url = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
    place = f"pkg:generic/python@{version}" if name == "python" else f"pkg:pypi/{name}@{version}"
    return {"@id": place, "@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": url}


def _file(results: Path, path: Path) -> dict[str, Any]:
    """Return the entity of an output."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    about = {"@id": path.as_posix(), "@type": "File", "name": path.name, "encodingFormat": kind}
    digests = checksums.digests(results / path)
    return about | {"contentSize": str(digests["bytes"]), "sha256": digests["sha256"]}


def _input(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the entity of an input: by its digest, because paths of one machine mean nothing on another."""
    name = Path(row["file"]).name
    known = len(row["sha256"]) == 64
    about = {"@id": f"#{row['sha256'] if known else name}", "@type": "CreativeWork", "name": name, "description": f"input: {row['what']}"}
    return about | ({"sha256": row["sha256"]} if known else {}) | ({"identifier": row["published as"]} if row["published as"] else {})


def write(content: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write the metadata file."""
    files.write_json(path, content)
