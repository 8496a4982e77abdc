"""Inspection of the first reads of sorted bins, and of the first rows of tables of counts."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.assay import fastq, pairs, reads
from gpraflow.assay.inserts import Policy
from gpraflow.core.errors import GpraflowError, InputError
from gpraflow.core.inspection import Inspection, about, percent, span
from gpraflow.core.ledger import Ledger
from gpraflow.formats.excerpts import Excerpt, expansion, place
from gpraflow.sequences import constants
from gpraflow.sequences.scaffold import Scaffold

_SAMPLE = 2000  # reads that are searched for flanks
_MOST = 0.5  # share of the reads that have the flanks of a scaffold, from which they are theirs
_STRANDS = 0.2  # share of the reads with flanks on the strand that is not searched, from which searching it is proposed
POOR = 0.8  # share of counted reads below which other settings are tried
_FEW_OUTSIDE = 0.02  # share of inserts outside insert_length that is not worth a proposal
_BINS_SHOWN = 12
NEW_SCAFFOLD = "mine"


@dataclass
class Bin:
    """The first reads of a bin: excerpts of its FASTQ files and, of pairs, of those of the second mates."""

    name: str
    reads: list[Excerpt]
    mates: list[Excerpt]

    @property
    def total(self) -> int:
        """Reads, or pairs, of the whole bin, estimated."""
        return sum(each.total for each in self.reads)

    @property
    def complete(self) -> bool:
        """Whether the excerpts hold all reads."""
        return all(each.complete for each in self.reads)

    def restored(self, message: str) -> str:
        """Return a message on excerpts as one on the files."""
        for each in [*self.reads, *self.mates]:
            message = each.restored(message)
        return message


def excerpt(path: str, folder: Path, number: int) -> Excerpt:
    """Write the first reads of a FASTQ file to a folder, without compression.

    Raises
    ------
    InputError
        As `fastq.whole_records`.
    """
    pieces: list[bytes] = []
    count, complete = 0, True
    for block in fastq.whole_records(path):
        pieces.append(block.records.tobytes())
        count += len(block)
        if count >= number:
            complete = False
            break
    text = b"".join(pieces)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))[3::4]
    kept = min(number, len(ends))
    target = place(folder, os.path.basename(path).removesuffix(".gz"))
    target.write_bytes(text[: ends[kept - 1] + 1] if kept else b"")
    total = count
    if not complete:
        total = max(count, round(count / len(text) * os.path.getsize(path) * expansion(Path(path))))
    return Excerpt(str(target), path, kept, total, complete or total == kept)


def sample(excerpts: Sequence[Excerpt], number: int = _SAMPLE) -> tuple[pl.Series, list[bytes]]:
    """Return sequences, upper case, and qualities of the first reads of excerpts, as many of each."""
    sequences: list[bytes] = []
    qualities: list[bytes] = []
    for each in excerpts:
        text = b"".join(block.records.tobytes() for block in fastq.whole_records(each.path))
        lines = text.split(b"\n")[: 4 * max(1, number // max(1, len(excerpts)))]
        sequences += lines[1::4]
        qualities += lines[3::4]
    decoded = pl.Series([line.decode("ascii", errors="replace").strip().upper() for line in sequences], dtype=pl.String)
    decoded = decoded.str.replace_all("[^ACGT]", "N")
    return decoded.filter(decoded.str.len_bytes() > 0), [line.strip() for line in qualities if line.strip()]


def count(one: Bin, policy: Policy, threads: int = 1) -> tuple[pl.DataFrame, Ledger]:
    """Count the inserts of a bin's excerpts as `reads.count` does; errors name the files.

    Raises
    ------
    InputError
        As `reads.count`.
    """
    ledger = Ledger("count_reads", one.name)
    try:
        counts = reads.count([e.path for e in one.reads], policy, ledger, threads, [e.path for e in one.mates])
    except InputError as error:
        raise InputError(one.restored(str(error))) from None
    return counts, ledger


def yield_of(ledger: Ledger) -> float:
    """Return the share of reads that were counted; 0 without reads."""
    total = ledger.counts["in", "rows"]
    return 1 - sum(rows for (kind, _), rows in ledger.counts.items() if kind == "dropped") / total if total else 0.0


def losses(ledgers: Sequence[Ledger]) -> str:
    """Return the reasons for lost reads and their shares, the most frequent first."""
    total = sum(ledger.counts["in", "rows"] for ledger in ledgers)
    lost: dict[str, int] = {}
    for ledger in ledgers:
        for (kind, what), rows in ledger.counts.items():
            if kind == "dropped" and rows:
                lost[what] = lost.get(what, 0) + rows
    return "; ".join(f"{percent(rows / total)} {what}" for what, rows in sorted(lost.items(), key=lambda item: -item[1])[:6])


def merged(one: Bin, min_overlap: int, quality_offset: int, min_yield: float) -> Bin:
    """Return a bin with its pairs merged by fastp, as the rule `merge_pairs` does.

    Raises
    ------
    GpraflowError, InputError
        As `pairs.merge`.
    """
    folder = Path(one.reads[0].path).parent
    target = folder / "merged.fastq.gz"
    options = {"min_overlap": min_overlap, "quality_offset": quality_offset, "min_yield": min_yield}
    paths = [e.path for e in one.reads], [e.path for e in one.mates]
    try:
        number = pairs.merge(*paths, str(target), str(folder / "merged.json"), Ledger("merge_pairs", one.name), **options)  # type: ignore[arg-type]
    except GpraflowError as error:
        raise type(error)(one.restored(str(error))) from None
    share = number / max(1, sum(each.rows for each in one.reads))
    return Bin(one.name, [Excerpt(str(target), one.reads[0].source, number, round(one.total * share), one.complete)], [])


def inspect_quality(found: Inspection, qualities: Sequence[bytes], policy: Policy) -> Policy:
    """Say the Phred offset and the mean quality of reads; propose the offset and a lower minimum. Return the policy with them."""
    if not qualities:
        return policy
    letters = np.frombuffer(b"".join(qualities), np.uint8)
    low, high = int(letters.min()), int(letters.max())
    offset = 64 if low >= 59 and 90 <= high <= 105 else 33
    if offset != policy.quality_offset:
        found.propose(f"qualities are Phred+{offset} (characters {low} to {high})", {"reads.quality_offset": offset})
        policy = replace(policy, quality_offset=offset)
    means = np.array([np.frombuffer(line, np.uint8).mean() - offset for line in qualities])
    below = float((means < policy.min_mean_quality).mean())
    found.say(
        "quality", f"Phred+{offset}, mean {means.mean():.0f}; {percent(below)} of the reads have a mean below {policy.min_mean_quality:g}"
    )
    if below > 0.3:
        lower = int(np.floor(np.quantile(means, 0.1)))
        found.propose(
            f"{percent(below)} of the reads have a mean quality below reads.min_mean_quality: {policy.min_mean_quality:g}",
            {"reads.min_mean_quality": lower},
            advice="or find out why the sequencing run is poor",
        )
        policy = replace(policy, min_mean_quality=lower)
    return policy


def inspect_flanks(
    found: Inspection, text: pl.Series, mates: pl.Series | None, policy: Policy, scaffold: Scaffold, known: Mapping[str, Scaffold]
) -> tuple[Policy, Scaffold]:
    """Say where flanks are in reads, on which strand; propose what finds them.

    Parameters
    ----------
    found
        Takes lines and proposals.
    text, mates
        Reads, and of pairs that are not merged their second mates.
    policy, scaffold
        Of the config.
    known
        Name -> further scaffolds to search for.

    Returns
    -------
    tuple
        Policy and scaffold with what is proposed.
    """
    five, three = policy.five_prime, policy.three_prime
    if not (five or three):
        found.say("flanks", "none: inserts are whole reads")
        return policy, scaffold
    place = constants.locate(text, five, three)
    other = constants.locate(mates, five, three) if mates is not None else None
    if place.either >= _STRANDS or (other and other.either >= _STRANDS):
        best, of = (other, "mates 2") if other and other.either > place.either else (place, "reads" if other is None else "mates 1")
        found.say("flanks", f"of '{scaffold.name}', exact: {_strands(best, of, five, three)}")
        for each, name in ((place, "reads"), (other, "second mates")):
            if each and each.reverse >= _STRANDS and not policy.reverse_complement:
                advice = (
                    "or exchange the columns reads and reads_2 of the sample sheet"
                    if mates is not None and place.forward < _STRANDS
                    else ""
                )
                where = f", at {each.place[0]}..{each.place[1]}" if each.place and each.reverse > each.forward else ""
                finding = f"flanks found on the reverse strand of {percent(each.reverse)} of the {name}{where}"
                found.propose(finding, {"reads.reverse_complement": True}, advice=advice)
                policy = replace(policy, reverse_complement=True)
                break
        if place.either + (other.either if other else 0) >= _MOST:
            return policy, scaffold
    for name, candidate in known.items():
        if name == scaffold.name or not candidate.five_prime:
            continue
        theirs = constants.locate(text, candidate.five_prime, candidate.three_prime)
        if theirs.either >= _MOST:
            keys: dict[str, Any] = {"scaffold.name": name, "reads.five_prime": "auto", "reads.three_prime": "auto"}
            if theirs.reverse >= _STRANDS and not policy.reverse_complement:
                keys["reads.reverse_complement"] = True
            found.propose(
                f"flanks of the scaffold '{name}': {_strands(theirs, 'reads', candidate.five_prime, candidate.three_prime)}", keys
            )
            changed = Policy.of(candidate, "auto", "auto", **_others(policy))
            return replace(changed, reverse_complement=policy.reverse_complement or theirs.reverse >= _STRANDS), candidate
    if shorter := _partial(found, text, policy):
        return shorter, scaffold
    new = constants.constant_flanks(text)
    if new:
        entry = {NEW_SCAFFOLD: {"five_prime": new[0], "three_prime": new[1]}}
        turned = constants.locate(text, *new).reverse >= _STRANDS
        finding = f"constant sequences {new[0]} and {new[1]} on both sides of the inserts, which are no flanks of '{scaffold.name}'"
        keys = {"scaffold.name": NEW_SCAFFOLD, "reads.five_prime": "auto", "reads.three_prime": "auto"}
        if turned and not policy.reverse_complement:
            keys["reads.reverse_complement"] = True
            finding += ", on both strands"
            policy = replace(policy, reverse_complement=True)
        advice = "check strand and ends against the plasmid's map; --write writes the file of scaffolds"
        found.propose(finding, keys, advice=advice, scaffolds=entry)
        scaffold = Scaffold(NEW_SCAFFOLD, *new)
        return Policy.of(scaffold, "auto", "auto", **_others(policy)), scaffold
    if place.either < _STRANDS:
        shares = f"the 5' flank in {percent(place.five)}, the 3' flank in {percent(place.three)} of the reads"
        found.propose(
            f"flanks of '{scaffold.name}' not found ({shares}), nor other constant sequences",
            advice="compare some reads with the plasmid's map",
        )
    return policy, scaffold


def _others(policy: Policy) -> dict[str, Any]:
    return {key: value for key, value in vars(policy).items() if key not in ("five_prime", "three_prime")}


def _strands(place: constants.Found, of: str, five: str, three: str) -> str:
    text = f"both on the forward strand of {percent(place.forward)} of the {of}, on the reverse strand of {percent(place.reverse)}"
    if place.place is None:
        return text
    flank = ("3'" if three else "5'") if place.reverse > place.forward else ("5'" if five else "3'")
    return f"{text}; the {flank} flank mostly at {place.place[0]}..{place.place[1]}"


def _partial(found: Inspection, text: pl.Series, policy: Policy) -> Policy | None:
    """Propose flanks of which reads hold a part only, at their start or end; None if they do not."""
    five, three = policy.five_prime, policy.three_prime
    for key, flank, series in (("five_prime", five, text), ("three_prime", three[::-1], text.str.reverse())):
        if part := constants.partial_flank(series, flank):
            part = part if key == "five_prime" else part[::-1]
            end, side = ("begin", "5'") if key == "five_prime" else ("end", "3'")
            found.propose(f"reads {end} within the {side} flank, with {part}", {f"reads.{key}": part})
            return Policy(**{**vars(policy), key: part})
    return None


def inspect_inserts(found: Inspection, lengths: np.ndarray, weights: np.ndarray, insert_length: Sequence[int]) -> Sequence[int]:
    """Say the lengths of inserts in reads; propose limits. Return the limits."""
    if not len(lengths):
        return insert_length
    low, high = insert_length
    usual = constants.insert_lengths(lengths, weights)
    found.say("insert length", f"{span(*usual)} in 99 % of the reads with both flanks, most {int(lengths[weights.argmax()])} bp")
    outside = float(weights[(lengths < low) | (lengths > high)].sum() / weights.sum())
    most = int(lengths[weights.argmax()])
    if outside > _FEW_OUTSIDE and not (low <= most <= high and outside < 0.2):
        found.propose(f"{percent(outside)} of the inserts are not {low} to {high} bp long", {"scaffold.insert_length": list(usual)})
        return list(usual)
    return insert_length


def inspect_bins(
    found: Inspection, bins: Sequence[Bin], results: Sequence[tuple[pl.DataFrame, Ledger]], cells: Mapping[str, float]
) -> None:
    """Say the share of reads that is counted and why others are lost, over all bins and for those that differ; and cells per bin.

    Parameters
    ----------
    found
        Takes lines.
    bins, results
        Bins, and what `count` returned for each.
    cells
        Bin -> sorted cells; empty if unknown.
    """
    yields = np.array([yield_of(ledger) for _, ledger in results])
    rows = sum(ledger.counts["in", "rows"] for _, ledger in results)
    total = sum(each.total for each in bins)
    exact = all(each.complete for each in bins)
    found.say("reads", f"{total:,}" if exact else f"about {about(total)}, of which {rows:,} were read, the first of each file")
    if not rows:
        return
    low, high = percent(yields.min()), percent(yields.max())
    text = f"{low} to {high} of a bin's reads" if low != high else f"{low} of each bin's reads"
    found.say("counted", text)
    if lost := losses([ledger for _, ledger in results]):
        found.say("lost", lost)
    poor = [index for index in np.argsort(yields) if yields[index] < max(POOR, float(np.median(yields)) - 0.1)]
    if len(poor) < len(bins):
        for index in poor[:_BINS_SHOWN]:
            found.say(f"bin {bins[index].name}", f"{percent(yields[index])} counted; lost: {losses([results[index][1]])}")
    noted = {"on the other strand": "reverse strand", "flanks matched with edits": "flanks with edits"}
    for what, name in noted.items():
        some = sum(ledger.counts.get(("noted", what), 0) for _, ledger in results)
        found.say(name, f"{percent(some / rows)} of the reads")
    if cells:
        numbers = [cells[each.name] for each in bins if each.name in cells]
        per_cell = [each.total / cells[each.name] for each in bins if cells.get(each.name)]
        text = f"{min(numbers):,.0f} to {max(numbers):,.0f} a bin, {sum(numbers):,.0f} in all"
        if per_cell:
            text += f"; {span(float(f'{min(per_cell):.2g}'), float(f'{max(per_cell):.2g}'), '')} reads a cell"
        found.say("cells", text)


def has_fastp() -> bool:
    """Return whether fastp, which merges pairs, is installed."""
    return shutil.which("fastp") is not None


def inspect_counts(found: Inspection, counts: np.ndarray, columns: Sequence[str], cells: Mapping[str, float]) -> None:
    """Say reads per bin and per promoter of a matrix of counts, ``(promoters, bins)``.

    Parameters
    ----------
    found
        Takes lines.
    counts, columns
        Reads, and the names of the bins.
    cells
        Bin -> sorted cells; empty if unknown.
    """
    per_bin, per_promoter = counts.sum(axis=0), counts.sum(axis=1)
    text = f"{per_bin.min():,} to {per_bin.max():,} reads"
    empty = [name for name, reads_of_bin in zip(columns, per_bin, strict=True) if not reads_of_bin]
    found.say("bins", f"{len(columns)}, {text} each in these rows" + (f"; no reads in {', '.join(empty[:8])}" if empty else ""))
    if cells:
        numbers = [cells[name] for name in columns if name in cells]
        if numbers:
            found.say("cells", f"{min(numbers):,.0f} to {max(numbers):,.0f} a bin, {sum(numbers):,.0f} in all")
    single = float(((counts > 0).sum(axis=1) == 1).mean())
    none = float((per_promoter == 0).mean())
    found.say(
        "reads", f"median {np.median(per_promoter):,.0f} a promoter; {percent(single)} have reads in one bin only, {percent(none)} none"
    )


def scratch() -> tempfile.TemporaryDirectory:
    """Return a temporary folder for excerpts."""
    return tempfile.TemporaryDirectory(prefix="gpraflow-check-")
