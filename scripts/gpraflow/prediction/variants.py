"""Effects of promoter variants: pairs of reference and alternative promoters from two sequence files, a VCF or names of variants."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from gpraflow.core import conditions, numbers
from gpraflow.core.errors import ConfigError, InputError, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import records, text
from gpraflow.prediction.calibration import INDEPENDENT
from gpraflow.prediction.predictor import Predictor
from gpraflow.prediction.regions import Place, Regions, reverse_complement

_VCF = ("#CHROM", "POS", "ID", "REF", "ALT")
_NAME = re.compile(r"(?P<chrom>.+):(?P<pos>\d+):(?P<ref>[A-Za-z]*)>(?P<alt>[A-Za-z,]+)")  # as variants are named in the output
_KINDS = (pl.String, pl.Int64, pl.String, pl.String)
_ROWS = 50_000  # variants of a VCF per block
ALLELES = ("chrom", "pos", "allele_ref", "allele_alt")  # as a VCF or the name of the variant has them
MISMATCHES = {
    "line": pl.Int64,
    "name": pl.String,
    "construct": pl.String,
    "position": pl.Int64,
    "ref": pl.String,
    "sequence": pl.String,
}  # position from 1 in the construct; REF on its strand, and what its sequence has there


def read(
    ref: str | os.PathLike,
    alt: str | os.PathLike,
    ledger: Ledger,
    *,
    columns: dict[str, Any] | None = None,
    header: bool = True,
    regions: str | os.PathLike = "",
    mismatches: list[tuple[Any, ...]] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield blocks of variants with ``row`` (in ``alt``), ``name``, and the unmodified, validated sequences ``ref`` and ``alt``.

    Parameters
    ----------
    ref, alt
        Sequence files (`tables.records`) in which a pair has the same name. Alternatively, ``alt`` is a VCF: CHROM is a name in ``ref``,
        and POS counts from 1 in that sequence as it is in the file. A VCF variant is named by its ID, or ``CHROM:POS:REF>ALT``; each
        alternative allele is a separate variant. ``alt`` can also be such a name, or a file with one in each line. Blocks then also have
        `ALLELES`, as the VCF has them.
    ledger
        Records the number of sequences and the reasons for dropping them.
    columns, header
        Columns and header of tables, see `tables.records`.
    regions
        BED file with the region of each construct (`Regions`); CHROM and POS are then those of the genome. A variant in several constructs
        is a row for each, with the column ``construct``; variants beside all constructs are counted in the ledger.
    mismatches
        List that receives variants whose REF differs from the sequence (`MISMATCHES`); None: such a variant is an error.

    Raises
    ------
    InputError
        If a name is missing from ``ref`` or duplicated in it, a VCF's REF differs from the sequence, or no variant is left; the message
        names the line or record.
    ConfigError
        If there are ``regions`` or ``mismatches``, but ``alt`` is a file of sequences.
    """
    # References are not rows of the result, so they are counted in a separate ledger.
    of_references = Ledger("variants", str(ref))
    known = pl.concat(list(records.records(ref, of_references, columns=columns, header=header, ambiguous="n")))
    if named := of_references.counts.get(("noted", records.WHOLE_LINES)):
        ledger.note(f"references: {records.WHOLE_LINES}", named)
    twice = known.filter(pl.col("name").is_duplicated())
    if twice.height:
        at = twice.filter(pl.col("name") == twice["name"][0])["row"]
        raise InputError(f"{ref}: the name '{twice['name'][0]}' occurs {len(at)} times (records {at[0]} and {at[1]}); names must be unique")
    sequences = dict(known.select("name", "sequence").iter_rows())
    variants = _vcf(Path(alt)) if is_vcf(alt) else _names(alt) if _is_named(alt) else None
    if variants is not None:
        yield from _Placing(Path(ref), sequences, Regions(regions, sequences, ref) if regions else None, ledger, mismatches).blocks(
            variants, alt
        )
        return
    if regions or mismatches is not None:
        raise ConfigError(f"{alt}: --regions and --on-mismatch are for a VCF, or names such as chr1:100:A>G; this is a file of sequences")
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
    name = Path(path).name.lower()
    return any(name.endswith(f".vcf{packed}") for packed in ("", ".gz", ".bgz", ".zst"))


def _is_named(alt: str | os.PathLike) -> bool:
    """Return whether this is the name of a variant, or a file whose first line is one."""
    if not Path(alt).is_file():
        return _NAME.fullmatch(str(alt)) is not None
    first = next((line for line in text.text_lines(alt) if line.strip() and not line.startswith("#")), "")
    return not first.startswith(">") and _NAME.fullmatch(first.strip()) is not None


class _Variant(NamedTuple):
    """A variant as it is written: line, place for messages, chromosome or construct, position from 1, ID, and alleles."""

    line: int
    where: str
    chrom: str
    position: str
    identifier: str
    reference: str
    alternatives: str


