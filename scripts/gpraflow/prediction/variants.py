"""Effects of promoter variants: pairs of reference and alternative promoters from two sequence files or a VCF."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core.errors import InputError, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import records, text
from gpraflow.prediction.calibration import INDEPENDENT
from gpraflow.prediction.predictor import Predictor

_VCF = ("#CHROM", "POS", "ID", "REF", "ALT")
_ROWS = 50_000  # variants of a VCF per block


def read(
    ref: str | os.PathLike, alt: str | os.PathLike, ledger: Ledger, *, columns: dict[str, Any] | None = None, header: bool = True
) -> Iterator[pl.DataFrame]:
    """Yield blocks of variants with ``row`` (in ``alt``), ``name``, and the unmodified, validated sequences ``ref`` and ``alt``.

    Parameters
    ----------
    ref, alt
        Sequence files (`tables.records`) in which a pair has the same name. Alternatively, ``alt`` is a VCF: CHROM is a name in ``ref``,
        and POS counts from 1 in that sequence as it is in the file. A VCF variant is named by its ID, or ``CHROM:POS:REF>ALT``; each
        alternative allele is a separate variant.
    ledger
        Records the number of sequences and the reasons for dropping them.
    columns, header
        Columns and header of tables, see `tables.records`.

    Raises
    ------
    InputError
        If a name is missing from ``ref`` or duplicated in it, or a VCF's REF differs from the sequence; the message names the line or
        record.
    """
    # References are not rows of the result, so they are counted in a separate ledger.
    known = pl.concat(list(records.records(ref, Ledger("variants", str(ref)), columns=columns, header=header, ambiguous="n")))
    twice = known.filter(pl.col("name").is_duplicated())
    if twice.height:
        at = twice.filter(pl.col("name") == twice["name"][0])["row"]
        raise InputError(f"{ref}: the name '{twice['name'][0]}' occurs {len(at)} times (records {at[0]} and {at[1]}); names must be unique")
    sequences = dict(known.select("name", "sequence").iter_rows())
    if is_vcf(alt):
        yield from _from_vcf(Path(alt), Path(ref), sequences, ledger)
        return
    seen: set[str] = set()
    for rows in records.records(alt, ledger, columns=columns, header=header, ambiguous="n"):
        pairs = rows.rename({"sequence": "alt"}).join(known.select("name", ref="sequence"), on="name", how="left", maintain_order="left")
        if (lost := pairs.filter(pl.col("ref").is_null())).height:
            row, name = lost.row(0)[:2]
            raise InputError(f"{alt}, record {row}: '{name}' is not a name in {ref}{nearest(name, sequences)}; pairs are matched by name")
        seen.update(rows["name"])
        yield pairs.select("row", "name", "ref", "alt")
    ledger.note("references without an alternative", len(sequences) - len(seen))


def is_vcf(path: str | os.PathLike) -> bool:
    """Return whether a file is a VCF, judged by its name."""
    return Path(path).name.lower().removesuffix(".gz").endswith(".vcf")


def _from_vcf(path: Path, origin: Path, sequences: dict[str, str], ledger: Ledger) -> Iterator[pl.DataFrame]:
    found: list[tuple[int, str, str, str]] = []
    header, schema = False, {"row": pl.Int64, "name": pl.String, "ref": pl.String, "alt": pl.String}
    for number, line in enumerate(text.text_lines(path), start=1):
        if line.startswith("##") or not line:
            continue
        cells = line.split("\t")
        if line.startswith("#"):
            if tuple(cells[:5]) != _VCF:
                raise InputError(
                    f"{path}, line {number}: columns {' '.join(cells[:5])}; a VCF has {' '.join(_VCF)}, with tabs between them"
                )
            header = True
            continue
        if not header:
            raise InputError(f"{path}, line {number}: a record before the line #CHROM; is this a VCF?")
        new = list(_alternatives(cells, f"{path}, line {number}", origin, sequences))
        found += [(number, *pair) for pair in new]
        ledger.read(len(new))
        if len(found) >= _ROWS:
            yield pl.DataFrame(found, schema=schema, orient="row")
            found = []
    if found:
        yield pl.DataFrame(found, schema=schema, orient="row")
    if not ledger.counts["in", "rows"]:
        raise InputError(f"{path}: no variant found; give a VCF with at least one record")


def _alternatives(cells: list[str], where: str, origin: Path, sequences: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, reference and alternative promoter for each alternative allele of a VCF record."""
    if len(cells) < len(_VCF):
        raise InputError(f"{where}: {len(cells)} columns; a VCF has at least {len(_VCF)}, with tabs between them")
    chrom, position, identifier, reference, alternatives = cells[: len(_VCF)]
    if chrom not in sequences:
        raise InputError(f"{where}: CHROM '{chrom}' is not a name in {origin}{nearest(chrom, sequences)}")
    whole, reference = sequences[chrom], reference.upper()
    if not reference:
        raise InputError(f"{where}: REF is empty; write the base before an insertion as REF, as VCF requires")
    if not position.isdigit() or not 1 <= int(position) <= len(whole):
        raise InputError(f"{where}: POS '{position}' is not in '{chrom}', which has {len(whole)} bp (counted from 1)")
    begin = int(position) - 1
    there = whole[begin : begin + len(reference)]
    if there != reference:
        raise InputError(
            f"{where}: REF is '{reference}', but '{chrom}' of {origin} has '{there}' at {position}; "
            "POS counts from 1 in the sequence as that file has it: check its strand and where it begins"
        )
    for alternative in alternatives.upper().split(","):
        if not alternative or set(alternative) - set("ACGTN"):
            raise InputError(
                f"{where}: ALT '{alternative}' is not a sequence of A, C, G, T and N; write the allele out or leave the record away"
            )
        name = identifier if identifier not in ("", ".") and "," not in alternatives else f"{chrom}:{position}:{reference}>{alternative}"
        yield name, whole, whole[:begin] + alternative + whole[begin + len(reference) :]


