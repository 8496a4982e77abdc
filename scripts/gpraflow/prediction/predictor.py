"""Predictions of a trained model for promoter tables, for files of any size, and for sequences in Python."""

import copy
import os
import sys
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import conditions
from gpraflow.core.errors import ConfigError, InputError, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import columns as formats_columns
from gpraflow.formats import conditions as formats_conditions
from gpraflow.formats.transform import NONE, Transform
from gpraflow.models import backend as models_backend
from gpraflow.models import directory as models_directory
from gpraflow.models import light as models_light
from gpraflow.prediction import calibration
from gpraflow.sequences import flanks as sequences_flanks
from gpraflow.sequences import neighbours
from gpraflow.sequences.parents import PARENT, PREDICTED_PARENT
from gpraflow.sequences.scaffold import PADDING, Scaffold, reverse_complement_sequences, tokenize

PREDICTED, SPREAD, LOW, HIGH, OUT_OF_DISTRIBUTION = "predicted", "predicted_sd", "predicted_low", "predicted_high", "out_of_distribution"
MEMBERS = "predicted_members"
REVERSE_COMPLEMENT, IN_PLASMID, PADDED_OTHERWISE = "predicted_reverse_complement", "predicted_in_plasmid", "predicted_padded_otherwise"
PROBED = 200  # evenly spaced promoters of a data set for each modification in `Predictor.probe`
_LIGHT = 64  # promoters that NumPy predicts before Keras, which takes seconds to start, is worth it
_NAMES = {PREDICTED: "expression", LOW: "expression_low", HIGH: "expression_high", SPREAD: "expression_sd"}  # column names in output files


