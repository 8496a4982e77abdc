"""Answers of the page's server as JSON: the model, predictions, effects of substitutions, motif sites, comparisons of two promoters."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import gpraflow
from gpraflow.core import conditions, config
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.explanation import mutagenesis
from gpraflow.explanation import sites as explanation_sites
from gpraflow.formats import columns, records
from gpraflow.prediction.calibration import Calibration, count_kmers, divergence, unknown_bases
from gpraflow.prediction.predictor import HIGH, LOW, PREDICTED, SPREAD, Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import BASES, tokenize

MOST_BYTES = 1 << 20  # of a request
MOST_PROMOTERS = 1000  # of a request
LONGEST = 2000  # bp of a promoter
_PASTED = "text"  # what messages call pasted text


def describe(predictor: Predictor, name: str) -> dict[str, Any]:
    """Return what the page says of the model, and what its figures need.

    Parameters
    ----------
    predictor
        The model, with its calibration.
    name
        Name of the model, such as that of its run.
    """
    known, about = predictor.require_calibration(), predictor.about
    five, three = predictor.flanks
    least, most = known.lengths
    return {
        "name": name,
        "version": gpraflow.__version__,
        "architecture": about["architecture"],
        "parameters": about["parameters"],
        "members": about["members"],
        "promoters": about.get("promoters", {}),
        "scaffold": known.scaffold,
        "five_prime": five,
        "three_prime": three,
        "window": predictor.window,
        "lengths": [least, most],
        "inserts": [max(end - len(five) - len(three), 0) for end in (least, most)],
        "reads": known.reads,
        "transform": known.transform.name,
        "readouts": [_readout(predictor.of(readout)) for readout in predictor.readouts],
        "limits": {"bytes": MOST_BYTES, "promoters": MOST_PROMOTERS, "length": LONGEST},
    }


def _readout(predictor: Predictor) -> dict[str, Any]:
    """Return name, title and unit of a readout, and the quantiles 0, .01, ... 1 of measured expression of training promoters."""
    known = predictor.require_calibration()
    return {
        "name": predictor.readout,
        "title": predictor.readout.replace("-", " − ") or "expression",
        "difference": "-" in predictor.readout,
        "unit": "expression" if known.transform.name == "none" else config.transformed_unit(known.transform.name, "expression"),
        "quantiles": [round(value, 4) for value in known.expression_quantiles],
    }


def read(text: str, file: str, ledger: Ledger) -> pl.DataFrame:
    """Return the promoters of pasted text or of an uploaded file: ``row``, ``name`` and ``sequence``.

    FASTA, a table with a column ``sequence``, or one promoter a line.

    Parameters
    ----------
    text
        The text.
    file
        Name of the file for messages; empty for pasted text.
    ledger
        Records changes to sequences.

    Raises
    ------
    InputError
        If it is none of these, or there are more or longer promoters than the page shows.
    """
    where = file or _PASTED
    if not text.strip():
        raise InputError("There is no sequence yet: paste a promoter, or open a FASTA file or a table.")
    first = text.lstrip("\ufeff \t\r\n").partition("\n")[0]
    if first.startswith(">") or any(sign in first for sign in "\t,;") or first.strip().strip('"').lower() == "sequence":
        rows = _read_file(text.lstrip("\ufeff \t\r\n"), where, ledger)
    else:
        lines = [(number, "".join(line.split())) for number, line in enumerate(text.splitlines(), start=1)]
        table = pl.DataFrame([(number, str(number), line) for number, line in lines if line], schema=_RECORD, orient="row")
        rows = columns.check_sequences(table, where, ledger, "line", "n")
        if rows.height == 1:
            rows = rows.with_columns(name=pl.lit("promoter"))
    if rows.height > MOST_PROMOTERS:
        raise InputError(
            f"{where}: {rows.height:,} promoters, more than the {MOST_PROMOTERS:,} that the page shows; use gpraflow predict for more"
        )
    lengths = rows["sequence"].str.len_bytes()
    if (lengths > LONGEST).any():
        row = int(lengths.arg_max())  # type: ignore[arg-type]
        raise InputError(
            f"{where}, promoter {row + 1}: {lengths[row]:,} bp, more than the {LONGEST:,} bp that the page shows; give the promoter, "
            "not the region around it"
        )
    return rows


_FOR_COMMANDS = "; give --sequence-column, or --no-header if there is no header"
_RECORD = {"row": pl.Int64, "name": pl.String, "sequence": pl.String}


def _read_file(text: str, where: str, ledger: Ledger) -> pl.DataFrame:
    """Return the records of FASTA or of a table; messages call it ``where``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _PASTED)
        path.write_text(text, encoding="utf-8")
        try:
            return pl.concat(list(records.records(path, ledger, ambiguous="n")))
        except (InputError, ConfigError) as error:
            message = str(error).replace(str(path), where).replace(_FOR_COMMANDS, "; call the column of sequences 'sequence'")
            raise InputError(message) from error