def effects(predictor: Predictor, pairs: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Predict the effects of a block of variants.

    Flanks are added to both sequences if the reference lacks them, otherwise to neither. If one sequence has both flanks intact and the
    other has none, they are added to the latter only.

    Returns
    -------
    polars.DataFrame
        ``name``, ``expression_ref``, ``expression_alt``, ``effect_alt_minus_ref`` (the difference of transformed expression, positive if
        the variant raises expression), its interval ``effect_low``, ``effect_high``, ``effect_interval`` (what the interval rests on, see
        `Calibration.half_width_of_effect`), ``out_of_distribution_ref`` and ``out_of_distribution_alt``
        (`Calibration.out_of_distribution`). The effect and its interval are null if all differences lie outside the model's window.
    """
    five, three = predictor.flanks
    whole = predictor.complete(pairs.select("row", sequence="ref"), "REF", ledger)["sequence"]
    # A variant may damage a flank, so the reference decides whether flanks are added to the alternative.
    alone = predictor.complete(pairs.select("row", sequence="alt"), "ALT", Ledger("variants", ""))["sequence"]

    def added(sequence: str, completed: str) -> pl.Expr:
        return (pl.col(completed) == five + pl.col(sequence) + three) & (pl.col(completed) != pl.col(sequence))

    kept = pl.col("whole") == pl.col("ref")
    alt_is_whole = pl.col("alt").str.starts_with(five) & pl.col("alt").str.ends_with(three)
    unlike = (kept & added("alt", "alone")) | (added("ref", "whole") & alt_is_whole)
    both = pairs.with_columns(whole=whole, alone=alone).select(
        "whole",
        unlike=unlike,
        alternative=pl.when(unlike)
        .then("alone")
        .when(kept)
        .then("alt")
        .when(added("ref", "whole"))
        .then(five + pl.col("alt") + three)
        .otherwise("alone"),
    )
    if count := int(both["unlike"].sum()):
        ledger.note("pairs of which one was a whole promoter and the other an insert only", count)
    ledger.note_window(both["alternative"], **predictor.window)
    found = predictor.effects(both["whole"], both["alternative"])
    if count := int((found["effect_alt_minus_ref"].is_null() & (both["whole"] != both["alternative"])).sum()):
        ledger.note("that differ only where the model does not look: no effect is given", count)
    if count := int((found["effect_interval"] == INDEPENDENT).sum()):
        ledger.note("with an interval that is too wide for similar promoters: no such pairs calibrated it", count)
    return pl.concat([pairs.select("name"), found], how="horizontal")
