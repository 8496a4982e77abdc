"""Merge paired reads that span the insert into single reads, with fastp."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gpraflow.assay import fastq, reads
from gpraflow.core import files
from gpraflow.core.errors import GpraflowError, InputError
from gpraflow.core.ledger import Ledger

_FAILED = {
    "low_quality_reads": "fastp: low quality",
    "too_many_N_reads": "fastp: too many N",
    "too_short_reads": "fastp: too short",
    "too_long_reads": "fastp: too long",
}


def merge(
    first: Sequence[str],
    second: Sequence[str],
    merged: str,
    report: str,
    ledger: Ledger,
    min_overlap: int = 30,
    quality_offset: int = 33,
    min_yield: float = 0.5,
    threads: int = 1,
) -> int:
    """Merge read pairs by their overlap and write them to one FASTQ file.

    fastp (Chen 2023, doi:10.1002/imt2.107) detects the overlap and corrects mismatches in it towards the base of higher quality. Its
    quality and length filters and poly-G trimming are disabled: only `reads.count` filters reads by quality and length.

    Parameters
    ----------
    first, second
        FASTQ files of first and second mates, one pair of files per lane.
    merged
        Output FASTQ file, gzip.
    report
        Output file with the list of fastp's JSON reports, one per lane.
    ledger
        Records input pairs and pairs that do not overlap.
    min_overlap
        Minimum overlap in bp.
    quality_offset
        Phred offset of the input, 33 or 64. Merged reads have offset 33.
    min_yield
        Minimum fraction of pairs that must merge (`reads.check_yield`).
    threads
        Number of fastp threads.

    Returns
    -------
    int
        Number of merged reads.

    Raises
    ------
    GpraflowError
        If fastp is not installed or fails.
    InputError
        If mate files differ in their number of reads, a file is not FASTQ or is truncated, or too few pairs merge.
    """
    program = shutil.which("fastp")
    if program is None:
        raise GpraflowError(
            f"{first[0]}: pairs are merged by fastp, which is not installed; install it (apt install fastp, or conda: bioconda::fastp, or "
            "run Snakemake with --software-deployment-method conda), or give merged or single-end reads without reads_2"
        )
    reports, out = [], 0
    with files.whole(merged) as target, files.scratch_folder(merged) as folder, open(target, "wb") as joined:
        for one, two in zip(first, second, strict=True):
            pairs, mates = fastq.count_records(one), fastq.count_records(two)
            if pairs != mates:
                raise InputError(f"{one} has {pairs:,} reads, {two} has {mates:,}; mates must match: one of the files is incomplete")
            ledger.read(pairs)
            if not pairs:
                continue
            part, json_file = Path(folder, "merged.fastq.gz"), Path(folder, "fastp.json")
            # fmt: off
            command = [
                program, "--in1", one, "--in2", two, "--merge", "--merged_out", str(part), "--correction",
                "--overlap_len_require", str(min_overlap), "--disable_quality_filtering", "--disable_length_filtering",
                "--dont_eval_duplication", "--disable_trim_poly_g", *(["--phred64"] if quality_offset == 64 else []),
                "--compression", "1", "--thread", str(threads),
                "--json", str(json_file), "--html", str(Path(folder, "fastp.html")),
            ]
            # fmt: on
            done = subprocess.run(command, capture_output=True, text=True)
            print(done.stderr, flush=True)
            if done.returncode:
                raise GpraflowError(f"{one}, {two}: fastp failed:\n{done.stderr.strip()[-800:]}")
            statistics = json.loads(json_file.read_text(encoding="utf-8"))
            reports.append({"reads": one, "reads_2": two, **{key: statistics[key] for key in statistics if key != "command"}})
            if (seen := statistics["summary"]["before_filtering"]["total_reads"]) != 2 * pairs:
                raise GpraflowError(f"{one}, {two}: fastp read {seen:,} of {2 * pairs:,} reads; the files are damaged where it stopped")
            failed = {text: statistics["filtering_result"].get(key, 0) // 2 for key, text in _FAILED.items()}
            united = statistics["merged_and_filtered"]["total_reads"]
            for text, lost in failed.items():
                if lost:
                    ledger.drop(text, lost)
            ledger.drop(reads.NO_OVERLAP, pairs - united - sum(failed.values()))
            out += united
            with open(part, "rb") as handle:
                shutil.copyfileobj(handle, joined)  # concatenated gzip files are a valid gzip file
        lost = {what: rows for (kind, what), rows in ledger.counts.items() if kind == "dropped"}
        reads.check_yield(f"bin '{ledger.dataset}' ({', '.join([*first, *second])}), merging of pairs", out, lost, min_yield)
    files.write_json(report, reports)
    return out