def predict(predictor: Predictor, text: str, file: str = "") -> dict[str, Any]:
    """Return ``promoters`` (`predictions`) of pasted text or of an uploaded file, and ``notes``: what was changed in sequences.

    Errors as `read`.
    """
    ledger = Ledger("serve", "")
    rows = predictor.complete(read(text, file, ledger), file or _PASTED, ledger)
    ledger.note_window(rows["sequence"], **predictor.window)
    return {"promoters": predictions(predictor, rows), "notes": _notes(ledger)}


def _notes(ledger: Ledger) -> list[str]:
    return [note for note in ledger.remarks("noted") if "both flanks intact" not in note]


def predictions(predictor: Predictor, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return ``name``, ``sequence``, ``expression`` (a list for the readouts), and ``reasons`` (`reasons`) of whole promoters.

    Of each readout there are ``expression``, ``low`` and ``high`` in the unit of the training table, ``predicted``, ``predicted_low``,
    ``predicted_high`` and ``sd`` (between ensemble members) as the model has them (transformed); null where there is no interval.
    """
    outputs = predictor.outputs(tokenize(rows["sequence"], **predictor.window))
    parts = []
    for of in map(predictor.of, predictor.readouts):
        found = of.promoters(rows["sequence"], outputs=outputs)
        parts.append(
            {
                "expression": _numbers(of.transform.inverse(found[PREDICTED].to_numpy())),
                "low": _numbers(of.transform.inverse(found[LOW].cast(pl.Float64).fill_null(np.nan).to_numpy())),
                "high": _numbers(of.transform.inverse(found[HIGH].cast(pl.Float64).fill_null(np.nan).to_numpy())),
                "predicted": _numbers(found[PREDICTED].to_numpy()),
                "predicted_low": _numbers(found[LOW].cast(pl.Float64).fill_null(np.nan).to_numpy()),
                "predicted_high": _numbers(found[HIGH].cast(pl.Float64).fill_null(np.nan).to_numpy()),
                "sd": _numbers(found[SPREAD].to_numpy()) if SPREAD in found.columns else [None] * rows.height,
            }
        )
    known, codes = predictor.require_calibration(), predictor.out_of_distribution(rows["sequence"])
    return [
        {
            "name": name,
            "sequence": sequence,
            "expression": [{key: values[at] for key, values in part.items()} for part in parts],
            "reasons": reasons(known, sequence, code.split(",") if code else [], predictor.window),
        }
        for at, (name, sequence, code) in enumerate(zip(rows["name"], rows["sequence"], codes, strict=True))
    ]


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def reasons(known: Calibration, sequence: str, codes: Sequence[str], window: dict[str, Any]) -> list[str]:
    """Return sentences that say why a promoter is out of distribution; ``codes`` are those of `Calibration.out_of_distribution`."""
    least, most = known.lengths
    tokens, length = tokenize(pl.Series([sequence]), **window), len(sequence)
    unknown = int(unknown_bases(np.array([length]), tokens)[0])
    usual = f"{least}" if least == most else f"{least} to {most}"
    distance = divergence(count_kmers(tokens), np.array(known.kmer_shares))[0] / known.composition
    composition = (
        f"Its composition is unlike that of training promoters: its 3-mers are {distance:.1f} times as far from theirs as the most unusual "
        "training promoter in 1,000."
    )
    texts = {
        "length": f"It has {length} bp, but training promoters had {usual} bp.",
        "unknown bases": f"{unknown} of its bases are unknown (N), but training promoters had {known.unknown or 'none'}"
        + (" at most." if known.unknown else "."),
        "composition": composition if np.isfinite(distance) else "All of its 3-mers hold unknown bases (N).",
    }
    return [texts[code] for code in codes]


def one(predictor: Predictor, sequence: str) -> pl.Series:
    """Return a single promoter with its flanks.

    Raises
    ------
    InputError
        If it is no promoter, see `read`.
    """
    ledger = Ledger("serve", "")
    rows = read("".join(sequence.split()), "", ledger)
    return predictor.complete(rows, _PASTED, ledger)["sequence"]


def substitution_effects(predictor: Predictor, promoter: str, readout: str) -> np.ndarray:
    """Return the effects of all substitutions in a whole promoter, ``(length of the promoter, 4)`` float32, NaN where it was not mutated.

    Effects are expression with that base minus that of the promoter, in the model's own (transformed) unit.

    Raises
    ------
    ConfigError
        If the model lacks the readout.
    """
    of, whole = predictor.of(readout), pl.Series([promoter])
    effects = mutagenesis.mutational_effects(of, tokenize(whole, **of.window), mutagenesis.places(of, whole))[0]
    begin = int(mutagenesis.offsets(of, whole)[0])
    rows = np.full((len(promoter), effects.shape[1]), np.nan, np.float32)
    first, last = max(-begin, 0), min(len(promoter), len(effects) - begin)
    rows[first:last] = effects[first + begin : last + begin]
    return rows


EffectsOf = Callable[[str, str], np.ndarray]  # `substitution_effects` of a promoter and a readout, which may remember some


def explain(predictor: Predictor, effects_of: EffectsOf, sequence: str, readout: str) -> dict[str, Any]:
    """Return the prediction (`predictions`) and ``effects``, A, C, G and T for each position (`substitution_effects`); null for NaN.

    Errors as `one` and `substitution_effects`.
    """
    whole = one(predictor, sequence)
    effects = effects_of(whole[0], readout)
    (prediction,) = predictions(predictor, pl.DataFrame({"name": [""], "sequence": whole}))
    return prediction | {"effects": [_numbers(row) if np.isfinite(row).all() else None for row in effects]}


def find_sites(predictor: Predictor, effects_of: EffectsOf, motifs: Sequence[Motif], sequence: str, readout: str) -> list[dict[str, Any]]:
    """Return the motif sites of a promoter (`sites.find_sites`), from left to right; errors as `explain`."""
    of, whole = predictor.of(readout), one(predictor, sequence)
    tokens, begin = tokenize(whole, **of.window), mutagenesis.offsets(of, whole)
    effects = np.full((1, tokens.shape[1], BASES), np.nan, np.float32)
    first, last = max(begin[0], 0), min(begin[0] + len(whole[0]), tokens.shape[1])
    effects[0, first:last] = effects_of(whole[0], readout)[first - begin[0] : last - begin[0]]
    found = explanation_sites.find_sites(of, pl.Series(["promoter"]), tokens, effects, begin, motifs)
    return found.drop("name").with_columns(pl.col(pl.Float64).round(6)).to_dicts()


def compare(predictor: Predictor, ref: str, alt: str) -> list[dict[str, Any]]:
    """Return the effect of each readout, expression of ``alt`` minus ``ref``, with ``low``, ``high`` and ``interval`` (its basis, or null).

    Errors as `one`.
    """
    found = predictor.effects(one(predictor, ref), one(predictor, alt))
    keys = {"effect": "effect_alt_minus_ref", "low": "effect_low", "high": "effect_high", "interval": "effect_interval"}
    row = found.row(0, named=True)
    return [{key: row[conditions.column(name, readout)] for key, name in keys.items()} for readout in predictor.readouts]
