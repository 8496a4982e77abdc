"""Transcription-factor motif matrices: reading them and scanning promoters with them on both strands."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from Bio import motifs as bio_motifs

from gpraflow.errors import InputError
from gpraflow.scaffold import one_hot

_CHUNK = 2000


@dataclass(frozen=True)
class Motif:
    """One motif: JASPAR matrix identifier, transcription factor, ``(width, 4)`` log-odds in natural-log units."""

    matrix_id: str
    factor: str
    log_odds: np.ndarray


def load(path: str | os.PathLike, pseudocount: float = 0.01) -> list[Motif]:
    """Read count matrices in JASPAR format as log-odds against equal base frequencies.

    ``log_odds = ln((f + p) / (1 + 4 p) / 0.25)`` with base frequency f and pseudocount p (a frequency, since JASPAR's yeast matrices
    differ in their totals).

    Raises
    ------
    InputError
        If the file is missing or holds no motif.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            records = list(bio_motifs.parse(handle, "jaspar"))
    except FileNotFoundError:
        raise InputError(f"{path}: this motif file does not exist") from None
    if not records:
        raise InputError(f"{path}: no motif in JASPAR format found")
    found = []
    for record in records:
        counts = np.array([record.counts[base] for base in "ACGT"], np.float64).T
        frequency = counts / counts.sum(axis=1, keepdims=True)
        log_odds = np.log((frequency + pseudocount) / (1 + 4 * pseudocount) / 0.25)
        found.append(Motif(record.matrix_id, record.name, log_odds.astype(np.float32)))
    return found


def site_sums(tokens: np.ndarray, motifs: Sequence[Motif], log_concentration: np.ndarray) -> np.ndarray:
    """Return the statistical weight of all binding sites of each factor in each promoter.

    ``S = sum over positions and strands of exp(score - best score + c)``: a perfect site adds ``exp(c)``, so that c is the log of
    concentration over the dissociation constant of the best site. Occupancy is ``S / (1 + S)`` (de Boer et al. 2020,
    doi:10.1038/s41587-019-0315-8, without potentiation).

    Parameters
    ----------
    tokens
        ``(promoters, length)`` tokens.
    motifs
        Motifs, each at most ``length`` bp wide.
    log_concentration
        c, shape ``(motifs,)``.

    Returns
    -------
    numpy.ndarray
        ``(promoters, motifs)`` float32.
    """
    sums = np.zeros((len(tokens), len(motifs)), np.float32)
    of_width: dict[int, list[int]] = {}
    for index, motif in enumerate(motifs):
        of_width.setdefault(len(motif.log_odds), []).append(index)
    for start in range(0, len(tokens), _CHUNK):
        channels = one_hot(tokens[start : start + _CHUNK])
        for width, indices in of_width.items():
            windows = np.lib.stride_tricks.sliding_window_view(channels, width, axis=1)  # (rows, positions, 4, width)
            flat = windows.transpose(0, 1, 3, 2).reshape(-1, width * 4)
            for strand in (slice(None), slice(None, None, -1)):
                matrices = np.stack([motifs[i].log_odds[strand, strand].ravel() for i in indices], axis=1)
                shift = np.array([log_concentration[i] - motifs[i].log_odds.max(axis=1).sum() for i in indices], np.float32)
                weight = np.exp(flat @ matrices + shift).reshape(len(channels), -1, len(indices))
                sums[start : start + _CHUNK, indices] += weight.sum(axis=1)
    return sums