class _Network:
    """The network of a model directory: a few promoters with NumPy if ``light``, others with Keras, which is imported for them."""

    def __init__(self, directory: Path, backend: str, light: bool):
        self.directory, self.backend, self._left, self._model = directory, backend, _LIGHT, None
        self.about = models_directory.describe_model(directory)
        self._light = models_light.read(directory, self.about) if light else None
        if self._light is None:
            self._load()

    def _load(self) -> None:
        model, self.about = models_directory.load(self.directory, self.backend)
        from gpraflow.models import cpu  # imports Keras; the backend must be selected before

        self._model, self._light = cpu.faster(model), None

    @property
    def model(self) -> Any:
        """The network as a ``keras.Model``."""
        if self._model is None:
            self._load()
        return self._model

    def predict(self, tokens: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's outputs for at least one row of ``(promoters, length)`` tokens, ``(promoters, outputs)`` float32.

        Keras gets batches of the same size (``batch_size``; a power of two for fewer promoters), so that the network is compiled once.
        """
        self._left -= len(tokens)
        if self._light is not None and self._left >= 0:
            return self._light.predict(tokens)
        size = models_backend.size_of_batches(len(tokens), batch_size)
        missing = np.full((-len(tokens) % size, tokens.shape[1]), PADDING, tokens.dtype)
        return self.model.predict(np.concatenate([tokens, missing]), batch_size=size, verbose=0)[: len(tokens)]


class Predictor:
    """A trained model, ready to predict expression in one condition, or the difference of expression between two.

    Parameters
    ----------
    directory
        Model directory (`directory.load`), with its calibration if it exists.
    backend
        ``auto``, ``jax`` or ``tensorflow``.
    batch_size
        Promoters per batch.
    light
        Predict a few promoters with NumPy (`models.light`), where the network allows it, and import Keras only if there are more. Both give
        the same numbers within 1e-5.

    Attributes
    ----------
    conditions : list of str
        Conditions of the model; empty for one.
    readout : str
        Condition or difference that is predicted, at first the first condition; see `of`.

    Raises
    ------
    InputError
        If the model or its calibration is unreadable, or the calibration belongs to another model.
    """

    def __init__(self, directory: str | os.PathLike, backend: str = "auto", batch_size: int = 1024, light: bool = False):
        self.directory, self.backend, self.batch_size = Path(directory), backend, batch_size
        self._network = _Network(self.directory, backend, light)
        self.about = self._network.about
        self.conditions: list[str] = self.about["conditions"]
        self._calibrations = calibration.read(directory, self.readouts)
        self._choose(self.readouts[0])

    @property
    def model(self) -> Any:
        """The network as a ``keras.Model``; imports Keras."""
        return self._network.model

    @property
    def readouts(self) -> list[str]:
        """Conditions of the model and the differences between them; one empty name if there is only one condition."""
        return conditions.readouts(self.conditions) or [""]

    def of(self, readout: str) -> "Predictor":
        """Return a predictor of another condition or difference with the same model; of the first condition if ``readout`` is empty.

        Raises
        ------
        ConfigError
            If the model does not have it.
        """
        readout = readout or self.readouts[0]
        if readout not in self.readouts:
            there = ", ".join(filter(None, self.readouts)) or "one condition, without a name"
            raise ConfigError(f"{self.directory}: the model has no condition '{readout}'{nearest(readout, self.readouts)} (it has {there})")
        other = copy.copy(self)
        other._choose(readout)
        return other

    def in_batches_of(self, batch_size: int) -> "Predictor":
        """Return a predictor with the same model that predicts at most ``batch_size`` promoters at a time."""
        other = copy.copy(self)
        other.batch_size = min(self.batch_size, batch_size)
        return other

    def _choose(self, readout: str) -> None:
        self.readout, self.weights = readout, np.array(conditions.weights(readout, self.conditions))
        self.calibration = self._calibrations.get(readout)

    @property
    def output_weights(self) -> np.ndarray:
        """Weight of each output of the model in the ensemble mean of the readout, ``(members x conditions,)``."""
        return np.tile(self.weights, self.about["members"]) / self.about["members"]

    @property
    def window(self) -> dict:
        """Input window of the model: ``length`` in bp, ``keep`` and ``pad``."""
        return {key: self.about["input"][key] for key in ("length", "keep", "pad")}

    def members(self, tokens: np.ndarray, outputs: np.ndarray | None = None) -> np.ndarray:
        """Return predictions of each ensemble member for ``(promoters, length)`` tokens, ``(promoters, members)`` float64.

        ``outputs`` are those of the model (`outputs`), if they are known already.
        """
        outputs = self.outputs(tokens) if outputs is None else outputs
        return outputs @ self.weights

    def outputs(self, tokens: np.ndarray) -> np.ndarray:
        """Return the model's outputs for ``(promoters, length)`` tokens, ``(promoters, members, conditions)`` float64.

        Raises
        ------
        InputError
            If a prediction is NaN or infinite.
        """
        shape = (len(tokens), self.about["members"], len(self.conditions) or 1)
        if not len(tokens):
            return np.empty(shape)
        found = self._network.predict(tokens, self.batch_size)
        self.require_finite(found)
        return found.astype(np.float64).reshape(shape)

    def require_finite(self, found: np.ndarray) -> None:
        """Raise `InputError` if predictions are NaN or infinite; the first axis is that of promoters."""
        if bad := int((~np.isfinite(found)).reshape(len(found), -1).any(axis=1).sum()):
            raise InputError(f"{self.directory}: the model gives NaN for {bad} promoters; train it again")

    def promoters(self, sequences: pl.Series, reads: np.ndarray | float | None = None, outputs: np.ndarray | None = None) -> pl.DataFrame:
        """Return predictions for whole promoters: ``predicted`` and further columns.

        For an ensemble, ``predicted_sd`` is the standard deviation between members and ``predicted_members`` the prediction of each. With
        a calibration, ``predicted_low`` and ``predicted_high`` bound the 95 % interval of a measurement with ``reads`` reads
        (`Calibration.half_width`), null without intervals, and ``out_of_distribution`` says why a promoter lies outside the training
        distribution (`Calibration.out_of_distribution`). ``outputs`` as in `members`.
        """
        members = self.members(tokenize(sequences, **self.window), outputs)
        mean, spread = members.mean(axis=1), spread_of(members)
        columns = [pl.Series(PREDICTED, mean, pl.Float32)]
        if members.shape[1] > 1:
            columns.append(pl.Series(SPREAD, spread, pl.Float32))
            columns.append(pl.Series(MEMBERS, members.astype(np.float32), pl.Array(pl.Float32, members.shape[1])))
        if self.calibration is not None:
            half = self.calibration.half_width(mean, spread, reads)
            ends = (pl.Series(LOW, mean - half, pl.Float32), pl.Series(HIGH, mean + half, pl.Float32))
            columns += [*(end.fill_nan(None) for end in ends), self.out_of_distribution(sequences)]
        return pl.DataFrame(columns)

    def table(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return a promoter table with the columns of `promoters`; intervals are for measurements with each promoter's ``n_reads``.

        With several conditions, there are such columns of each condition and difference, such as ``predicted.glucose``.
        """
        outputs, parts = self.outputs(tokenize(table["sequence"], **self.window)), [table]
        for readout in self.readouts:
            reads = formats_conditions.reads(table, readout, self.conditions)
            found = self.of(readout).promoters(table["sequence"], reads, outputs)
            parts.append(found.rename({name: conditions.column(name, readout) for name in found.columns}))
        return pl.concat(parts, how="horizontal")

    def probe(self, sequences: pl.Series, upstream: str, downstream: str) -> pl.DataFrame:
        """Return predictions for modified promoters, used to check strand asymmetry and padding.

        Each modification is predicted for at most 200 evenly spaced promoters; null for others, and where it does not apply.

        Parameters
        ----------
        sequences
            Whole promoters.
        upstream, downstream
            Plasmid sequence before and after the promoter, 5' to 3'; empty if unknown.

        Returns
        -------
        polars.DataFrame
            ``predicted_reverse_complement``: with the insert reverse-complemented between its flanks (the whole promoter if flanks
            are not intact).
            For promoters shorter than the window, ``predicted_in_plasmid``: padded with plasmid sequence instead of N (null if the flank
            at that end is not intact), and ``predicted_padded_otherwise``: padded with N at the other end.
        """
        five, three = self.flanks
        length, at_the_left = self.window["length"], self.window["pad"] == "left"
        rows = pl.DataFrame({"s": sequences}).with_row_index("row")
        short = rows.filter(pl.col("s").str.len_bytes() < length)
        continued = pl.lit(upstream) + pl.col("s") if at_the_left else pl.col("s") + pl.lit(downstream)
        begins, ends = pl.col("s").str.starts_with(five), pl.col("s").str.ends_with(three)
        in_plasmid = short.filter((begins if at_the_left else ends) & pl.lit(bool(upstream if at_the_left else downstream)))
        guises = {
            REVERSE_COMPLEMENT: (rows, lambda text: _reverse_complemented(text, five, three), self.window),
            IN_PLASMID: (
                in_plasmid,
                lambda text: text.to_frame("s").select(continued).to_series(),
                self.window | {"keep": "right" if at_the_left else "left"},
            ),
            PADDED_OTHERWISE: (short, lambda text: text, self.window | {"pad": "right" if at_the_left else "left"}),
        }
        places, tokens = [], []
        for of, guise, window in guises.values():
            some = of[np.unique(np.linspace(0, of.height - 1, min(PROBED, of.height)).round().astype(int))]
            places.append(some["row"].to_numpy())
            tokens.append(tokenize(guise(some["s"]), **window).reshape(-1, length))  # keeps the shape if empty
        said = self.members(np.concatenate(tokens)).mean(axis=1)
        found = {}
        for name, place, part in zip(guises, places, np.split(said, np.cumsum([len(place) for place in places])[:-1]), strict=True):
            values = np.full(len(sequences), np.nan, np.float32)
            values[place] = part
            found[name] = pl.Series(values).fill_nan(None)
        return pl.DataFrame(found)

    def effects(self, ref: pl.Series, alt: pl.Series) -> pl.DataFrame:
        """Return variant effects: predictions for reference and alternative promoters, and their difference.

        Returns
        -------
        polars.DataFrame
            ``expression_ref``, ``expression_alt`` (in the unit of the input), ``effect_alt_minus_ref`` (the difference of transformed
            expression, for log2 the log2 fold change; null if all differences lie outside the model's window) and, with a calibration,
            ``effect_low`` and ``effect_high`` (95 % interval), ``effect_interval`` (what it rests on, see
            `Calibration.half_width_of_effect`; null without an interval), ``out_of_distribution_ref`` and ``out_of_distribution_alt``.
            With several conditions, such columns of each, such as ``effect_alt_minus_ref.glucose``, and of each difference, where
            ``difference_ref`` and ``difference_alt`` take the place of expression.
        """
        parents = ref.unique(maintain_order=True)  # predicted once each, however many variants they have
        numbered = parents.to_frame("s").with_row_index("place")
        place = ref.to_frame("s").join(numbered, on="s", how="left", maintain_order="left")["place"].to_numpy()
        of_parents = tokenize(parents, **self.window)
        tokens = [of_parents[place], tokenize(alt, **self.window)]
        outputs = [self.outputs(of_parents)[place], self.outputs(tokens[1])]
        unseen = (tokens[0] == tokens[1]).all(axis=1) & (ref != alt).to_numpy()
        edits = neighbours.distances(ref, alt, self.window["length"]) if self.calibration is not None else np.zeros(len(ref))
        parts = [self.of(readout)._effects(tokens, outputs, unseen, edits) for readout in self.readouts]
        parts = [
            part.rename({name: _column_of(name, readout) for name in part.columns})
            for part, readout in zip(parts, self.readouts, strict=True)
        ]
        if self.calibration is not None:
            unlike = (self.out_of_distribution(parents)[place], self.out_of_distribution(alt))
            parts.append(pl.DataFrame({f"{OUT_OF_DISTRIBUTION}_{name}": of for name, of in zip(("ref", "alt"), unlike, strict=True)}))
        return pl.concat(parts, how="horizontal")

    def _effects(self, tokens: list[np.ndarray], outputs: list[np.ndarray], unseen: np.ndarray, edits: np.ndarray) -> pl.DataFrame:
        """Return the columns of `effects` for one readout, except those on the training distribution."""
        of_ref, of_alt = (self.members(*each) for each in zip(tokens, outputs, strict=True))
        found = {f"expression_{name}": self.transform.inverse(of.mean(axis=1)) for name, of in (("ref", of_ref), ("alt", of_alt))}
        effect = np.where(unseen, np.nan, (of_alt - of_ref).mean(axis=1))
        found["effect_alt_minus_ref"] = effect
        if self.calibration is not None:
            half, basis = self.calibration.half_width_of_effect(of_ref.mean(axis=1), of_alt.mean(axis=1), spread_of(of_alt - of_ref), edits)
            found |= {"effect_low": effect - half, "effect_high": effect + half}
        columns = [pl.Series(name, values, pl.Float32).fill_nan(None) for name, values in found.items()]
        if self.calibration is not None:
            columns.append(pl.Series("effect_interval", np.where(np.isnan(found["effect_low"]), "", basis), pl.String).replace("", None))
        return pl.DataFrame(columns)

    def out_of_distribution(self, sequences: pl.Series) -> pl.Series:
        """Return why promoters lie outside the training distribution (`Calibration.out_of_distribution`); needs a calibration."""
        assert self.calibration is not None
        lengths = sequences.str.len_bytes().to_numpy().astype(np.int64)
        return pl.Series(OUT_OF_DISTRIBUTION, self.calibration.out_of_distribution(lengths, tokenize(sequences, **self.window)), pl.String)

    @property
    def flanks(self) -> tuple[str, str]:
        """The scaffold's 5' and 3' flanks; empty without a calibration."""
        return (self.calibration.five_prime, self.calibration.three_prime) if self.calibration else ("", "")

    def require_calibration(self, need: str = "it holds flanks and intervals") -> calibration.Calibration:
        """Return the calibration.

        Raises
        ------
        InputError
            If the model directory has none; ``need`` says what it is needed for.
        """
        if self.calibration is None:
            where = self.directory / calibration.FILE
            raise InputError(f"{where}: this file does not exist; {need}. Make it with: {calibration.advice(self.directory)}")
        return self.calibration

    def complete(self, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger) -> pl.DataFrame:
        """Add the flanks of the model's scaffold to sequences without flanks in a block of records.

        Raises
        ------
        InputError
            If the model directory has no calibration, which holds the flanks.
        """
        known = self.require_calibration()
        if not known.five_prime and not known.three_prime:
            return rows
        policy = sequences_flanks.Policy(damaged_flanks=known.damaged_flanks, max_flank_edits=known.max_flank_edits)
        return sequences_flanks.mend_flanks(rows, Scaffold(known.scaffold, known.five_prime, known.three_prime), policy, path, ledger)

    def records(self, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger, reads: float | None = None) -> pl.DataFrame:
        """Return ``name``, ``sequence`` (with flanks) and predictions for a block of records, with the column names of output files."""
        rows = self.complete(rows, path, ledger)
        ledger.note_window(rows["sequence"], **self.window)
        if reads is not None and self.calibration is not None and self.calibration.reads is None:
            ledger.note("with an interval for any number of reads: the model was trained without n_reads", rows.height)
        outputs, parts = self.outputs(tokenize(rows["sequence"], **self.window)), [rows.select("name", "sequence")]
        for of_readout in map(self.of, self.readouts):
            found = of_readout._in_input_unit(of_readout.promoters(rows["sequence"], reads, outputs))
            columns = (PREDICTED, LOW, HIGH, SPREAD, of_readout.transformed_column)
            named = {name: _column_of(_NAMES.get(name, name), of_readout.readout) for name in columns if name in found.columns}
            parts.append(found.select(list(named)).rename(named))
        unlike = self.out_of_distribution(rows["sequence"])
        for reason in ("length", "unknown bases", "composition"):
            if count := int(unlike.str.contains(reason).sum()):
                ledger.note(f"out of distribution: {reason}", count)
        return pl.concat([*parts, unlike.to_frame()], how="horizontal")

    @property
    def transform(self) -> Transform:
        """The transform of expression in training; none without a calibration."""
        return self.calibration.transform if self.calibration else NONE

    @property
    def transformed_column(self) -> str:
        """Name of the output column with the model's own, transformed predictions, such as ``expression_log2``."""
        return f"expression_{self.transform.name}"

    def _in_input_unit(self, predictions: pl.DataFrame) -> pl.DataFrame:
        """Return predictions (`promoters`) in the unit of the input, and those of the model as `transformed_column`."""
        if self.transform.name == "none":
            return predictions
        ends = [name for name in (PREDICTED, LOW, HIGH) if name in predictions.columns]
        columns = [pl.Series(name, self.transform.inverse(predictions[name].to_numpy()), pl.Float32).fill_nan(None) for name in ends]
        if MEMBERS in predictions.columns:
            columns.append(pl.Series(SPREAD, self.transform.inverse(predictions[MEMBERS].to_numpy()).std(axis=1, ddof=1), pl.Float32))
        return predictions.with_columns(predictions[PREDICTED].alias(self.transformed_column), *columns)

    def predict(self, sequences: Any, reads: float | None = None) -> Any:
        """Predict the expression of promoters.

        Parameters
        ----------
        sequences
            DNA, 5' to 3' on the strand of the reporter gene, whole promoters or inserts; upper or lower case; ambiguity codes count as N.
            A list, or a Polars or pandas column, or a Polars or pandas table with the column ``sequence``.
        reads
            Reads of the measurement that intervals refer to; None: the median of the validation promoters.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per sequence, in input order; a pandas table with the index of the input if that is of pandas. Columns: ``sequence``
            (with flanks), ``expression``, ``expression_low``, ``expression_high`` (95 % interval), ``expression_sd`` (between ensemble
            members), and ``out_of_distribution``: why the promoter lies outside the training distribution (length, N content, k-mer
            composition); empty if it does not. All are in the unit of the input. If expression was transformed for training,
            ``expression_log2`` or ``expression_rank_normal`` is the model's own prediction, and ``expression`` its inverse. With several
            conditions, there are such columns of each (``expression.glucose``), and of each difference
            (``difference.galactose-glucose``, of transformed expression).

        Raises
        ------
        InputError
            If a sequence contains other letters or is empty; the message gives its index from 1.
        """
        pandas = sys.modules.get("pandas")  # imported already if the input is one of its tables
        if pandas and isinstance(sequences, (pandas.DataFrame, pandas.Series)):
            found = self.predict(_column(sequences), reads)
            return pandas.DataFrame(found.to_dict(as_series=False), index=sequences.index)
        if reads is not None and (isinstance(reads, (str, bytes, bool)) or not isinstance(reads, Real) or not 1 <= reads < np.inf):
            raise InputError(f"reads: expected a number of at least 1, found {reads!r:.100}")
        text = _texts(_column(sequences))
        rows = pl.DataFrame(
            {"row": pl.int_range(1, len(text) + 1, eager=True), "name": "", "sequence": text}, schema_overrides={"name": pl.String}
        )
        ledger = Ledger("predict", "")
        checked = formats_columns.check_sequences(rows, "sequences", ledger, "number", "n")
        return self.records(checked, "sequences", ledger, reads).drop("name")


def spread_of(members: np.ndarray) -> np.ndarray:
    """Return the standard deviation between ensemble members, ``(promoters,)``, of ``(promoters, members)`` predictions; 0 for one."""
    return members.std(axis=1, ddof=1) if members.shape[1] > 1 else np.zeros(len(members))


def _column(sequences: Any) -> Any:
    """Return the column ``sequence`` of a table; anything else as it is."""
    if not hasattr(sequences, "columns"):
        return list(sequences) if hasattr(sequences, "index") and hasattr(sequences, "to_numpy") else sequences
    if "sequence" not in sequences.columns:
        raise InputError(f"sequences: a table without the column 'sequence' (it has {', '.join(map(str, sequences.columns)) or 'none'})")
    return list(sequences["sequence"])


def _texts(sequences: Any) -> pl.Series:
    """Return sequences as a column of text; raise `InputError` if they are anything else than a list or column of texts."""
    if isinstance(sequences, (str, bytes)) or not isinstance(sequences, Iterable):
        found = "one string" if isinstance(sequences, (str, bytes)) else type(sequences).__name__
        raise InputError(f"sequences: expected a list of sequences, such as ['ACGT'], found {found}")
    texts = list(sequences)
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise InputError(f"sequences, number {number}: expected text such as 'ACGT', found {type(text).__name__}")
    return pl.Series("sequence", [str(text) for text in texts], pl.String)


def _column_of(name: str, readout: str) -> str:
    """Return the output column of a readout; those of differences are called so."""
    return conditions.column(name.replace("expression", "difference") if "-" in readout else name, readout)


def _reverse_complemented(sequences: pl.Series, five: str, three: str) -> pl.Series:
    """Return promoters with the insert reverse-complemented between its flanks; the whole promoter if its flanks are not intact."""
    whole = pl.DataFrame({"s": sequences}).with_columns(intact=pl.col("s").str.starts_with(five) & pl.col("s").str.ends_with(three))
    insert = pl.col("s").str.slice(len(five), pl.col("s").str.len_bytes().cast(pl.Int64) - len(five) - len(three))
    reversed_inserts = reverse_complement_sequences(whole.select(pl.when("intact").then(insert).otherwise("s")).to_series())
    return whole.with_columns(t=reversed_inserts).select(pl.when("intact").then(five + pl.col("t") + three).otherwise("t")).to_series()


def predict(
    model_directory: str | os.PathLike,
    table: pl.DataFrame,
    *,
    backend: str = "auto",
    batch_size: int = 1024,
    ledger: Ledger | None = None,
    plasmid: tuple[str, str] | None = None,
) -> pl.DataFrame:
    """Return a promoter table with the columns of `Predictor.promoters`, float32, in the units of the training table (transformed, if so).

    Intervals refer to measurements with each promoter's ``n_reads``, if known. Sequences are cropped and padded like the training data.
    With several conditions, predicted columns are those of each condition and difference, such as ``predicted.glucose``. If
    the table has ``parent_sequence`` (the parents of variants), ``predicted_parent`` is added. If ``plasmid`` (upstream and downstream
    sequence, which may be empty) is specified, the columns of `Predictor.probe` are added.

    Raises
    ------
    InputError
        As in `Predictor`.
    """
    ledger = ledger or Ledger("predict_promoters", "")
    ledger.read(table.height)
    predictor = Predictor(model_directory, backend, batch_size)
    ledger.note_window(table["sequence"], **predictor.window)
    found = predictor.table(table)
    for of_readout in map(predictor.of, predictor.readouts):
        if plasmid is not None:
            probed = of_readout.probe(table["sequence"], *plasmid)
            probed = probed.rename({name: conditions.column(name, of_readout.readout) for name in probed.columns})
            found = pl.concat([found, probed], how="horizontal")
        if PARENT in table.columns and table[PARENT].null_count() < table.height:
            bases = table.select(PARENT).drop_nulls().unique(maintain_order=True)
            of_bases = of_readout.members(tokenize(bases[PARENT], **predictor.window)).mean(axis=1)
            column = pl.Series(conditions.column(PREDICTED_PARENT, of_readout.readout), of_bases, pl.Float32)
            found = found.join(bases.with_columns(column), on=PARENT, how="left", maintain_order="left")
    return found
