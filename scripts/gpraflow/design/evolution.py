"""Evolution of promoters as a model predicts it: drift, selection, mutational robustness, evolvability, conservation of expression.

The analyses are those of Vaishnav et al. 2022 (doi:10.1038/s41586-022-04506-6). Where the text of the paper leaves a choice, definitions
follow the code that its authors published (github.com/1edv/evolution). Expression is predicted on the model's own scale (transformed, if
expression was transformed for training), in the condition of the predictor.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import ConfigError, InputError, and_more
from gpraflow.core.ledger import Ledger
from gpraflow.explanation import mutagenesis
from gpraflow.formats import columns as formats_columns
from gpraflow.formats.records import FASTA_SUFFIXES
from gpraflow.formats.text import suffix_of
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.scaffold import ALPHABET, BASES, PADDING, detokenize, tokenize

DRIFT, UP, DOWN, STABILISING = REGIMES = ("drift", "up", "down", "stabilising")
RANDOM = (DRIFT, STABILISING)  # regimes whose mutations are drawn at random; the others are deterministic
RESOLUTION = 1e-5  # smaller differences of predictions are rounding of float32
TRAJECTORIES = {
    "regime": pl.String,
    "name": pl.String,
    "replicate": pl.Int64,
    "generation": pl.Int64,
    "mutation": pl.String,
    "substitutions": pl.Int64,
    "distance": pl.Int64,
    "predicted": pl.Float32,
    "predicted_change": pl.Float32,
    "out_of_distribution": pl.String,
    "sequence": pl.String,
}
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


# Promoters


@dataclass(frozen=True)
class Ancestors:
    """Promoters from which evolution starts.

    Attributes
    ----------
    rows
        ``name`` and ``sequence``, with flanks.
    tokens
        ``(promoters, length)``.
    mutable
        ``(promoters, length)`` bool: the insert, or the whole promoter if the scaffold has no flanks.
    begin
        ``(promoters,)``: position of the promoter's first base in the model's window.
    """

    rows: pl.DataFrame
    tokens: np.ndarray
    mutable: np.ndarray
    begin: np.ndarray

    def __len__(self) -> int:
        """Return the number of promoters."""
        return self.rows.height

    def part(self, begin: int, end: int) -> "Ancestors":
        """Return the promoters from ``begin`` to before ``end``."""
        return Ancestors(self.rows[begin:end], self.tokens[begin:end], self.mutable[begin:end], self.begin[begin:end])


def complete(predictor: Predictor, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger) -> pl.DataFrame:
    """Check promoters and add the flanks of the model's scaffold to inserts.

    Parameters
    ----------
    predictor
        The model, with its calibration.
    rows
        ``row``, ``name`` and ``sequence`` of all promoters (`records.records`).
    path
        For error messages.
    ledger
        Counts inserts that got flanks.

    Raises
    ------
    InputError
        If the model has no calibration, or a promoter has other flanks than the model's scaffold, a length that the model was not trained
        on or does not see as a whole, or N.
    """
    whole = predictor.complete(rows, path, ledger)
    if not whole.height:
        raise InputError(f"{path}: no promoter has intact flanks of the model's scaffold")
    five, three = predictor.flanks
    sequence, length = pl.col("sequence"), pl.col("sequence").str.len_bytes().cast(pl.Int64)
    least, most = predictor.require_calibration().lengths
    most = min(most, predictor.window["length"])
    if hit := formats_columns.first_row(whole, ~length.is_between(least, most)):
        row, cells, count = hit
        expected = f"{least} bp" if least == most else f"{least} to {most} bp"
        raise InputError(
            f"{path}, row {row} ('{cells['name']}'): the promoter has {len(cells['sequence'])} bp with flanks{and_more(count)}, but the "
            f"model was trained on {expected}; give inserts of that length without flanks, or promoters of the model's scaffold "
            f"({five}...{three})"
        )
    if hit := formats_columns.first_row(whole, ~(sequence.str.starts_with(five) & sequence.str.ends_with(three))):
        row, cells, count = hit
        ends = f"{cells['sequence'][: len(five)]}...{cells['sequence'][-len(three) :]}"
        raise InputError(
            f"{path}, row {row} ('{cells['name']}'): the flanks are {ends}{and_more(count)}, but the model's scaffold has "
            f"{five}...{three}; give inserts without flanks, or repair the flanks"
        )
    if hit := formats_columns.first_row(whole, sequence.str.contains("N", literal=True)):
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row} ('{cells['name']}'): the promoter contains N{and_more(count)}; its single mutants are unknown; give "
            "promoters of A, C, G and T only"
        )
    return whole


def ancestors(predictor: Predictor, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger) -> Ancestors:
    """Return promoters from which evolution starts; parameters and errors as of `complete`."""
    whole = complete(predictor, rows, path, ledger)
    sequences = whole["sequence"]
    return Ancestors(
        whole.select("name", "sequence"),
        tokenize(sequences, **predictor.window),
        mutagenesis.places(predictor, sequences),
        mutagenesis.offsets(predictor, sequences),
    )


# Trajectories


def evolve(
    predictor: Predictor,
    start: Ancestors,
    regime: str,
    generations: int,
    *,
    replicates: int = 1,
    bound: float | None = None,
    seed: int = 0,
    first: int = 0,
) -> pl.DataFrame:
    """Return trajectories of promoters, all promoters in parallel.

    Each generation has one mutation per promoter:

    - ``drift``: one of the 3L single mutants, drawn uniformly, fixes whatever its expression.
    - ``up``, ``down``: directional selection under strong selection and weak mutation (SSWM). Of all 3L single mutants, the one with the
      largest (smallest) predicted expression fixes. A promoter at a local optimum stays as it is; the authors' code takes its best mutant
      even then.
    - ``stabilising``: one of the 3L single mutants, drawn uniformly, fixes if its predicted expression is within ``bound`` of the
      ancestor's; otherwise it is lost.

    Parameters
    ----------
    predictor
        The model.
    start
        Promoters.
    regime
        One of `REGIMES`.
    generations
        Number of generations, at least 1.
    replicates
        Independent trajectories of each promoter; 1 for ``up`` and ``down``, which are deterministic.
    bound
        Largest absolute difference of predicted expression from the ancestor; for ``stabilising`` only.
    seed
        Each trajectory has its own generator, from the seed, the regime, the number of the promoter and that of the replicate: it does not
        depend on the other promoters.
    first
        Number of the first promoter.

    Returns
    -------
    polars.DataFrame
        Columns `TRAJECTORIES`, a row per promoter, replicate and generation, with the ancestor as generation 0. ``mutation`` is the one
        that fixed in the generation, as POS:REF>ALT, with positions from 1 in the promoter with its flanks; null if none did.
        ``substitutions`` counts those that have fixed, ``distance`` is the Hamming distance from the ancestor.

    Raises
    ------
    ConfigError
        If the regime is unknown, or a number is out of its range.
    """
    check_options([regime], generations, replicates, bound)
    replicates = replicates if regime in RANDOM else 1
    of, trajectories = np.repeat(np.arange(len(start)), replicates), len(start) * replicates
    tokens, mutable = start.tokens[of], start.mutable[of]
    places = np.argsort(~mutable, axis=1, kind="stable")  # those that mutate first
    mutants = (BASES - 1) * mutable.sum(axis=1)
    draws = np.empty((trajectories, generations))
    if regime in RANDOM:
        for number, promoter in enumerate(of):
            stream = randomness.generator(seed, "evolve", regime, first + int(promoter), number % replicates)
            draws[number] = stream.random(generations)
    history, predicted = [tokens], [predictor.members(tokens).mean(axis=1)]
    mutations: list[list[str | None]] = [[None] * trajectories]
    active = np.ones(trajectories, bool)  # not at a local optimum
    for generation in range(generations):
        rows = np.flatnonzero(active)
        if regime in RANDOM:
            chosen = np.minimum((draws[:, generation] * mutants).astype(np.int64), mutants - 1)
            place = places[rows, chosen // (BASES - 1)]
            base = (tokens[rows, place] + 1 + chosen % (BASES - 1)) % BASES
        else:
            place, base, better = _best_mutants(predictor, tokens[rows], mutable[rows], 1 if regime == UP else -1)
            active[rows[~better]] = False
            rows, place, base = rows[better], place[better], base[better]
        following = tokens.copy()
        following[rows, place] = base
        expression = predictor.members(following).mean(axis=1) if len(rows) else predicted[-1]
        if regime == STABILISING:
            fixes = np.abs(expression - predicted[0]) <= bound
            following[~fixes], expression = tokens[~fixes], np.where(fixes, expression, predicted[-1])
            rows, place, base = rows[fixes], place[fixes], base[fixes]
        fixed: list[str | None] = [None] * trajectories
        for row, at, new in zip(rows.tolist(), place.tolist(), base.tolist(), strict=True):
            fixed[row] = f"{at - start.begin[of[row]] + 1}:{ALPHABET[tokens[row, at]]}>{ALPHABET[new]}"
        tokens = following
        history.append(tokens)
        predicted.append(np.where(active, expression, predicted[-1]))
        mutations.append(fixed)
    return _trajectory_table(predictor, start.rows["name"], regime, replicates, np.stack(history), np.stack(predicted), mutations)


def check_options(regimes: Sequence[str], generations: int, replicates: int = 1, bound: float | None = None) -> None:
    """Check the options of `evolve`.

    Raises
    ------
    ConfigError
        If a regime is unknown, or a number is out of its range.
    """
    for regime in regimes:
        if regime not in REGIMES:
            raise ConfigError(f"regime '{regime}': expected one of {', '.join(REGIMES)}")
    for name, number in (("generations", generations), ("replicates", replicates)):
        if number < 1:
            raise ConfigError(f"{name} {number}: expected a whole number of at least 1")
    if STABILISING in regimes and bound is None:
        raise ConfigError("stabilising selection needs a bound: the largest difference of predicted expression from the ancestor (--bound)")
    if bound is not None:
        _check_positive("bound", bound)


def _check_positive(name: str, number: float) -> None:
    if not 0 < number < np.inf:
        raise ConfigError(f"{name} {number}: expected a number above 0, in the unit of predicted expression")


def _best_mutants(predictor: Predictor, tokens: np.ndarray, mutable: np.ndarray, sign: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return position, base and whether it is better than the promoter, for the single mutant with the largest ``sign`` x effect."""
    effects = mutagenesis.mutational_effects(predictor, tokens, mutable).reshape(len(tokens), tokens.shape[1] * BASES)
    signed = np.where(np.isnan(effects), -np.inf, sign * effects)
    best = signed.argmax(axis=1)
    return best // BASES, best % BASES, signed[np.arange(len(best)), best] > RESOLUTION


