"""The score of the Random Promoter DREAM Challenge 2022 (Rafi et al. 2024, doi:10.1038/s41587-024-02414-w).

Promoters are identified by position: the row, from 0, in the challenge's test table of 71,103 rows. Five subsets are lists of positions.
Three are lists of pairs of positions, scored by the correlation of differences in expression. Labels are in MAUDE units (-1.4 to 1.7);
only correlations are scored.
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.core.numbers import parse_count
from gpraflow.evaluation import metrics
from gpraflow.formats import columns as formats_columns

# Subset -> weight in the score
WEIGHTS = {
    "all": 1.0,
    "high": 0.3,
    "low": 0.3,
    "yeast": 0.3,
    "random": 0.3,
    "challenging": 0.5,
    "SNVs": 1.25,
    "motif_perturbation": 0.3,
    "motif_tiling": 0.4,
}
SINGLES = ("high", "low", "yeast", "random", "challenging")
PAIRS = ("SNVs", "motif_perturbation", "motif_tiling")
MODES = {"official": "without the public leaderboard", "full": "all positions"}
# Names of the published files; one file has different names in the archive and in the repository.
_SUBSET_FILES = {
    "high": ("high_exp_seqs.csv",),
    "low": ("low_exp_seqs.csv",),
    "yeast": ("yeast_seqs.csv",),
    "random": ("all_random_seqs.csv",),
    "challenging": ("challenging_seqs.csv",),
    "SNVs": ("all_SNVs_seqs.csv",),
    "motif_perturbation": ("motif_perturbation.csv", "motif_perturbation_seqs.csv"),
    "motif_tiling": ("motif_tiling_seqs.csv",),
}
_PUBLIC_FILES = {
    "high": ("high_exp_indices.json",),
    "low": ("low_exp_indices.json",),
    "yeast": ("yeast_exp_indices.json",),
    "random": ("random_exp_indices.json",),
    "challenging": ("challenging_exp_indices.json",),
    "SNVs": ("SNVs_exp_indices.json",),
    "motif_perturbation": ("motif_perturbation_exp_indices.json",),
    "motif_tiling": ("motif_tiling_exp_indices.json",),
}


@dataclass(frozen=True)
class Subsets:
    """Positions and pairs of positions (alt, ref) in each subset, without duplicates.

    ``singles``: subset of `SINGLES` -> ``(k,)`` int64. ``pairs``: subset of `PAIRS` -> ``(k, 2)`` int64. Empty subsets may be omitted.
    """

    singles: Mapping[str, np.ndarray]
    pairs: Mapping[str, np.ndarray]

    def positions(self) -> np.ndarray:
        """Return all positions that occur in a subset of single promoters or in a pair."""
        parts = [*self.singles.values(), *(pairs.ravel() for pairs in self.pairs.values())]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def score(values: Mapping[str, float], metric: str) -> float:
    """Return the challenge's score from r (``metric`` "r", PearsonScore) or rho ("rho", SpearmanScore) of all subsets in `WEIGHTS`.

    PearsonScore is the weighted mean of r squared, SpearmanScore the weighted mean of rho; the weights sum to 4.65.
    """
    total = sum(weight * (values[name] ** 2 if metric == "r" else values[name]) for name, weight in WEIGHTS.items())
    return total / sum(WEIGHTS.values())


def without_public(subsets: Subsets, public: Subsets) -> Subsets:
    """Return the subsets of the official mode, without the public leaderboard.

    Every position in the public leaderboard, alone or in a pair, is removed from the subsets of single promoters. From the subsets of
    pairs, only the public pairs themselves (same direction, any subset) are removed; the remaining pairs may contain public positions.
    """
    gone = public.positions()
    pairs = {tuple(pair) for each in public.pairs.values() for pair in each.tolist()}
    return Subsets(
        {name: each[~np.isin(each, gone)] for name, each in subsets.singles.items()},
        {name: each[[tuple(pair) not in pairs for pair in each.tolist()]].reshape(-1, 2) for name, each in subsets.pairs.items()},
    )


def evaluate(
    positions: np.ndarray, predicted: np.ndarray, measured: np.ndarray, subsets: Subsets, public: Subsets | None = None
) -> dict[str, dict[str, float | int | None]]:
    """Score predictions for the challenge's test promoters.

    Parameters
    ----------
    positions
        Positions of the promoters, ``(n,)`` int64, distinct.
    predicted, measured
        Expression, shape ``(n,)``, in any units.
    subsets
        Subsets of the whole test table.
    public
        Subsets of the public leaderboard, for the official mode; None for the full mode.

    Returns
    -------
    dict
        For each subset of `WEIGHTS`: ``n``, ``r``, ``r2`` and ``rho``. For ``score``: ``n`` (of the subset "all"), ``r2`` (PearsonScore)
        and ``rho`` (SpearmanScore). Values are None if a subset has fewer than two members or is constant, and then also for the score.

    Raises
    ------
    InputError
        If a position of a subset is missing in ``positions``.
    """
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    if len(ordered) and (ordered[1:] == ordered[:-1]).any():
        repeated = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"DREAM score: position {repeated} occurs more than once; positions must be distinct")
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)

    def rows(members: np.ndarray, name: str) -> np.ndarray:
        place = np.searchsorted(ordered, members).clip(max=max(len(ordered) - 1, 0))
        missing = members[ordered[place] != members] if len(ordered) else members
        if len(missing):
            raise InputError(
                f"DREAM score: subset '{name}' contains position {missing.flat[0]}, which has no prediction ({missing.size} such "
                "positions); give the whole test table, including the public leaderboard"
            )
        return order[place]

    kept = positions if public is None else positions[~np.isin(positions, public.positions())]
    chosen = subsets if public is None else without_public(subsets, public)
    scored: dict[str, dict[str, float | int | None]] = {}
    for name in WEIGHTS:
        if name in PAIRS:
            pairs = rows(chosen.pairs.get(name, np.empty((0, 2), np.int64)), name)
            p, m = (values[pairs[:, 0]] - values[pairs[:, 1]] for values in (predicted, measured))
        else:
            single = rows(kept if name == "all" else chosen.singles.get(name, np.empty(0, np.int64)), name)
            p, m = predicted[single], measured[single]
        values = metrics.scores(p, m) if len(p) > 1 else {"r": np.nan, "r2": np.nan, "rho": np.nan}
        scored[name] = {"n": len(p)} | {key: metrics.finite(values[key]) for key in ("r", "r2", "rho")}
    total: dict[str, float | int | None] = {"n": scored["all"]["n"], "r": None}
    for metric, key in (("r", "r2"), ("rho", "rho")):
        each = {name: scored[name][metric] for name in WEIGHTS}
        total[key] = None if None in each.values() else score(each, metric)  # type: ignore[arg-type]
    return scored | {"score": total}


# Reading


def read_tables(paths: Sequence[str | os.PathLike], pairs: Sequence[str | os.PathLike]) -> tuple[pl.DataFrame, Subsets]:
    """Read the test promoters, or some of them, from tables with flags for the subsets, and the tables of pairs.

    Parameters
    ----------
    paths
        TSV files with the columns ``pos``, ``expression``, a flag (0 or 1) for each of `SINGLES`, and optional others (predictions).
        Rows with the same ``pos`` in several files are used once.
    pairs
        TSV files with the columns ``alt_pos``, ``ref_pos`` and ``type`` (snv, motif_perturbation or motif_tiling).

    Raises
    ------
    InputError
        If a column is missing or a type is unknown.
    """
    parts = [_read_tsv(path, ("pos", "expression", *SINGLES)) for path in paths]
    table = pl.concat(parts, how="diagonal_relaxed").unique("pos", keep="first", maintain_order=True)
    names = {"snv": "SNVs"} | {name: name for name in PAIRS}
    of_pairs: dict[str, list[np.ndarray]] = {name: [np.empty((0, 2), np.int64)] for name in PAIRS}
    for path in pairs:
        rows = _read_tsv(path, ("alt_pos", "ref_pos", "type"))
        for (kind,), part in rows.group_by("type", maintain_order=True):
            if kind not in names:
                raise InputError(f"{path}: type '{kind}' of a pair is not one of {', '.join(names)}; correct the column type")
            of_pairs[names[str(kind)]].append(part.select("alt_pos", "ref_pos").to_numpy().astype(np.int64))
    singles = {name: np.unique(table.filter(pl.col(name) == 1)["pos"].to_numpy().astype(np.int64)) for name in SINGLES}
    return table, Subsets(singles, {name: np.unique(np.concatenate(each), axis=0) for name, each in of_pairs.items()})


def _read_tsv(path: str | os.PathLike, columns: Sequence[str]) -> pl.DataFrame:
    if not Path(path).is_file():
        raise InputError(f"{path}: this file does not exist; check the path")
    table = pl.read_csv(Path(path), separator="\t", infer_schema_length=None, glob=False)
    if missing := [name for name in columns if name not in table.columns]:
        raise InputError(
            f"{path}: no column '{missing[0]}' (the file has {', '.join(table.columns)}); give a table with {', '.join(columns)}"
        )
    return table


def read_test_table(path: str | os.PathLike) -> pl.DataFrame:
    """Read the challenge's own test table, ``sequence<TAB>expression`` without a header.

    Returns
    -------
    polars.DataFrame
        ``sequence`` (upper case), ``expression`` (float64), ``pos`` (the row, from 0).

    Raises
    ------
    InputError
        If the file is not such a table; with file and row.
    """
    columns = {"sequence": 1, "expression": 2}
    rows = pl.concat(formats_columns.read_columns(path, columns, "evaluation.dream", Ledger("score_dream", str(path)), header=False))
    rows = rows.with_columns(text=pl.col("expression")).with_columns(pl.col("text").cast(pl.Float64, strict=False).alias("expression"))
    bad = rows.filter(pl.col("expression").is_null() | ~pl.col("expression").is_finite())
    if bad.height:
        raise InputError(f"{path}, row {bad['row'][0]}: expression '{bad['text'][0]}' is not a number ({bad.height} such rows)")
    return rows.select("sequence", "expression", pos=pl.col("row").cast(pl.Int64) - 1)


def read_subsets(path: str | os.PathLike) -> Subsets:
    """Read the published subsets from a folder or ``.tar.gz`` of CSV files with ``pos``, or with ``alt_pos`` and ``ref_pos``.

    ``motif_perturbation`` may be ``motif_perturbation.csv`` (in the archive) or ``motif_perturbation_seqs.csv`` (in the repository).

    Raises
    ------
    InputError
        If a file or column is missing, or a position is not an integer.
    """
    published = _published(path, _SUBSET_FILES)
    singles, pairs = {}, {}
    for name, (file, text) in published.items():
        rows = list(csv.DictReader(io.StringIO(text)))
        columns = ("alt_pos", "ref_pos") if name in PAIRS else ("pos",)
        if not rows or any(column not in rows[0] for column in columns):
            raise InputError(f"{path}: {file} has no rows with {' and '.join(columns)}; check that it is the challenge's file")
        numbers = np.array([[_position(row[column], path, file, i) for column in columns] for i, row in enumerate(rows, start=2)])
        if name in PAIRS:
            pairs[name] = np.unique(numbers, axis=0)
        else:
            singles[name] = np.unique(numbers)
    return Subsets(singles, pairs)


def read_public(path: str | os.PathLike) -> Subsets:
    """Read the positions and pairs of the public leaderboard from a folder or ``.tar.gz`` of JSON files.

    Keys are positions, ``"17"``, or pairs, ``"17,4"`` (alt, ref). Values are ignored.

    Raises
    ------
    InputError
        If a file is missing or has another format.
    """
    singles, pairs = {}, {}
    for name, (file, text) in _published(path, _PUBLIC_FILES).items():
        try:
            keys = [key.strip("()[] ").split(",") for key in json.loads(text)]
        except (json.JSONDecodeError, AttributeError):
            raise InputError(f"{path}: {file} is not a JSON object with positions as keys; check that it is the challenge's file") from None
        width = 2 if name in PAIRS else 1
        if any(len(key) != width for key in keys):
            raise InputError(
                f"{path}: {file} has keys that are not of the form {'alt,ref' if width == 2 else 'a position'}; check the file"
            )
        numbers = np.array([[_position(cell, path, file, i) for cell in key] for i, key in enumerate(keys, start=1)], np.int64)
        if width == 2:
            pairs[name] = np.unique(numbers.reshape(-1, 2), axis=0)
        else:
            singles[name] = np.unique(numbers)
    return Subsets(singles, pairs)


def _position(cell: str | None, path: Any, file: str, row: int) -> int:
    text = (cell or "").strip().removesuffix(".0")
    if (position := parse_count(text)) is None:
        raise InputError(f"{path}: {file}, row {row}: position '{cell}' is not a whole number; correct the file")
    return position


def _published(path: str | os.PathLike, names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """Return subset -> (file name, text) from a folder (searched recursively) or a tar archive."""
    path, subset_of = Path(path), {file: name for name, choices in names.items() for file in choices}
    contents: dict[str, tuple[str, str]] = {}
    for file, read in _members(path):
        if (name := subset_of.get(file)) and name not in contents:
            contents[name] = (file, read.decode("utf-8-sig"))
    for name, choices in names.items():
        if name not in contents:
            raise InputError(f"{path}: no {' or '.join(choices)} for the subset '{name}'; give the challenge's folder or archive")
    return contents


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix in (".csv", ".json") and not file.name.startswith("."):
                yield file.name, file.read_bytes()
        return
    if not path.is_file():
        raise InputError(f"{path}: neither a folder nor a file; check the path")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and not name.startswith(".") and name.endswith((".csv", ".json")):
                    yield name, archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a readable tar archive ({error}); give the challenge's folder or .tar.gz") from error


# In the workflow


def score_predictions(
    predictions: pl.DataFrame, test: pl.DataFrame, subsets: Subsets, public: Subsets | None, path: str | os.PathLike
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Score a model's predictions for the promoters of the challenge's test table, joined by sequence.

    Parameters
    ----------
    predictions
        ``sequence`` and ``predicted``.
    test
        Test table from `read_test_table`, which provides the labels, also for sequences that occur more than once.
    subsets, public
        As for `evaluate`; with ``public``, both modes are scored.
    path
        Path of the test table, for error messages.

    Returns
    -------
    dict
        Mode of `MODES` -> result of `evaluate`.

    Raises
    ------
    InputError
        If a promoter has no prediction.
    """
    joined = test.join(predictions.select("sequence", "predicted"), on="sequence", how="left", maintain_order="left")
    if missing := joined["predicted"].null_count():
        row = joined.filter(pl.col("predicted").is_null())["pos"][0] + 1
        raise InputError(
            f"{path}, row {row}: this promoter has no prediction ({missing} such rows); its sequence was changed or dropped when the "
            "table was read: set scaffold.damaged_flanks: keep and scaffold.outside_length: error, and see the ledger"
        )
    positions, predicted, measured = (joined[name].to_numpy() for name in ("pos", "predicted", "expression"))
    modes = {"official": public, "full": None} if public is not None else {"full": None}
    return {mode: evaluate(positions, predicted, measured, subsets, without) for mode, without in modes.items()}


