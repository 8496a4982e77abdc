"""Files that may not be read are named in messages, whoever reads them."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from gpraflow.app import overlays
from gpraflow.assay import fastq
from gpraflow.core import config as configs
from gpraflow.core import errors
from gpraflow.core import schema as schemas
from gpraflow.core.errors import GpraflowError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, records, text
from gpraflow.models import about
from gpraflow.prediction import calibration, variants
from gpraflow.sequences import motif_files, scaffold
from gpraflow.shards import upload


@pytest.fixture
def of_another_user():
    """A function that writes a file which the process may not read; root gives up its rights for the test."""
    folder = Path(tempfile.mkdtemp())  # below tmp_path, other users may not search
    folder.chmod(0o755)
    user = os.geteuid()

    def write(name, reader):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        with contextlib.suppress(Exception):
            reader(path)  # imports what it needs, which only root may be able to
        path.chmod(0)
        if not user:
            os.seteuid(65534)
        if os.access(path, os.R_OK, effective_ids=True):
            pytest.skip("this process may read everything")
        return path

    yield write
    os.seteuid(user)
    shutil.rmtree(folder)


UNREADABLE = {
    "motifs.jaspar": motif_files.read,
    "motifs.meme": motif_files.read,
    "bins.tsv": lambda path: schemas.load_sheet(path, schemas.load("sample_sheet")),
    "bins.xlsx": lambda path: schemas.load_sheet(path, schemas.load("sample_sheet")),
    "library.tsv": lambda path: next(text.read_blocks(path, "auto", True)),
    "library.tsv.gz": lambda path: next(text.read_blocks(path, "auto", True)),
    "library.parquet": lambda path: next(text.read_blocks(path, "auto", True)),
    "library.xlsx": lambda path: next(text.read_blocks(path, "auto", True)),
    "promoters.parquet": promoters.read,
    "reads.fastq.gz": lambda path: next(fastq.whole_records(str(path))),
    "promoters.fa": records.read_sequences,
    "variants.vcf": lambda path: list(variants.read(path, path, Ledger("x", "y"))),
    "model/model.json": about.read,
    "model/calibration.json": calibration.load,
    "upload.json": upload.read_receipt,
    "bucket/train/manifest.json": lambda path: upload.verify(f"file://{path.parents[1]}", print),
    "scaffolds.yaml": lambda path: scaffold.load(path, "mine"),
    "registry.yaml": lambda path: configs.load_registry(path, schemas.load("registry")),
    "mine.yaml": lambda path: overlays.load(str(path)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_of_another_user_is_blamed(of_another_user, name):
    """Motifs, sheets, inputs, models, manifests: each reader gives a message that begins with the file, and says why."""
    path = of_another_user(name, UNREADABLE[name])
    with pytest.raises((GpraflowError, OSError)) as caught:
        UNREADABLE[name](path)
    message = errors.explained(caught.value)
    assert message.startswith(str(path))
    assert "Permission denied" in message
