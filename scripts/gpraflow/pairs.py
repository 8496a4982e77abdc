"""Merging the two mates of read pairs into one read of the whole insert, with fastp."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpraflow import files, reads
from gpraflow.errors import GpraflowError, InputError
from gpraflow.ledger import Ledger

_FAILED = {
    "low_quality_reads": "fastp: low quality",
    "too_many_N_reads": "fastp: too many N",
    "too_short_reads": "fastp: too short",
    "too_long_reads": "fastp: too long",
}


def merge(first: Sequence[str], second: Sequence[str], merged: str, report: str, min_overlap: int, ledger: Ledger, threads: int) -> int:
    """Merge read pairs by their overlap and write them as one FASTQ file.

    fastp (Chen 2023, doi:10.1002/imt2.107) finds the overlap and corrects mismatches in it by quality; its filters of quality and
    length are off, so that reads are lost in one place only.

    Parameters
    ----------
    first, second
        Files of first and second mates, the same number of files (lanes).
    merged
        FASTQ file to write, gzip.
    report
        fastp's JSON reports, one a lane, to write as a list.
    min_overlap
        Least overlap in bp.
    ledger
        Takes pairs in and those that do not overlap.
    threads
        Of fastp.

    Returns
    -------
    int
        Merged reads.

    Raises
    ------
    GpraflowError
        If fastp is not installed or fails.
    InputError
        If the files of a pair differ in their number of reads or one is cut off.
    """
    program = shutil.which("fastp")
    if program is None:
        raise GpraflowError(
            f"{first[0]}: pairs are merged by fastp, which is not installed; install it (apt install fastp, or conda: bioconda::fastp, or "
            "run Snakemake with --software-deployment-method conda), or give merged or single-end reads without reads_2"
        )
    reports, out = [], 0
    with files.whole(merged) as target, tempfile.TemporaryDirectory(dir=Path(target).parent) as folder, open(target, "wb") as joined:
        for one, two in zip(first, second, strict=True):
            pairs, mates = reads.count_records(one), reads.count_records(two)
            if pairs != mates:
                raise InputError(f"{one} has {pairs:,} reads, {two} has {mates:,}; pairs need as many: one of the files is not whole")
            ledger.read(pairs)
            if not pairs:
                continue
            part, json_file = Path(folder, "merged.fastq.gz"), Path(folder, "fastp.json")
            # fmt: off
            command = [
                program, "--in1", one, "--in2", two, "--merge", "--merged_out", str(part), "--correction",
                "--overlap_len_require", str(min_overlap), "--disable_quality_filtering", "--disable_length_filtering",
                "--dont_eval_duplication", "--compression", "1", "--thread", str(threads),
                "--json", str(json_file), "--html", str(Path(folder, "fastp.html")),
            ]
            # fmt: on
            done = subprocess.run(command, capture_output=True, text=True)
            print(done.stderr, flush=True)
            if done.returncode:
                raise GpraflowError(f"{one}, {two}: fastp failed:\n{done.stderr.strip()[-800:]}")
            found = json.loads(json_file.read_text(encoding="utf-8"))
            reports.append({"reads": one, "reads_2": two, **{key: found[key] for key in found if key != "command"}})
            failed = {text: found["filtering_result"].get(key, 0) // 2 for key, text in _FAILED.items()}
            united = found["merged_and_filtered"]["total_reads"]
            for text, lost in failed.items():
                if lost:
                    ledger.drop(text, lost)
            ledger.drop("mates do not overlap", pairs - united - sum(failed.values()))
            out += united
            with open(part, "rb") as handle:
                shutil.copyfileobj(handle, joined)  # gzip files one after the other are a gzip file
    files.write_json(report, reports)
    return out