def table_of(scored: Mapping[str, Mapping[str, Mapping[str, Any]]], name: str, published: str | os.PathLike) -> pl.DataFrame:
    """Return a table in the format of the published one: a row per metric and team, the model first, then the published teams.

    Parameters
    ----------
    scored
        Result of `score_predictions`.
    name
        Name of the model.
    published
        Tab-separated file with ``metric``, ``team``, a column per subset, ``score``; lines that start with # are ignored.
    """
    rows = pl.read_csv(Path(published), separator="\t", comment_prefix="#", glob=False)
    parts = []
    for metric, key in (("pearson_r_squared", "r2"), ("spearman_rho", "rho")):
        for mode, of_subsets in scored.items():
            values = {column: of_subsets[column][key] for column in (*WEIGHTS, "score")}
            parts.append(pl.DataFrame([{"metric": metric, "team": name, "mode": mode} | values], schema=_schema()))
        others = rows.filter(metric=metric).with_columns(mode=pl.lit("official")).sort("score", descending=True, maintain_order=True)
        parts.append(others.select(list(_schema())).cast(_schema()))  # type: ignore[arg-type]
    return pl.concat(parts)


def _schema() -> dict[str, Any]:
    return dict.fromkeys(("metric", "team", "mode"), pl.String) | dict.fromkeys((*WEIGHTS, "score"), pl.Float64)


def write(content: Mapping[str, Any], table: pl.DataFrame, json_path: str | os.PathLike, tsv_path: str | os.PathLike) -> None:
    """Write the scores of each subset and mode as JSON, and the table with the published rows as TSV."""
    files.write_text(tsv_path, table.write_csv(separator="\t", float_precision=4, null_value=""))
    files.write_json(json_path, content)
