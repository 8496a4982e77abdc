"""Where searches start: random sequences of the library's composition, given sequences, or the best promoters of the library.

Also the bases that a search may change: templates, protected segments, and flanks, which are always fixed.
"""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.design.constraints import pattern_bits
from gpraflow.prediction.calibration import Calibration, count_kmers
from gpraflow.sequences.scaffold import ALPHABET, BASES, tokenize

RANDOM, LIBRARY = "random", "library"
_SEGMENT = re.compile(r"(\d+)(?:-(\d+))?")
_KMER = 3


def composition(inserts: pl.Series) -> np.ndarray:
    """Return the share of each 3-mer in inserts (``AAA, AAC, ... TTT``), with a pseudocount of 1, ``(64,)``."""
    counts = np.ones(BASES**_KMER)
    for length in np.unique(inserts.str.len_bytes().to_numpy()):
        rows = inserts.filter(inserts.str.len_bytes() == int(length))
        if length >= _KMER:
            counts += count_kmers(tokenize(rows, int(length))).sum(axis=0)
    return counts / counts.sum()


def composition_without_flanks(known: Calibration) -> np.ndarray:
    """Return the share of each 3-mer in inserts, estimated from those of whole promoters by taking off the flanks, ``(64,)``."""
    length = sum(known.lengths) / 2
    counts = (np.array(known.kmer_shares) * (length - _KMER + 1)).reshape([BASES] * _KMER)
    unknown = "N" * (_KMER - 1)  # 3-mers at the joints hold unknown bases of the insert
    for flank in (known.five_prime + unknown, unknown + known.three_prime):
        for at in range(len(flank) - _KMER + 1):
            bases = [range(BASES) if base == "N" else [ALPHABET.index(base)] for base in flank[at : at + _KMER]]
            here = np.ix_(*bases)
            counts[here] -= 1 / counts[here].size
    counts = np.maximum(counts, 0.05 * counts.mean()).ravel()  # a 3-mer of a flank may be estimated as rare, never as absent
    return counts / counts.sum()


def random_inserts(shares: np.ndarray, number: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Draw inserts from the Markov chain of second order with these shares of 3-mers, ``(number, length)`` uint8 tokens."""
    cube = shares.reshape(BASES, BASES, BASES)
    pairs = cube.sum(axis=2).ravel()
    following = np.cumsum(cube / cube.sum(axis=2, keepdims=True), axis=2)
    tokens = np.empty((number, max(length, 2)), np.uint8)
    first = rng.choice(BASES * BASES, number, p=pairs / pairs.sum())
    tokens[:, 0], tokens[:, 1] = first // BASES, first % BASES
    for at in range(2, length):
        ends = following[tokens[:, at - 2], tokens[:, at - 1]]
        tokens[:, at] = np.minimum((rng.random(number)[:, None] > ends).sum(axis=1), BASES - 1)
    return tokens[:, :length]


def segments(texts: Sequence[str], length: int) -> np.ndarray:
    """Return the positions of an insert that segments such as ``5-20`` (from 1, both ends included) protect, ``(length,)`` bool.

    Raises
    ------
    ConfigError
        If a segment is no such text, or lies outside the insert.
    """
    protected = np.zeros(length, bool)
    for text in texts:
        match = _SEGMENT.fullmatch(str(text).strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or not 1 <= first <= last:
            raise ConfigError(f"design.protect: '{text}' is no segment; give first and last position in the insert, from 1, such as 5-20")
        if last > length:
            raise ConfigError(f"design.protect: segment {text} ends beyond the insert of {length} bp")
        protected[first - 1 : last] = True
    return protected


def check_template(template: str, flanks: int, window: int, least: int, most: int) -> None:
    """Check that a template is DNA and that the construct fits the model's window and its training promoters.

    Raises
    ------
    ConfigError
        If it has other letters than IUPAC codes.
    InputError
        If the construct is longer than the window, or of a length that no training promoter had.
    """
    pattern_bits(template, "design.template")
    length = len(template) + flanks
    if length > window:
        raise InputError(
            f"design.template: {len(template)} bp and flanks of {flanks} bp make {length} bp, more than the model's window of {window} bp; "
            f"shorten the template to at most {window - flanks} bp"
        )
    if not least <= length <= most:
        raise InputError(
            f"design.template: {len(template)} bp and flanks of {flanks} bp make {length} bp, but the training promoters had {least} to "
            f"{most} bp; give a template of {max(least - flanks, 1)} to {most - flanks} bp, with N for bases that may change"
        )


def possible(inserts: np.ndarray, flanks: tuple[str, str], template: str = "", protect: Sequence[str] = ()) -> np.ndarray:
    """Return the possible bases of constructs, ``(designs, length)`` bits: flanks and protected segments are fixed.

    Parameters
    ----------
    inserts
        ``(designs, length)`` tokens of the starts.
    flanks
        The 5' and the 3' flank.
    template
        IUPAC codes of the insert's possible bases; N for any. Empty for none.
    protect
        Segments, see `segments`.
    """
    bits = np.broadcast_to(pattern_bits(template) if template else np.uint8(15), inserts.shape).copy()
    fixed = segments(protect, inserts.shape[1])
    bits[:, fixed] = 1 << inserts[:, fixed]
    five, three = (np.broadcast_to(pattern_bits(flank), (len(inserts), len(flank))) if flank else None for flank in flanks)
    return np.concatenate([part for part in (five, bits, three) if part is not None], axis=1)


def fill_template(inserts: np.ndarray, template: str, rng: np.random.Generator) -> np.ndarray:
    """Return inserts in which bases that a template does not allow are replaced by random ones that it allows."""
    if not template:
        return inserts
    bits = pattern_bits(template)
    filled = inserts.copy()
    for at, allowed in enumerate(bits):
        bases = np.flatnonzero((allowed >> np.arange(BASES)) & 1)
        wrong = np.flatnonzero(~np.isin(filled[:, at], bases))
        filled[wrong, at] = rng.choice(bases, len(wrong))
    return filled


def check_known_bases(inserts: pl.Series, where: str) -> None:
    """Check that starts have no N, which a design cannot hold.

    Raises
    ------
    InputError
        If one does.
    """
    with_n = inserts.str.contains("[^ACGT]")
    if with_n.any():
        row = int(with_n.arg_max())  # type: ignore[arg-type]
        raise InputError(f"{where}, sequence {row + 1}: {inserts[row]} has bases other than {ALPHABET[:BASES]}; replace or drop it")


def best_of(library: pl.DataFrame, inserts: pl.Series, kind: str, target: float | None, number: int, length: int) -> np.ndarray:
    """Return the rows of the library whose measured expression is best for an objective, best first, ``(rows,)``.

    Parameters
    ----------
    library
        ``expression``.
    inserts
        Their inserts; only those of ``length`` bp without N are taken.
    kind, target
        Objective.
    number
        Largest number of rows.
    """
    usable = (inserts.str.len_bytes() == length) & ~inserts.str.contains("[^ACGT]")
    rows = np.flatnonzero(usable.to_numpy())
    expression = library["expression"].to_numpy()[rows].astype(np.float64)
    order = {"maximize": -expression, "minimize": expression}.get(kind)
    order = np.abs(expression - (target or 0.0)) if order is None else order
    return rows[np.argsort(order, kind="stable")][:number]