def _names(alt: str | os.PathLike) -> Iterator[_Variant]:
    of_file = Path(alt).is_file()
    for number, line in enumerate(text.text_lines(alt) if of_file else [str(alt)], start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        where = f"{alt}, line {number}" if of_file else name
        if not (parts := _NAME.fullmatch(name)):
            raise InputError(f"{where}: '{name}' is not the name of a variant; expected NAME:POS:REF>ALT, such as p1:5:A>G")
        yield _Variant(number, where, parts["chrom"], parts["pos"], "", parts["ref"], parts["alt"])


def _vcf(path: Path) -> Iterator[_Variant]:
    header = False
    for number, line in enumerate(text.text_lines(path), start=1):
        if line.startswith("##") or not line:
            continue
        cells, where = line.split("\t"), f"{path}, line {number}"
        if line.startswith("#"):
            if tuple(cells[:5]) != _VCF:
                raise InputError(f"{where}: columns {' '.join(cells[:5])}; a VCF has {' '.join(_VCF)}, with tabs between them")
            header = True
            continue
        if not header:
            raise InputError(f"{where}: a record before the line #CHROM; is this a VCF?")
        if len(cells) < len(_VCF):
            raise InputError(f"{where}: {len(cells)} columns; a VCF has at least {len(_VCF)}, with tabs between them")
        yield _Variant(number, where, *cells[: len(_VCF)])


class _Placing:
    """Constructs with and without variants, from the constructs' sequences and, for genomic coordinates, their regions."""

    def __init__(
        self, origin: Path, sequences: dict[str, str], regions: Regions | None, ledger: Ledger, mismatches: list[tuple[Any, ...]] | None
    ):
        self.origin, self.sequences, self.regions, self.ledger, self.mismatches = origin, sequences, regions, ledger, mismatches

    def blocks(self, variants: Iterator[_Variant], path: str | os.PathLike) -> Iterator[pl.DataFrame]:
        """Yield blocks of pairs.

        Raises
        ------
        InputError
            If a variant cannot be used, or none is left.
        """
        texts = ("name", "construct", "ref", "alt")
        schema = {"row": pl.Int64, **dict.fromkeys(texts, pl.String), **dict(zip(ALLELES, _KINDS, strict=True))}
        pairs: list[tuple[Any, ...]] = []
        read = used = 0
        chromosome = ""  # of the first variant beside all constructs
        for variant in variants:
            read += 1
            places, partial = self._places(variant)
            self.ledger.note("variants that reach beyond the end of a construct: no effect there", partial)
            if not places and not partial:
                self.ledger.note("variants outside all regions", 1)
                chromosome = chromosome or variant.chrom
            for place in places:
                new = [(variant.line, *pair) for pair in self._pairs(variant, place)]
                self.ledger.read(len(new))
                used += len(new)
                pairs += new
            if len(pairs) >= _ROWS:
                yield self._table(pairs, schema)
                pairs = []
        if pairs:
            yield self._table(pairs, schema)
        if not read:
            raise InputError(f"{path}: no variant found; give a VCF with at least one record")
        if self.mismatches:
            self.ledger.note("variants skipped because their REF differs from the sequence", len(self.mismatches))
        if not used and self.mismatches:
            raise InputError(f"{path}: no variant is left; REF differs from {self.origin} in all of {len(self.mismatches):,}")
        if not used and not chromosome:
            raise InputError(f"{path}: none of {read:,} variants lies in a construct as a whole; all reach beyond the ends of constructs")
        if not used:
            there = ", ".join(self.regions.chromosomes[:5]) if self.regions else ""
            raise InputError(f"{path}: none of {read:,} variants is in a region; regions are on {there}, the first variant on {chromosome}")

    def _table(self, pairs: list[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
        rows = pl.DataFrame(pairs, schema=schema, orient="row")
        return rows if self.regions else rows.drop("construct")

    def _places(self, variant: _Variant) -> tuple[list[Place], int]:
        """Return the places of the reference allele in constructs, and the number of constructs that hold a part of it only."""
        if not variant.reference:
            raise InputError(f"{variant.where}: REF is empty; write the base before an insertion as REF, as VCF requires")
        position = numbers.parse_count(variant.position)
        if self.regions:
            if not position:
                raise InputError(f"{variant.where}: POS '{variant.position}' is not a position (counted from 1)")
            begin = position - 1
            return self.regions.places(variant.chrom, begin, begin + len(variant.reference))
        if variant.chrom not in self.sequences:
            hint = nearest(variant.chrom, self.sequences)
            advice = "" if hint else "; for positions in a genome, give the regions of the sequences with --regions"
            raise InputError(f"{variant.where}: CHROM '{variant.chrom}' is not a name in {self.origin}{hint}{advice}")
        length = len(self.sequences[variant.chrom])
        if position is None or not 1 <= position <= length:
            raise InputError(
                f"{variant.where}: POS '{variant.position}' is not in '{variant.chrom}', which has {length} bp (counted from 1)"
            )
        return [Place(variant.chrom, position - 1, False)], 0

    def _pairs(self, variant: _Variant, place: Place) -> Iterator[tuple[Any, ...]]:
        """Yield name, construct, reference and alternative promoter, and `ALLELES`, for each alternative allele."""
        whole, reference, alternatives = self.sequences[place.name], variant.reference.upper(), variant.alternatives.upper()
        name = f"{variant.chrom}:{variant.position}:{reference}>"
        if variant.identifier not in ("", ".") and "," not in alternatives:
            name = variant.identifier
        expected = reverse_complement(reference) if place.reverse else reference
        present = whole[place.begin : place.begin + len(reference)]
        for alternative in alternatives.split(","):
            if not alternative or set(alternative) - set("ACGTN"):
                raise InputError(
                    f"{variant.where}: ALT '{alternative}' is not a sequence of A, C, G, T and N; "
                    "write the allele out or leave the record away"
                )
        if present != expected:
            self._refuse(variant, place, expected, present)
            return
        for alternative in alternatives.split(","):
            allele = reverse_complement(alternative) if place.reverse else alternative
            changed = whole[: place.begin] + allele + whole[place.begin + len(reference) :]
            named = name + alternative if name.endswith(">") else name
            yield named, place.name, whole, changed, variant.chrom, int(variant.position), reference, alternative

    def _refuse(self, variant: _Variant, place: Place, expected: str, present: str) -> None:
        """Keep a variant whose REF differs from the sequence for the list of them, or raise an error."""
        position = place.begin + 1
        if self.mismatches is not None:
            name = f"{variant.chrom}:{variant.position}:{variant.reference.upper()}>{variant.alternatives.upper()}"
            self.mismatches.append((variant.line, name, place.name, position, expected, present))
            return
        if self.regions:
            strand = " (the other strand of the genome)" if place.reverse else ""
            raise InputError(
                f"{variant.where}: REF is '{expected}'{strand}, but '{place.name}' of {self.origin} has '{present}' at {position}; "
                "check genome assembly and strand of the regions, or skip such variants with --on-mismatch skip"
            )
        raise InputError(
            f"{variant.where}: REF is '{expected}', but '{place.name}' of {self.origin} has '{present}' at {position}; "
            "POS counts from 1 in the sequence as that file has it: check its strand and where it begins"
        )


def whole_promoters(predictor: Predictor, pairs: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Return ``ref`` and ``alt`` of a block of variants with flanks.

    Flanks are added to both sequences if the reference lacks them, otherwise to neither. If one sequence has both flanks intact and the
    other has none, they are added to the latter only.
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
    found = pairs.with_columns(whole=whole, alone=alone).select(
        ref="whole",
        unlike=unlike,
        alt=pl.when(unlike)
        .then("alone")
        .when(kept)
        .then("alt")
        .when(added("ref", "whole"))
        .then(five + pl.col("alt") + three)
        .otherwise("alone"),
    )
    if count := int(found["unlike"].sum()):
        ledger.note("pairs of which one was a whole promoter and the other an insert only", count)
    return found.select("ref", "alt")


def effects(predictor: Predictor, pairs: pl.DataFrame, ledger: Ledger, whole: pl.DataFrame | None = None) -> pl.DataFrame:
    """Predict the effects of a block of variants; ``whole`` are their `whole_promoters`, if they are known already.

    Returns
    -------
    polars.DataFrame
        ``name``, ``construct`` (if ``pairs`` has it), ``expression_ref``, ``expression_alt``, ``effect_alt_minus_ref`` (the difference of
        transformed expression, positive if the variant raises expression), its interval ``effect_low``, ``effect_high``,
        ``effect_interval`` (what the interval rests on, see `Calibration.half_width_of_effect`), ``out_of_distribution_ref`` and
        ``out_of_distribution_alt`` (`Calibration.out_of_distribution`). The effect and its interval are null if all differences lie
        outside the model's window. With several conditions, such columns of each condition and difference (`Predictor.effects`).
    """
    whole = whole_promoters(predictor, pairs, ledger) if whole is None else whole
    ledger.note_window(whole["alt"], **predictor.window)
    found = predictor.effects(whole["ref"], whole["alt"])
    effect, interval = (conditions.column(name, predictor.readout) for name in ("effect_alt_minus_ref", "effect_interval"))
    if count := int((found[effect].is_null() & (whole["ref"] != whole["alt"])).sum()):
        ledger.note("that differ only where the model does not look: no effect is given", count)
    if count := int((found[interval] == INDEPENDENT).sum()):
        ledger.note("with an interval that is too wide for similar promoters: no such pairs calibrated it", count)
    return pl.concat([pairs.drop("row", "ref", "alt", *ALLELES, strict=False), found], how="horizontal")