def _trajectory_table(
    predictor: Predictor,
    names: pl.Series,
    regime: str,
    replicates: int,
    history: np.ndarray,
    predicted: np.ndarray,
    mutations: list[list[str | None]],
) -> pl.DataFrame:
    """Return the table of `evolve` from arrays whose first axis is the generation and second the trajectory."""
    generations, trajectories, length = history.shape
    sequences = pl.Series("sequence", detokenize(history.swapaxes(0, 1).reshape(-1, length)), pl.String)
    fixed = np.array(mutations, object).T  # (trajectories, generations)
    change = predicted - predicted[0]
    columns = {
        "regime": np.full(trajectories * generations, regime, object),
        "name": np.repeat(names.to_numpy(), replicates * generations),
        "replicate": np.repeat(np.tile(np.arange(1, replicates + 1), len(names)), generations),
        "generation": np.tile(np.arange(generations), trajectories),
        "mutation": fixed.ravel().tolist(),
        "substitutions": np.cumsum(fixed != None, axis=1).ravel(),  # noqa: E711 (elementwise)
        "distance": (history != history[0]).sum(axis=-1).T.ravel(),
        "predicted": predicted.T.ravel(),
        "predicted_change": change.T.ravel(),
        "out_of_distribution": predictor.out_of_distribution(sequences),
        "sequence": sequences,
    }
    return pl.DataFrame(columns, schema=TRAJECTORIES)


