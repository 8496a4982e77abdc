"""Transcription-factor motifs: read position frequency matrices and scan both strands of promoters."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpraflow.core.errors import InputError
from gpraflow.sequences import motif_files
from gpraflow.sequences.scaffold import PADDING, one_hot

_CHUNK = 256  # promoters per block; small enough for the CPU cache
_SHARED = 5  # minimum overlap in bp when two motifs are compared


@dataclass(frozen=True)
class Motif:
    """A motif: matrix identifier, transcription factor, and ``(width, 4)`` log-odds (natural log)."""

    matrix_id: str
    factor: str
    log_odds: np.ndarray

    @property
    def strands(self) -> tuple[np.ndarray, np.ndarray]:
        """Log-odds for sites on the forward and on the reverse strand, both in forward-strand orientation."""
        return self.log_odds, self.log_odds[::-1, ::-1]

    @property
    def frequencies(self) -> np.ndarray:
        """Base frequencies, with the pseudocount, ``(length, 4)``."""
        raw = np.exp(self.log_odds.astype(np.float64))
        return raw / raw.sum(axis=1, keepdims=True)


def load(path: str | os.PathLike, pseudocount: float = 0.01, most: int | None = None) -> list[Motif]:
    """Read position frequency matrices (JASPAR, MEME or TRANSFAC format, `motif_files.read`) as log-odds against uniform base frequencies.

    ``log_odds = ln((f + p) / (1 + 4 p) / 0.25)`` with base frequency f and pseudocount p. The pseudocount is a frequency because the
    totals of JASPAR's yeast matrices differ, and files with probabilities have none: a matrix has the same scores in every format.

    Raises
    ------
    InputError
        If the file cannot be used, see `motif_files.read`, or has more than ``most`` motifs.
    """
    loaded, matrices = [], motif_files.read(path)
    if most is not None and len(matrices) > most:
        raise InputError(
            f"{path}: {len(matrices):,} motifs; at most {most:,} are used at once. Give those of your organism, "
            "such as a JASPAR collection of one taxonomic group without redundant matrices"
        )
    for matrix_id, factor, rows in matrices:
        counts = np.array(rows, np.float64)
        frequency = counts / counts.sum(axis=1, keepdims=True)
        log_odds = np.log((frequency + pseudocount) / (1 + 4 * pseudocount) / 0.25)
        loaded.append(Motif(matrix_id, factor, log_odds.astype(np.float32)))
    return loaded


def meme(motifs: Sequence[Motif]) -> str:
    """Return motifs in MEME's minimal format, each with its identifier and, as second name, its factor."""
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", ""]
    for motif in motifs:
        rows = motif.frequencies
        lines += [f"MOTIF {motif.matrix_id} {motif.factor}", f"letter-probability matrix: alength= 4 w= {len(rows)}"]
        lines += [" ".join(f"{value:.6f}" for value in row) for row in rows] + [""]
    return "\n".join(lines)


def likeness(one: Motif, other: Motif) -> float:
    """Return the maximum correlation of the log-odds of two motifs over all offsets and strands with an overlap of at least 5 bp.

    If a motif is narrower than 5 bp, it must overlap completely.
    """
    least = min(_SHARED, len(one.log_odds), len(other.log_odds))
    best = -1.0
    for oriented in (other.log_odds, other.log_odds[::-1, ::-1]):
        for shift in range(least - len(oriented), len(one.log_odds) - least + 1):
            begin, end = max(0, shift), min(len(one.log_odds), shift + len(oriented))
            best = max(best, float(np.corrcoef(one.log_odds[begin:end].ravel(), oriented[begin - shift : end - shift].ravel())[0, 1]))
    return best


