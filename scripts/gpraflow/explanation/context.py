"""Context of a variant: rank among all single mutants of its promoter and among random variants, motifs gained and lost, and its name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from scipy import special

from gpraflow.core import conditions, drawing, files
from gpraflow.explanation import figures
from gpraflow.explanation.mutagenesis import effects_of_readouts, effects_table, explain, places
from gpraflow.explanation.sites import site_scores
from gpraflow.formats import vcf
from gpraflow.prediction import background
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import ALPHABET, BASES, PADDING, tokenize

IN_PROMOTER, IN_LIBRARY = "percentile_in_promoter", "percentile_in_library"
DESCRIPTIONS = {
    "expression_ref": "predicted expression of the reference",
    "expression_alt": "predicted expression of the alternative",
    "effect_alt_minus_ref": "predicted effect: expression of the alternative minus that of the reference, transformed as in training",
    "effect_low": "lower end of the 95 % interval of the effect",
    "effect_high": "upper end of the 95 % interval of the effect",
    "effect_interval": "what the interval rests on",
    "out_of_distribution_ref": "why the reference lies outside the training distribution",
    "out_of_distribution_alt": "why the alternative lies outside the training distribution",
    "hgvs": "HGVS-like name in the construct",
    IN_PROMOTER: "percentile of the effect among all single substitutions of the promoter",
    IN_LIBRARY: "percentile of the effect among random single substitutions of the library",
    "motif_lost": "motifs whose best site is lost",
    "motif_gained": "motifs that gain a site",
    "construct": "construct that contains the variant",
}
_CHANGED = 0.2  # least change of the occupancy of the best site, of which the best possible site has .5
_OF_BEST = 0.5  # a motif is named with another one if its change is at least this fraction of the largest


def annotate(predictor: Predictor, pairs: pl.DataFrame, whole: pl.DataFrame, effects: pl.DataFrame, known: Sequence[Motif]) -> pl.DataFrame:
    """Return a block of variant effects with their context.

    Parameters
    ----------
    predictor
        The model.
    pairs
        Variants as `variants.read` yields them: ``name``, ``ref``, ``alt``; ``construct`` if there is one.
    whole
        ``ref`` and ``alt`` with flanks, as they were predicted.
    effects
        Their effects (`variants.effects`).
    known
        Motifs that a variant can gain or lose.

    Returns
    -------
    polars.DataFrame
        ``effects`` with ``hgvs`` (`vcf.hgvs`; positions in the reference as its file has it), for each readout ``percentile_in_promoter``
        (of the effect among all single substitutions of the insert; 0 for the strongest decrease, 100 for the strongest increase) and
        ``percentile_in_library`` (among random substitutions of the library, `background.compute`; null without ``background.json``), and
        ``motif_lost`` and ``motif_gained``: motifs whose best site changes its occupancy by at least .2, the largest change first, with
        those that change at least half as much; null if there are none.
    """
    parents = whole["ref"].unique(maintain_order=True)
    numbers = dict(zip(parents, range(len(parents)), strict=True))
    row_of = np.array([numbers[text] for text in whole["ref"]])
    tokens, mutated = tokenize(parents, **predictor.window), places(predictor, parents)
    stored = background.read(predictor.directory)
    constructs = constructs_of(pairs)
    names = [vcf.hgvs(*each) for each in zip(constructs, pairs["ref"], pairs["alt"], strict=True)]
    columns = [pl.Series("hgvs", names, pl.String)]
    of_readouts = effects_of_readouts([predictor.of(readout) for readout in predictor.readouts], tokens, mutated)
    for readout, of_all in zip(predictor.readouts, of_readouts, strict=True):
        own = effects[conditions.column("effect_alt_minus_ref", readout)].cast(pl.Float64).fill_null(np.nan).to_numpy()
        ranks = np.full(len(own), np.nan)
        for row, of_parent in enumerate(of_all):
            mutants = _mutants(of_parent, tokens[row])
            here = row_of == row
            if len(mutants):
                ranks[here] = background.percentiles(own[here], np.sort(mutants) if len(mutants) > 1 else np.repeat(mutants, 2))
        columns.append(pl.Series(conditions.column(IN_PROMOTER, readout), ranks, pl.Float32).fill_nan(None))
        quantiles = (stored or {"effects": {}})["effects"].get(readout)
        of_library = np.full(len(own), np.nan) if quantiles is None else background.percentiles(own, quantiles)
        columns.append(pl.Series(conditions.column(IN_LIBRARY, readout), of_library, pl.Float32).fill_nan(None))
    lost, gained = motif_changes(tokens[row_of], tokenize(whole["alt"], **predictor.window), known)
    columns += [pl.Series("motif_lost", lost, pl.String), pl.Series("motif_gained", gained, pl.String)]
    return effects.with_columns(columns)


def constructs_of(pairs: pl.DataFrame) -> pl.Series:
    """Return the names of the references: of the construct in a genome, CHROM of variants named by position, or the name of the pair."""
    return pairs[next(name for name in ("construct", "chrom", "name") if name in pairs.columns)]


def collect(drawn: dict[str, pl.DataFrame], pairs: pl.DataFrame, whole: pl.DataFrame, most: int) -> None:
    """Add the variants of the first ``most`` references to ``drawn``, which `draw_maps` takes: reference -> ``ref`` and ``alt``, whole."""
    for name, ref, alt in zip(constructs_of(pairs), whole["ref"], whole["alt"], strict=True):
        if name in drawn or len(drawn) < most:
            row = pl.DataFrame({"ref": [ref], "alt": [alt]})
            drawn[name] = pl.concat([drawn[name], row]) if name in drawn else row


def draw_maps(predictor: Predictor, drawn: dict[str, pl.DataFrame], folder: str | os.PathLike, unit: str) -> None:
    """Draw `figures.saturation_map` of each reference, with its substitutions of one base marked, and write the effects beside it."""
    for number, (name, variants) in enumerate(drawn.items(), start=1):
        sequences = variants["ref"].head(1)
        _, effects, estimated, begin = explain(predictor, sequences)
        marks = [change for each in variants.unique(maintain_order=True).iter_rows() if (change := vcf.change(*each)) is not None]
        single = [
            (change.position, change.inserted)
            for change in marks
            if change.inserted in tuple(ALPHABET[:BASES]) and len(change.removed) == 1
        ]
        at = np.arange(len(sequences[0])) + int(begin[0])
        inside = (at >= 0) & (at < effects.shape[1])
        shown = np.full((len(sequences[0]), effects.shape[2]), np.nan, np.float32)
        shown[inside] = effects[0, at[inside]]
        path = Path(folder) / f"{number}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)[:80]}"
        drawing.save(
            figures.saturation_map(sequences[0], shown, single, name, unit),
            path.with_name(path.name + ".png"),
            path.with_name(path.name + ".svg"),
        )
        table = effects_table(pl.Series([name]), sequences, effects, estimated, begin)
        files.write_text(path.with_name(path.name + ".tsv"), table.write_csv(separator="\t", float_precision=6))


def vcf_records(pairs: pl.DataFrame, effects: pl.DataFrame) -> pl.DataFrame:
    """Return records for `vcf.write`: `variants.ALLELES` of a VCF, otherwise the difference of the sequences, and effects as INFO fields.

    Pairs of equal sequences are left out.
    """
    constructs = constructs_of(pairs)
    if "construct" in pairs.columns:
        placed = list(pairs.select("chrom", "pos", "allele_ref", "allele_alt").iter_rows())
    else:
        found = [vcf.alleles(*each) for each in pairs.select("ref", "alt").iter_rows()]
        placed = [(name, *each) if each else (name, None, None, None) for name, each in zip(constructs, found, strict=True)]
    places = {"chrom": pl.String, "pos": pl.Int64, "ref": pl.String, "alt": pl.String}
    records = pl.DataFrame(placed, schema=places, orient="row")
    identifiers = pl.Series("id", [vcf.identifier(name) for name in pairs["name"]], pl.String)
    fields = effects.drop("name", strict=False).rename({name: f"{name}_effect" for name in places if name in effects.columns})
    return pl.concat([records.with_columns(identifiers), fields], how="horizontal").filter(pl.col("pos").is_not_null())


def _mutants(effects: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return the effects of all substitutions of a promoter."""
    there = np.isfinite(effects)
    there[np.arange(len(tokens))[tokens < PADDING], tokens[tokens < PADDING]] = False
    return effects[there].astype(np.float64)


def motif_changes(ref: np.ndarray, alt: np.ndarray, known: Sequence[Motif]) -> tuple[list[str | None], list[str | None]]:
    """Return motifs lost and gained between ``(variants, length)`` tokens, separated by commas; None where there are none.

    The occupancy of a promoter is that of the best site on either strand, 1 / (1 + exp(best possible score - score)).
    """
    changes = np.zeros((len(ref), len(known)))
    for index, motif in enumerate(known):
        if len(motif.log_odds) <= ref.shape[1]:
            best = [np.max([site_scores(tokens, strand).max(axis=1) for strand in motif.strands], axis=0) for tokens in (ref, alt)]
            changes[:, index] = special.expit(best[1]) - special.expit(best[0])
    found: list[list[str | None]] = []
    for direction in (-1, 1):
        towards = direction * changes
        lines: list[str | None] = []
        for row in towards:
            order = np.argsort(-row, kind="stable")
            named = [known[index].factor for index in order if row[index] >= max(_CHANGED, _OF_BEST * row.max(initial=0))]
            lines.append(",".join(dict.fromkeys(named)) or None)
        found.append(lines)
    return found[0], found[1]