def summarise(trajectories: pl.DataFrame) -> pl.DataFrame:
    """Return distributions over trajectories per regime and generation.

    ``trajectories`` (their number), ``fixed`` (share in which a mutation fixed), mean ``substitutions``, share ``out_of_distribution``,
    mean ``predicted``, and of ``predicted_change`` ``mean``, ``sd`` and quantiles.
    """
    change = pl.col("predicted_change")
    found = trajectories.group_by("regime", "generation", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("trajectories"),
        pl.col("mutation").is_not_null().mean().alias("fixed"),
        pl.col("substitutions").mean(),
        (pl.col("out_of_distribution") != "").mean().alias("out_of_distribution"),
        pl.col("predicted").mean(),
        change.mean().alias("mean"),
        change.std().alias("sd"),
        *(change.quantile(share, "linear").alias(name) for name, share in QUANTILES.items()),
    )
    order = pl.col("regime").replace_strict({name: number for number, name in enumerate(REGIMES)}, return_dtype=pl.Int64)
    return found.sort(order, "generation", maintain_order=True)


# Robustness and evolvability


def mutational_robustness(effects: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the share of single mutants whose expression differs by less than ``epsilon`` from the promoter's, ``(promoters,)``.

    Vaishnav et al. 2022 use epsilon = 0.1616 on their scale of 18 bins.

    Parameters
    ----------
    effects
        ``(promoters, mutants)``: expression of each mutant minus that of the promoter; NaN where there is no mutant.
    epsilon
        Above 0. For a model of log2 expression it is a log2 fold change.

    Raises
    ------
    ConfigError
        If epsilon is not a number above 0.
    InputError
        If a promoter has no mutants.
    """
    _check_positive("epsilon", epsilon)
    mutants = np.isfinite(effects).sum(axis=1)
    if not mutants.all():
        raise InputError(f"promoter {int((mutants == 0).argmax()) + 1}: it has no single mutants; robustness is not defined")
    return (np.abs(effects) < epsilon).sum(axis=1) / mutants


class Landscape(NamedTuple):
    """Single mutants of promoters.

    Attributes
    ----------
    robustness
        ``name``, ``predicted``, ``mutants`` (their number, 3L), ``robustness``, ``largest_increase``, ``largest_decrease`` (0 if no mutant
        has one), ``out_of_distribution``, ``sequence``.
    vectors
        Evolvability vectors: ``name``, ``rank`` (from 1), ``mutation``, ``effect`` (mutant minus promoter), sorted by effect.
    sorted_effects
        ``(promoters, 3 x length)``: the same effects, NaN behind the last.
    """

    robustness: pl.DataFrame
    vectors: pl.DataFrame
    sorted_effects: np.ndarray


def landscape(predictor: Predictor, start: Ancestors, epsilon: float) -> Landscape:
    """Return mutational robustness and evolvability vectors (sorted effects of all 3L single mutants) of promoters.

    Raises
    ------
    ConfigError
        If epsilon is not a number above 0.
    """
    _check_positive("epsilon", epsilon)
    effects = mutagenesis.mutational_effects(predictor, start.tokens, start.mutable)
    own = np.arange(BASES) == start.tokens[..., None]
    effects[own] = np.nan
    flat = effects.reshape(len(effects), -1)
    order = np.argsort(flat, axis=1, kind="stable")  # NaN last
    ordered = np.take_along_axis(flat, order, axis=1)[:, : (BASES - 1) * start.tokens.shape[1]]
    mutants = np.isfinite(flat).sum(axis=1)
    rows, ranks = np.nonzero(np.isfinite(ordered))
    place, base = order[rows, ranks] // BASES, order[rows, ranks] % BASES
    letters = np.array(list(ALPHABET))
    vectors = pl.DataFrame(
        {"position": place - start.begin[rows] + 1, "ref": letters[start.tokens[rows, place]], "alt": letters[base]}
    ).select(
        pl.Series("name", start.rows["name"].to_numpy()[rows], pl.String),
        pl.Series("rank", ranks + 1),
        pl.format("{}:{}>{}", "position", "ref", "alt").alias("mutation"),
        pl.Series("effect", ordered[rows, ranks], pl.Float32),
    )
    sequences = start.rows["sequence"]
    robustness = pl.DataFrame(
        {
            "name": start.rows["name"],
            "predicted": pl.Series(predictor.members(start.tokens).mean(axis=1), dtype=pl.Float32),
            "mutants": mutants,
            "robustness": mutational_robustness(ordered, epsilon),
            "largest_increase": np.maximum(ordered[np.arange(len(ordered)), mutants - 1], 0),
            "largest_decrease": np.minimum(ordered[:, 0], 0),
            "out_of_distribution": predictor.out_of_distribution(sequences),
            "sequence": sequences,
        }
    )
    return Landscape(robustness, vectors, ordered)


# Conservation of expression


def weighted_sd(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the sample standard deviation of values that occur ``weights`` times each.

    Raises
    ------
    InputError
        If there are fewer than two observations.
    """
    total = weights.sum()
    if total < 2:
        raise InputError(f"{total} ortholog: at least 2 are needed for a standard deviation of expression")
    mean = (weights * values).sum() / total
    return float(np.sqrt((weights * (values - mean) ** 2).sum() / (total - 1)))


def conservation_coefficient(sd_null: float, sd_orthologs: float, correction: float = 0.0) -> float:
    """Return the expression conservation coefficient, log2(sd_null / sd_orthologs) - correction.

    Above 0, expression varies less among orthologs than among random mutants of their consensus: stabilising selection. Below 0, it varies
    more: diversifying selection.

    Raises
    ------
    InputError
        If a standard deviation is 0 or not a number.
    """
    for name, sd in (("random mutants", sd_null), ("orthologs", sd_orthologs)):
        if not 0 < sd < np.inf:
            raise InputError(f"the standard deviation of expression among {name} is {sd}; the coefficient is not defined")
    return float(np.log2(sd_null / sd_orthologs) - correction)


def consensus(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the most frequent base at each position, the first of A, C, G and T if several are, ``(length,)``.

    Parameters
    ----------
    tokens
        ``(orthologs, length)``.
    weights
        ``(orthologs,)``: isolates with each ortholog.
    """
    counts = np.stack([((tokens == base) * weights[:, None]).sum(axis=0) for base in range(PADDING + 1)])
    return counts.argmax(axis=0).astype(tokens.dtype)


def random_mutants(parent: np.ndarray, edits: np.ndarray, mutable: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return mutants of ``(length,)`` tokens with ``edits`` substitutions each, at distinct random positions, ``(mutants, length)``.

    The new base is each of the other three with equal probability.
    """
    mutants = np.repeat(parent[None], len(edits), axis=0)
    places = np.flatnonzero(mutable)
    for row, count in enumerate(edits.tolist()):
        at = rng.choice(places, count, replace=False)
        mutants[row, at] = (parent[at] + rng.integers(1, BASES, count)) % BASES
    return mutants


CONSERVATION = {
    "set": pl.String,
    "orthologs": pl.Int64,
    "isolates": pl.Int64,
    "mean_edits": pl.Float64,
    "mean_predicted": pl.Float64,
    "sd_orthologs": pl.Float64,
    "sd_null": pl.Float64,
    "ecc_uncorrected": pl.Float64,
    "ecc": pl.Float64,
    "reason": pl.String,
}


def conservation(predictor: Predictor, orthologs: pl.DataFrame, path: str | os.PathLike, seed: int = 0, draws: int = 1) -> pl.DataFrame:
    """Return the expression conservation coefficient (ECC) of sets of orthologous promoters.

    For each set, as in the authors' code:

    - B: predicted expression of the orthologs, each counted as often as there are isolates with it.
    - C: for each isolate, a random mutant of the set's consensus with as many substitutions as its ortholog has.
    - C': the same for each distinct ortholog, counted as in B. Isolates that share an ortholog share the mutant here, which lowers
      the number of independent values.
    - ECC = log2(sd(C) / sd(B)) - median over sets of log2(sd(C) / sd(C')).

    Parameters
    ----------
    predictor
        The model.
    orthologs
        ``row``, ``set``, ``sequence`` (with flanks) and ``isolates``; the sequences of a set have one length.
    path
        For error messages.
    seed
        Random mutants of a set depend on the seed and the name of the set.
    draws
        Draws of random mutants, over which log2 standard deviations are averaged; the authors have one.

    Returns
    -------
    polars.DataFrame
        Columns `CONSERVATION`, a row per set in the order of the input. Where the coefficient is not defined, ``ecc`` is null and
        ``reason`` says why. ``ecc_uncorrected`` is without the median.

    Raises
    ------
    InputError
        If the sequences of a set differ in length, or no set has a coefficient.
    ConfigError
        If ``draws`` is below 1.
    """
    if draws < 1:
        raise ConfigError(f"draws {draws}: expected a whole number of at least 1")
    merged = orthologs.group_by("set", "sequence", maintain_order=True).agg(pl.col("isolates").sum(), pl.col("row").first())
    found: list[dict[str, Any]] = []
    corrections: list[float] = []
    for part in merged.partition_by("set", maintain_order=True):
        name, lengths = part["set"][0], part["sequence"].str.len_bytes().to_list()
        if min(lengths) < max(lengths):
            row = part.filter(pl.col("sequence").str.len_bytes() != lengths[0])["row"][0]
            raise InputError(
                f"{path}, row {row}: the orthologs of set '{name}' have {min(lengths)} to {max(lengths)} bp; substitutions are counted "
                "against their consensus: give aligned orthologs of one length"
            )
        row, correction = _set_conservation(predictor, name, part, seed, draws)
        found.append(row)
        corrections += [] if correction is None else [correction]
    if all(row["reason"] for row in found):
        of = f"set '{found[0]['set']}': {found[0]['reason']}"
        raise InputError(f"{path}: no set has an expression conservation coefficient ({of}); give sets of different orthologs")
    correction = float(np.median(corrections)) if corrections else 0.0
    for row in found:
        row["ecc"] = None if row["reason"] else row["ecc_uncorrected"] - correction
    return pl.DataFrame(found, schema=CONSERVATION)


def _set_conservation(predictor: Predictor, name: str, part: pl.DataFrame, seed: int, draws: int) -> tuple[dict[str, Any], float | None]:
    """Return the row of `conservation` for one set without ``ecc``, and log2(sd(C) / sd(C')); None if it is not defined."""
    tokens, weights = tokenize(part["sequence"], **predictor.window), part["isolates"].to_numpy()
    mutable = mutagenesis.places(predictor, part["sequence"])[0]
    parent = consensus(tokens, weights)
    edits = (tokens != parent)[:, mutable].sum(axis=1)
    found: dict[str, Any] = {
        "set": name,
        "orthologs": len(tokens),
        "isolates": int(weights.sum()),
        "mean_edits": float(np.average(edits, weights=weights)),
    }
    if len(tokens) < 2:
        return found | {"reason": "fewer than two distinct orthologs"}, None
    predicted = predictor.members(tokens).mean(axis=1)
    found |= {"mean_predicted": float(np.average(predicted, weights=weights)), "sd_orthologs": weighted_sd(predicted, weights)}
    logs = []
    for draw in range(draws):
        rng = randomness.generator(seed, "ecc", name, draw)
        each, of_orthologs = random_mutants(parent, np.repeat(edits, weights), mutable, rng), random_mutants(parent, edits, mutable, rng)
        distinct, where = np.unique(np.concatenate([each, of_orthologs]), axis=0, return_inverse=True)
        expression = predictor.members(distinct).mean(axis=1)[where.ravel()]
        sds = weighted_sd(expression[: len(each)], np.ones(len(each), np.int64)), weighted_sd(expression[len(each) :], weights)
        with np.errstate(divide="ignore"):
            logs.append(np.log2(sds))
    null, shared = np.mean(logs, axis=0)
    found["sd_null"] = float(2**null)
    if found["sd_orthologs"] < RESOLUTION:
        return found | {"reason": "no variance of predicted expression among orthologs"}, None
    if found["sd_null"] < RESOLUTION or not np.isfinite(null):
        return found | {"reason": "no variance of predicted expression among random mutants"}, None
    found |= {"ecc_uncorrected": conservation_coefficient(found["sd_null"], found["sd_orthologs"]), "reason": ""}
    return found, float(null - shared) if np.isfinite(shared) else None


def read_orthologs(path: str | os.PathLike, columns: Mapping[str, str], ledger: Ledger) -> pl.DataFrame:
    """Return ``row``, ``set``, ``sequence`` and ``isolates`` of a table of orthologs.

    Parameters
    ----------
    path
        TSV, CSV, .xlsx or Parquet.
    columns
        ``sequence``, ``set`` and ``isolates`` -> column; ``auto`` for a column of that name, if it exists. Without isolates, each row
        is one.
    ledger
        Counts rows, and orthologs with N, which are left out as in the paper.

    Raises
    ------
    InputError, ConfigError
        As `formats.columns.read_columns`; if the file is FASTA, a set has no name, or a number of isolates is not a whole number of at
        least 1.
    """
    if suffix_of(Path(path)) in FASTA_SUFFIXES:
        raise ConfigError(
            f"{path}: a FASTA file does not say which promoters are orthologs; give a table with the columns sequence and set"
        )
    blocks = []
    for rows in formats_columns.read_columns(path, columns, "", ledger):
        if "set" not in rows.columns:
            raise ConfigError(f"{path}: no column 'set', which says which promoters are orthologs; name it with --set-column")
        rows = rows.with_columns(pl.col("set").cast(pl.String).str.strip_chars().fill_null(""))
        if hit := formats_columns.first_row(rows, pl.col("set") == ""):
            raise InputError(f"{path}, row {hit[0]}: the set is empty{and_more(hit[2])}; name the promoters that the ortholog belongs to")
        if "isolates" in rows.columns:
            rows = formats_columns.parse_numbers(rows, "isolates", pl.Int64, path)
            if hit := formats_columns.first_row(rows, pl.col("isolates") < 1):
                raise InputError(f"{path}, row {hit[0]}: 0 isolates{and_more(hit[2])}; delete the row, or give the number of isolates")
        else:
            rows = rows.with_columns(isolates=pl.lit(1, pl.Int64))
        unknown = rows["sequence"].str.contains("N", literal=True)
        ledger.drop("orthologs with N", int(unknown.sum()))
        blocks.append(rows.filter(~unknown).select("row", "set", "sequence", "isolates"))
    rows = pl.concat(blocks)
    if not rows.height:
        raise InputError(f"{path}: all orthologs contain N; give orthologs of A, C, G and T")
    return rows


def complete_orthologs(predictor: Predictor, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger) -> pl.DataFrame:
    """Return the rows of `read_orthologs` with the flanks of the model's scaffold; errors as of `complete`."""
    whole = complete(predictor, rows.select("row", pl.col("set").alias("name"), "sequence"), path, ledger)
    return whole.join(rows.select("row", "set", "isolates"), on="row", maintain_order="left").select("row", "set", "sequence", "isolates")


# Measured trajectories


def single_edits(sequences: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions in a list whose sequences have one length and differ by one substitution, the first before the second."""
    for place in range(max(map(len, sequences), default=0)):
        alike = defaultdict(list)
        for row, sequence in enumerate(sequences):
            if place < len(sequence):
                alike[sequence[:place], sequence[place + 1 :]].append(row)
        for rows in alike.values():
            for number, row in enumerate(rows):
                for other in rows[number + 1 :]:
                    if sequences[row] != sequences[other]:
                        yield row, other


def chains(sequences: Sequence[str]) -> list[list[int]]:
    """Link sequences one substitution apart into chains, and return the positions of their members, in the order of the chain.

    A chain is a connected component in which each sequence has at most two neighbours and two have one; components that branch or close to
    a ring, and single sequences, are left out. A chain begins at the end that stands first in the list; chains are in the order of their
    first members.
    """
    neighbours = defaultdict(set)
    for row, other in single_edits(sequences):
        neighbours[row].add(other)
        neighbours[other].add(row)
    found, seen = [], set()
    for row in range(len(sequences)):
        if row in seen or len(neighbours[row]) != 1:
            continue
        chain = [row]
        while following := neighbours[chain[-1]] - set(chain[-2:-1]):
            if len(following) > 1:
                break
            chain += following
        if len(neighbours[chain[-1]]) == 1:
            found.append(chain)
        seen.update(chain)
    return found
