"""Inspection of the first rows of a table of promoters: expression, flanks, lengths, barcodes, clusters and splits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core.conditions import column
from gpraflow.core.inspection import Inspection, percent, span
from gpraflow.formats.columns import missing_cells
from gpraflow.formats.inspection import inspect_columns, inspect_header, inspect_letters, numbers, rounded_range
from gpraflow.formats.promoters import REQUIRED
from gpraflow.sequences import constants, flanks
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold, reverse_complement_sequences
from gpraflow.sequences.segments import parse

_SAMPLE = 2000  # sequences that are searched for flanks
_MOST = 0.5  # share of the sequences that have the flanks of a scaffold, from which it is theirs
_SKEWED = 3.0  # skewness of expression from which a transform is proposed
_FEW_LONG = 0.05  # share of promoters longer than the window that is not worth a longer one
_FEW_OUTSIDE = 0.05  # share of inserts outside insert_length up to which they are dropped rather than accepted
NEW_SCAFFOLD = "mine"  # name of a scaffold that is proposed


def inspect_cells(
    found: Inspection, rows: pl.DataFrame, names: Sequence[str], reading: Mapping[str, Any], transform: Mapping[str, Any], complete: bool
) -> pl.Series:
    """Inspect the cells of a table of sequences and expression.

    Parameters
    ----------
    found
        Takes lines and proposals.
    rows, names
        A block of the table as it is read, and its columns.
    reading
        Keywords of `ingest.ingest`.
    transform
        Keywords of `transform.fit`.
    complete
        False if these are the first rows only.

    Returns
    -------
    polars.Series
        The valid sequences, in upper case; empty if there is no column of sequences.
    """
    if not inspect_header(found, rows, names, reading["header"], "input"):
        return pl.Series([], dtype=pl.String)
    measured = {column("expression", name): name for name in reading["conditions"]}
    taken = inspect_columns(found, rows, names, reading["columns"], REQUIRED[:1] if measured else REQUIRED, "input")
    for role, condition in measured.items() or [("expression", "")]:
        if role in taken:
            inspect_expression(found, rows, taken[role], reading, transform, complete, condition)
    if "sequence" not in taken:
        return pl.Series([], dtype=pl.String)
    return inspect_letters(found, rows[taken["sequence"]], reading["ambiguous"])


def inspect_expression(
    found: Inspection,
    rows: pl.DataFrame,
    name: str,
    reading: Mapping[str, Any],
    transform: Mapping[str, Any],
    complete: bool,
    condition: str = "",
) -> None:
    """Say the range of expression; propose the decimal sign, limits, the treatment of missing cells, and a transform.

    Promoters may be missing in some of several conditions; ``condition`` is empty if there is only one.
    """
    decimal, other = reading["decimal"], "," if reading["decimal"] == "." else "."
    if numbers(rows, name, other).count() > numbers(rows, name, decimal).count():
        example = next(cell for cell in rows[name] if cell and other in cell)
        sign = "commas" if other == "," else "points"
        found.propose(f"numbers of '{name}' have decimal {sign} (such as {example})", {"input.decimal": other})
        decimal = other
    values = numbers(rows, name, decimal).drop_nulls().to_numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return
    missing = int(rows.select(missing_cells(pl.col(name).cast(pl.String).str.strip_chars()).sum()).item())
    if missing and condition:
        found.say("missing", f"{missing:,} of {rows.height:,} rows have no expression in {condition}")
    elif missing and reading["missing"] == "error":
        found.propose(f"{missing:,} of {rows.height:,} rows have no expression (empty, NA or NaN)", {"input.missing": "drop"})
    elif missing:
        found.say("missing", f"{missing:,} of {rows.height:,} rows have no expression and are dropped")
    skew = skewness(values)
    where = f" in {condition}" if condition else ""
    found.say("expression", f"{values.min():.4g} to {values.max():.4g}, median {np.median(values):.4g}, skewness {skew:.1f}{where}")
    low, high = reading["expression_range"]
    keys: dict[str, Any] = {}
    limits = rounded_range(values.min(), values.max(), complete)
    if values.min() >= 0 > limits[0]:
        limits = 0.0, limits[1]
    if values.min() < low:
        keys["input.expression_min"] = limits[0]
    if values.max() > high:
        keys["input.expression_max"] = limits[1]
    if keys:
        found.propose(f"expression runs from {values.min():.4g} to {values.max():.4g}, and {low:g} to {high:g} is accepted", keys)
    propose_transform(found, values, transform)


def propose_transform(found: Inspection, values: np.ndarray, transform: Mapping[str, Any]) -> None:
    """Propose a transform of skewed expression, and a floor for log2 of zeros."""
    skew, name = skewness(values), transform["name"]
    positive = values[values > 0]
    if name == "log2" and transform["floor"] is None and len(positive) < len(values) and len(positive):
        low = f"{np.quantile(positive, 0.01):.3g}"
        finding = f"{percent(1 - len(positive) / len(values))} of the values are 0 or less and have no logarithm"
        found.propose(finding, {"input.transform_floor": float(low)}, advice="better: the lowest expression that the assay tells from 0")
    if name != "none" or skew < _SKEWED:
        return
    share = _share_of_few(values)
    finding = f"labels skewed (skewness {skew:.1f}; 1 % of the promoters hold {percent(share)} of the variance)"
    if len(positive) == len(values) and abs(skewness(np.log2(values))) < skew / 2:
        found.propose(finding, {"input.transform": "log2"})
    elif values.min() >= 0 and len(positive) > len(values) / 2:
        floor = float(f"{np.quantile(positive, 0.01):.3g}")
        found.propose(finding, {"input.transform": "log2", "input.transform_floor": floor})
    else:
        found.propose(finding, {"input.transform": "rank_normal"})


def skewness(values: np.ndarray) -> float:
    """Return the skewness of values, their third standardised moment; 0 if all are equal."""
    centred = values - values.mean()
    sd = centred.std()
    return float((centred**3).mean() / sd**3) if sd > 0 else 0.0


def _share_of_few(values: np.ndarray) -> float:
    """Return the share of the variance that the 1 % of the values farthest from the mean hold."""
    square = np.sort((values - values.mean()) ** 2)
    return float(square[-max(1, len(values) // 100) :].sum() / max(square.sum(), 1e-300))


def inspect_flanks(
    found: Inspection, sequences: pl.Series, scaffold: Scaffold, policy: Policy, known: Mapping[str, Scaffold]
) -> tuple[Scaffold, pl.Series]:
    """Say where flanks are in the sequences of a table, and propose the scaffold that they have.

    Parameters
    ----------
    found
        Takes lines and proposals.
    sequences
        Valid sequences.
    scaffold, policy
        Of the config.
    known
        Name -> further scaffolds to search for.

    Returns
    -------
    tuple
        The scaffold of the config, or the proposed one; and the sequences on the strand of its flanks.
    """
    sample = sequences.head(_SAMPLE)
    if not len(sample):
        return scaffold, sequences
    own = constants.locate(sample, scaffold.five_prime, scaffold.three_prime)
    has_flanks = bool(scaffold.five_prime or scaffold.three_prime)
    if has_flanks and own.ends >= _MOST:
        text = f"whole promoters: both flanks of '{scaffold.name}' at the ends of {percent(own.ends)}"
        found.say(
            "flanks", text + ("" if own.ends > 0.995 else f"; scaffold.damaged_flanks: {policy.damaged_flanks} holds for damaged ones")
        )
        return scaffold, sequences
    if has_flanks and own.reverse >= _MOST:
        where = "" if own.place is None else f", the 3' flank at {own.place[0]}..{own.place[1]}"
        finding = f"flanks of '{scaffold.name}' on the reverse strand in {percent(own.reverse)} of the sequences{where}"
        found.propose(finding, advice="give the reverse complements of the sequences; no key turns a table around")
        return scaffold, reverse_complement_sequences(sequences)
    others = {name: constants.locate(sample, each.five_prime, each.three_prime) for name, each in known.items() if name != scaffold.name}
    for name, place in others.items():
        if place.ends >= _MOST:
            finding = f"both flanks of the scaffold '{name}' at the ends of {percent(place.ends)} of the sequences"
            found.propose(finding, {"scaffold.name": name})
            return known[name], sequences
        if place.reverse >= _MOST:
            finding = f"flanks of the scaffold '{name}' on the reverse strand in {percent(place.reverse)} of the sequences"
            found.propose(finding, {"scaffold.name": name}, advice="give the reverse complements of the sequences")
            return known[name], reverse_complement_sequences(sequences)
    five, three = constants.constant_ends(sample)
    if five or three:
        if has_flanks and own.forward >= _MOST and own.place is not None:
            where = f"at {own.place[0]}..{own.place[1]} rather than at the ends"
            finding = f"both flanks of '{scaffold.name}' in {percent(own.forward)} of the sequences, {where}"
        else:
            finding = f"constant ends that are no flanks of '{scaffold.name}': {five or '(none)'} and {three or '(none)'}"
        new = Scaffold(NEW_SCAFFOLD, five, three)
        entry = {NEW_SCAFFOLD: {"five_prime": five, "three_prime": three}}
        found.propose(finding, {"scaffold.name": NEW_SCAFFOLD}, advice="--write writes the file of scaffolds", scaffolds=entry)
        return new, sequences
    if not has_flanks:
        found.say("flanks", "none, and the scaffold has none")
        return scaffold, sequences
    if own.forward >= _MOST and own.place is not None:
        finding = f"both flanks of '{scaffold.name}' within {percent(own.forward)} of the sequences, at {own.place[0]}..{own.place[1]}"
        found.propose(finding, advice="cut the sequences at the flanks")
        return scaffold, sequences
    if constants.are_variants(sample):
        found.say("sequences", "variants of one parent")
    if policy.add_missing_flanks:
        found.say("flanks", f"inserts only, to which the flanks of '{scaffold.name}' are added")
        if constants.are_variants(sample):
            found.propose(
                f"sequences without flanks of '{scaffold.name}', which would be added",
                {"scaffold.name": "none"},
                advice="unless the library was cloned between them",
            )
            return Scaffold("none", "", ""), sequences
    else:
        found.propose(f"no flanks of '{scaffold.name}' in the sequences", {"scaffold.add_missing_flanks": True})
    return scaffold, sequences


def inspect_inserts(found: Inspection, sequences: pl.Series, scaffold: Scaffold, policy: Policy, window: Mapping[str, Any]) -> None:
    """Say the lengths of inserts; propose limits of their length, segments, and the window of the model.

    Parameters
    ----------
    found, sequences, scaffold, policy
        As for `inspect_flanks`.
    window
        ``length`` and ``keep`` of the section ``scaffold``.
    """
    if not len(sequences):
        return
    inserts = flanks.inserts(sequences, scaffold, policy.max_flank_edits)
    lengths = inserts.str.len_bytes().to_numpy()
    outer = len(scaffold.five_prime) + len(scaffold.three_prime)
    found.say("insert length", f"{span(int(lengths.min()), int(lengths.max()))}, most {np.bincount(lengths).argmax()} bp")
    low, high = policy.insert_length
    outside = float(((lengths < low) | (lengths > high)).mean())
    if outside > _FEW_OUTSIDE:
        usual = constants.insert_lengths(lengths)
        keys: dict[str, Any] = {"scaffold.insert_length": list(usual)}
        if ((lengths < usual[0]) | (lengths > usual[1])).any() and policy.outside_length == "error":
            keys["scaffold.outside_length"] = "drop"
        found.propose(f"{percent(outside)} of the inserts are not {low} to {high} bp long", keys)
        low, high = usual
    elif outside and policy.outside_length == "error":
        found.propose(f"{percent(outside)} of the inserts are not {low} to {high} bp long", {"scaffold.outside_length": "drop"})
    elif outside:
        found.say("dropped", f"{percent(outside)} of the inserts, not {low} to {high} bp long")
    inserts = inserts.filter(pl.Series((lengths >= low) & (lengths <= high)))
    if not len(inserts):
        return
    if not policy.segments and not constants.are_variants(inserts) and (barcode := constants.barcode_of(inserts)):
        side, length = barcode
        promoter = len(inserts[0]) - length
        segments = f"promoter {promoter}, barcode {length}" if side == "right" else f"barcode {length}, promoter {promoter}"
        end = "last" if side == "right" else "first"
        finding = f"many inserts are equal but for their {end} {length} bp, which look like barcodes"
        found.propose(finding, {"scaffold.segments": segments}, advice="else copies of a promoter would be in several splits")
        inspect_window(found, np.array([promoter + outer]), window)
        return
    inner = sum(segment.length or 0 for segment in parse(policy.segments) if segment.kind == "promoter")
    kept = inserts.str.len_bytes().to_numpy().astype(np.int64)
    inspect_window(found, (np.array([inner]) if inner else kept) + outer, window)


def inspect_window(found: Inspection, lengths: np.ndarray, window: Mapping[str, Any], weights: np.ndarray | None = None) -> None:
    """Say how promoters fit into the model's window, and propose its length.

    Parameters
    ----------
    found
        Takes lines and proposals.
    lengths, weights
        Lengths of promoters with flanks in bp, and their weights, shape ``(n,)``.
    window
        ``length`` and ``keep`` of the section ``scaffold``.
    """
    length, keep = window["length"], window["keep"]
    weights = np.ones(len(lengths)) if weights is None else weights
    longer = float(weights[lengths > length].sum() / weights.sum())
    usual, longest = constants.insert_lengths(lengths, weights)[1], int(lengths.max())
    end = "first" if keep == "right" else "last"
    if longer > _FEW_LONG:
        finding = f"{percent(longer)} of the promoters are longer than the window, up to {usual} bp, and lose their {end} bases"
        found.propose(finding, {"scaffold.length": usual})
    elif usual < 0.9 * length:
        finding = f"promoters are at most {usual} bp long with their flanks; a window of {length} bp takes more time for nothing"
        found.propose(finding, {"scaffold.length": usual})
    elif longer:
        text = f"{length} bp; {percent(longer)} of the promoters are longer, up to {longest} bp, and lose their {end} bases"
        found.say("window", text)
    else:
        found.say("window", f"{length} bp holds promoters of up to {longest} bp with their flanks")


def inspect_duplicates(found: Inspection, table: pl.DataFrame, duplicates: str) -> None:
    """Say how many rows repeat a sequence, and propose what to do if their expression differs.

    Parameters
    ----------
    found
        Takes lines and proposals.
    table
        ``sequence``, ``expression`` and perhaps ``barcode``.
    duplicates
        ``input.duplicates``.
    """
    key = [name for name in ("sequence", "barcode") if name in table.columns]
    repeated = table.height - table.select(key).n_unique()
    if not repeated:
        return
    found.say("duplicates", f"{repeated:,} of {table.height:,} rows repeat a sequence")
    differing = table.filter(pl.col("expression").n_unique().over(key) > 1)
    if differing.height and duplicates == "error":
        number = differing.select(key).n_unique()
        finding = f"{number:,} sequence{'s have' if number > 1 else ' has'} several values of expression"
        found.propose(finding, {"input.duplicates": "mean"})
