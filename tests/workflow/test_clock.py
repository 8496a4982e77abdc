"""A clock that is set back or forward between runs: no needless reruns, and no stale results."""

import os
from pathlib import Path

import pytest
import yaml

from gpraflow.app import run
from gpraflow.core import provenance
from tests.conftest import copy_finished, copy_workflow, snakemake
from tests.workflow.test_deployment import SMALL, write_promoters
from tests.workflow.test_reruns import dry_run

DAY = 24 * 3600 * 10**9  # ns
MAKE_RUN = tuple(run.OPTIONS)


def shift(paths, by):
    """Change the times of files, as if they had been written when the clock showed another day."""
    for path in paths:
        about = path.stat()
        os.utime(path, ns=(about.st_atime_ns + by, about.st_mtime_ns + by))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["set back", "set forward"])
def test_a_clock_that_is_set_after_a_run_reruns_nothing(finished_once, tmp_path, by):
    """Set back by a day, the clock shows a day less than the times of all results."""
    folder = copy_finished(finished_once, tmp_path / "copy")
    shift(files(folder / "results"), by)
    if by < 0:  # what the user wrote is older still
        shift([path for path in files(folder) if "results" not in path.parts], 2 * by)
    assert dry_run(folder, *MAKE_RUN) == []


def test_a_clock_that_is_set_back_in_the_middle_of_a_run_reruns_nothing(finished_once, tmp_path):
    """All after the tables was made a day before the tables, by the clock."""
    folder = copy_finished(finished_once, tmp_path / "copy")
    results = folder / "results/tiny"
    before = [results / name for name in ("simulated", "counts", "expression", "tables")]
    shift([path for path in files(results) if not any(path.is_relative_to(part) for part in before)], -DAY)
    assert dry_run(folder, *MAKE_RUN) == []
    # The limit of Snakemake: without checksums, as of files above 1 MB by default and 100 MB here, a rule looks out of date.
    found = dry_run(folder, *MAKE_RUN, "--max-checksum-file-size", "0")
    assert {"group_neighbours", "split_promoters"} <= set(found)


def test_a_changed_table_that_looks_old_is_read_again(tmp_path):
    """Changed while the clock was set back; or an older file took its place, as from a backup."""
    folder = copy_workflow(tmp_path / "copy")
    write_promoters(folder / "promoters.tsv", rows=40)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SMALL))
    table, target = folder / "promoters.tsv", "results/small/tables/library.parquet"
    done = snakemake(folder, target, "--configfile", "tiny.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    content, about = table.read_bytes(), table.stat()
    assert dry_run(folder, *MAKE_RUN, "--", target) == []
    table.write_bytes(content.replace(b"8.", b"9."))
    os.utime(table, ns=(about.st_atime_ns - DAY, about.st_mtime_ns - DAY))
    assert dry_run(folder, *MAKE_RUN, "--", target) == ["ingest_table"]
    assert dry_run(folder, "--", target) == ["ingest_table"]  # with Snakemake's own options too
    table.write_bytes(content)  # the old content with a new time
    assert dry_run(folder, *MAKE_RUN, "--", target) == []


def test_large_files_are_told_apart_by_size_and_time(tmp_path, monkeypatch):
    path = tmp_path / "reads.fastq"
    path.write_bytes(b"ACGT")
    first = provenance.identity(path)
    assert len(first) == 64
    os.utime(path, ns=(0, 0))
    assert provenance.identity(path) == first
    path.write_bytes(b"ACGA")
    assert provenance.identity(path) != first
    monkeypatch.setattr(provenance, "_HASHED", 3)
    large = provenance.identity(path)
    os.utime(path, ns=(0, 0))
    assert provenance.identity(path) not in (large, "")
    assert provenance.identity(Path(tmp_path, "none")) == ""
