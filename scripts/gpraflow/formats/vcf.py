"""Variants as other tools name and write them: HGVS-like names, and VCF 4.3 with predictions as INFO fields.

Files that end in ``.gz`` or ``.bgz`` are compressed in blocks (BGZF, by Biopython), as tabix and bcftools need them.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from gpraflow.core import files

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.]")
_ESCAPED = str.maketrans({"%": "%25", ";": "%3B", "=": "%3D", ",": "%2C", " ": "%20", "\t": "%09", "\n": "%0A", "\r": "%0D"})


class Change(NamedTuple):
    """Difference between two sequences: position from 1 of the first changed base of ``ref``, removed and inserted bases.

    Without removed bases, ``inserted`` stands before ``position``.
    """

    position: int
    removed: str
    inserted: str


def change(ref: str, alt: str) -> Change | None:
    """Return the smallest single difference of two sequences, shifted to the 3' end as far as possible; None if they are equal."""
    if ref == alt:
        return None
    shortest = min(len(ref), len(alt))
    begin = next((place for place in range(shortest) if ref[place] != alt[place]), shortest)
    end = 0
    while end < shortest - begin and ref[-1 - end] == alt[-1 - end]:
        end += 1
    return Change(begin + 1, ref[begin : len(ref) - end], alt[begin : len(alt) - end])


def hgvs(name: str, ref: str, alt: str) -> str:
    """Return a name of a variant as HGVS recommends it for non-coding sequences, such as ``p1:n.5A>G``, with a construct for reference.

    Positions count from 1 in ``ref``. Deletions, duplications and insertions are described at their most 3' position.
    """
    found = change(ref, alt)
    if found is None:
        return f"{name}:n.="
    position, removed, inserted = found
    last = position + len(removed) - 1
    if len(removed) == len(inserted) == 1:
        return f"{name}:n.{position}{removed}>{inserted}"
    span = f"{position}_{last}" if last > position else f"{position}"
    if not removed:
        before = ref[max(position - 1 - len(inserted), 0) : position - 1]
        if before == inserted:
            first = position - len(inserted)
            return f"{name}:n.{first}_{position - 1}dup" if len(inserted) > 1 else f"{name}:n.{first}dup"
        return f"{name}:n.{position - 1}_{position}ins{inserted}"
    return f"{name}:n.{span}del" if not inserted else f"{name}:n.{span}delins{inserted}"


def alleles(ref: str, alt: str) -> tuple[int, str, str] | None:
    """Return POS, REF and ALT of the difference of two sequences, as VCF has them; None if they are equal.

    Insertions and deletions are at their leftmost position, with the base before them, or after them if there is none before.
    """
    found = change(ref[::-1], alt[::-1])
    if found is None:
        return None
    removed, inserted = found.removed[::-1], found.inserted[::-1]
    position = len(ref) - found.position + 2 - len(removed)
    if removed and inserted:
        return position, removed, inserted
    if position > 1:
        before = ref[position - 2]
        return position - 1, before + removed, before + inserted
    after = ref[position - 1 + len(removed) : position + len(removed)]
    return position, removed + after, inserted + after


def identifier(name: str) -> str:
    """Return a name as an ID of VCF, which has neither white space nor semicolons."""
    return re.sub(r"[\s;]+", "_", name) or "."


def write(path: str | os.PathLike, records: pl.DataFrame, contigs: Mapping[str, int], descriptions: Mapping[str, str]) -> None:
    """Write a VCF whole or not at all.

    Parameters
    ----------
    path
        ``.vcf``, or ``.vcf.gz`` and ``.vcf.bgz`` for BGZF.
    records
        ``chrom``, ``pos``, ``id``, ``ref``, ``alt``, and a column for each INFO field: numbers, or text. Null fields are left out.
    contigs
        Names and lengths of what ``chrom`` names; 0 if a length is unknown.
    descriptions
        Columns and what they hold; others have their name as description.
    """
    fields = [name for name in records.columns if name not in ("chrom", "pos", "id", "ref", "alt")]
    keys = {name: _NOT_IN_KEYS.sub("_", name) for name in fields}
    lines = ["##fileformat=VCFv4.3", "##source=gpraflow", '##FILTER=<ID=PASS,Description="All filters passed">']
    lines += [f"##contig=<ID={name}{f',length={length}' if length else ''}>" for name, length in contigs.items()]
    for name in fields:
        kind = "Float" if records.schema[name].is_float() else "Integer" if records.schema[name].is_integer() else "String"
        text = descriptions.get(name, name).replace('"', "'")
        lines.append(f'##INFO=<ID={keys[name]},Number=1,Type={kind},Description="{text}">')
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    for row in records.iter_rows(named=True):
        info = ";".join(f"{keys[name]}={_value(row[name])}" for name in fields if row[name] is not None) or "."
        lines.append(f"{row['chrom']}\t{row['pos']}\t{row['id'] or '.'}\t{row['ref']}\t{row['alt']}\t.\tPASS\t{info}")
    _write(Path(path), lines)


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).translate(_ESCAPED) or "."


def _write(path: Path, lines: Iterable[str]) -> None:
    content = "".join(f"{line}\n" for line in lines)
    if path.suffix not in (".gz", ".bgz"):
        files.write_text(path, content)
        return
    from Bio import bgzf

    with files.whole(path) as temporary, bgzf.BgzfWriter(str(temporary), "wb") as handle:
        handle.write(content.encode())
