"""A predictor that several threads share, and the motifs that explain its predictions."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.design import starts
from gpraflow.explanation import mutagenesis, sites
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import PADDING, detokenize, tokenize

_BATCH = 256  # promoters per call of the network: the mutants of 85 bp; a click waits for one call at most
_SURVEYED = 64  # random inserts whose effects the motifs of a model are found from


class Turns:
    """A lock that is given in the order of requests: a long search lets others in between its calls of the network."""

    def __init__(self) -> None:
        self._condition, self._next, self._served = threading.Condition(), 0, 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for those who came before, then hold the lock."""
        with self._condition:
            ticket = self._next
            self._next += 1
            self._condition.wait_for(lambda: self._served == ticket)
        try:
            yield
        finally:
            with self._condition:
                self._served += 1
                self._condition.notify_all()


class SharedPredictor(Predictor):
    """A predictor for several threads: one call of the network at a time.

    Calls have one promoter or 256, so that the network is compiled for two sizes only (`warm_up`), not during a click.

    Parameters
    ----------
    predictor
        The model, which is not used elsewhere from now on.
    """

    def __init__(self, predictor: Predictor):
        self.__dict__.update(predictor.__dict__)
        self.batch_size, self._turns = _BATCH, Turns()

    def outputs(self, tokens: np.ndarray) -> np.ndarray:
        """Return `Predictor.outputs`; rows of an incomplete call are filled up with N."""
        size = 1 if len(tokens) == 1 else _BATCH
        missing = np.full((-len(tokens) % size, tokens.shape[1]), PADDING, tokens.dtype)
        padded, parts = np.concatenate([tokens, missing]), []
        for begin in range(0, len(padded), size):
            with self._turns.turn():
                parts.append(super().outputs(padded[begin : begin + size]))
        return np.concatenate(parts)[: len(tokens)] if parts else super().outputs(tokens)

    def warm_up(self) -> None:
        """Compile the network for both sizes of calls."""
        for rows in (1, _BATCH):
            self.outputs(np.full((rows, self.window["length"]), PADDING, np.uint8))


def random_promoters(predictor: Predictor, number: int, seed: int = 0) -> pl.Series:
    """Return random promoters of the model's scaffold, with the 3-mers of training promoters."""
    known, (five, three) = predictor.require_calibration(), predictor.flanks
    least, most = (max(end - len(five) - len(three), 1) for end in known.lengths)
    length = int(np.clip(predictor.window["length"] - len(five) - len(three), least, most))
    rng = randomness.generator(seed, "serve", "promoters")
    inserts = starts.random_inserts(starts.composition_without_flanks(known), number, length, rng)
    return pl.Series("sequence", [five + insert + three for insert in detokenize(inserts)])


def survey(predictor: Predictor, known: Sequence[Motif]) -> list[Motif]:
    """Return the known motifs that explain the effects of substitutions in 64 random promoters (`sites.find_factors`)."""
    if not known:
        return []
    promoters = random_promoters(predictor, _SURVEYED)
    tokens = tokenize(promoters, **predictor.window)
    effects = mutagenesis.mutational_effects(predictor, tokens, mutagenesis.places(predictor, promoters))
    named = set(sites.find_factors(tokens, effects, known)["matrix"])
    return [motif for motif in known if motif.matrix_id in named]