def occupancies(tokens: np.ndarray, motifs: Sequence[Motif], log_concentration: np.ndarray) -> np.ndarray:
    """Return the expected number of molecules of each factor bound to each promoter at equilibrium.

    A configuration is a set of bound, non-overlapping sites on both strands. Its statistical weight is the product over sites of
    ``exp(score - best score + c)``: a perfect site alone is bound with odds ``exp(c)``, where c is the log of the factor's concentration
    divided by the dissociation constant of its best site (Granek & Clarke 2005, doi:10.1186/gb-2005-6-10-r87). The partition function Z
    sums over all configurations by recursion from both ends: ``F[j] = F[j-1] + sum over sites w that end at j of w F[start]``, and B
    likewise. A site is bound with probability ``P = F[start] w B[end] / Z`` (Segal et al. 2008, doi:10.1038/nature06496). Overlapping
    sites compete, and no site is bound twice. De Boer et al. 2020 (doi:10.1038/s41587-019-0315-8) instead use ``S / (1 + S)`` for each
    factor separately.

    Parameters
    ----------
    tokens
        Tokens, ``(promoters, length)``. Sites do not overlap N, so padding has no effect.
    motifs
        Motifs. A motif wider than ``length`` has no sites.
    log_concentration
        c, shape ``(motifs,)``.

    Returns
    -------
    numpy.ndarray
        ``(promoters, motifs)`` float64: sum of P over the sites of each factor.
    """
    all_widths = np.array([len(motif.log_odds) for motif in motifs])
    order = np.argsort(all_widths, kind="stable")
    kinds, first = np.unique(all_widths[order], return_index=True)
    last = [*first[1:], len(motifs)]
    length, widest = tokens.shape[1], int(kinds[-1])
    matrices = np.zeros((2, len(motifs), widest, 4), np.float32)
    for row, index in enumerate(order):
        # Sums of multiples of 2^-16 are exact in float32, so results do not depend on the number of BLAS threads.
        log_odds = np.round(motifs[index].log_odds * 65536) / 65536
        matrices[0, row, : len(log_odds)] = log_odds
        matrices[1, row, : len(log_odds)] = log_odds[::-1, ::-1]
    shift = (log_concentration[order] - matrices[0].max(axis=2).sum(axis=1)).astype(np.float32)[:, None, None]
    flat = matrices.reshape(2 * len(motifs), widest * 4)

    occupancy = np.empty((len(tokens), len(motifs)))
    for begin in range(0, len(tokens), _CHUNK):
        padded = np.pad(tokens[begin : begin + _CHUNK].T, ((0, widest - 1), (0, 0)), constant_values=PADDING)
        rows = padded.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(one_hot(padded), widest, axis=0)  # (starts, rows, 4, widest)
        scores = flat @ windows.transpose(0, 1, 3, 2).reshape(-1, widest * 4).T
        weights = np.exp(scores.reshape(2, len(motifs), length, rows) + shift).sum(axis=0)
        n_before = np.pad(np.cumsum(padded == PADDING, axis=0), ((1, 0), (0, 0)))
        for low, high, width in zip(first, last, kinds, strict=True):
            weights[low:high] *= n_before[width : width + length] == n_before[:length]
        by_width = np.add.reduceat(weights, first, axis=0, dtype=np.float64)
        before, after = np.ones((length + 1, rows)), np.ones((length + 1, rows))
        for end in range(1, length + 1):
            fits = np.flatnonzero(kinds <= end)
            starts = end - kinds[fits]
            before[end] = before[end - 1] + np.einsum("kr,kr->r", by_width[fits, starts], before[starts])
        for start in range(length - 1, -1, -1):
            fits = np.flatnonzero(kinds <= length - start)
            after[start] = after[start + 1] + np.einsum("kr,kr->r", by_width[fits, start], after[start + kinds[fits]])
        for low, high, width in zip(first, last, kinds, strict=True):
            free = before[: max(length - width + 1, 0)] * after[width:] / after[0]  # configurations on either side of the site
            bound = np.einsum("fsr,sr->rf", weights[low:high, : len(free)], free.astype(np.float32))
            occupancy[begin : begin + rows, order[low:high]] = bound
    return occupancy
