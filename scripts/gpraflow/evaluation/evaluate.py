"""Scores of one data set: overall, in subgroups, effects of mutations, noise ceiling, checks and published models."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files, verdicts
from gpraflow.evaluation import ceiling, checks, comparisons, metrics, subgroups
from gpraflow.formats import promoters
from gpraflow.sequences.parents import PREDICTED_PARENT


def evaluate(
    predictions: pl.DataFrame,
    *,
    name: str,
    model: str,
    extras: Mapping[str, Any],
    distance: pl.Series | None,
    resamples: int,
    seed: int,
    threads: int = 1,
    both_strands: bool = False,
    transform: str = "none",
    strand: str = "unknown",
) -> tuple[dict[str, Any], list[dict], list[dict]]:
    """Score one data set.

    Parameters
    ----------
    predictions
        Predictions of the data set (`predictor.predict`).
    name, model
        Name of the data set, and of the model in comparisons.
    extras
        Further columns of the data set (`config.extras_of`).
    distance
        Edits to the nearest training promoter, see `subgroups.parts_of`.
    resamples, seed, threads
        As in `metrics.evaluate`.
    both_strands, transform, strand
        As in `checks.check`.

    Returns
    -------
    tuple
        The scores: those of `metrics.evaluate`, ``ceiling`` and ``effects`` (None without the columns they need), ``published_models``
        (model -> the same scores), and ``checks`` (rows of `verdicts.COLUMNS`). Then rows of `subgroups.COLUMNS`, and rows of
        `comparisons.COLUMNS` without ``p_holm``.
    """
    options: dict[str, Any] = {"resamples": resamples, "threads": threads}
    scored = metrics.evaluate(predictions, name=name, seed=seed, **options)
    own = metrics.seed_of(seed, name)
    scored["ceiling"] = ceiling.ceiling(predictions, extras["replicates"], extras["sd_is"], extras.get("difference", ()))
    scored["effects"] = _effects(predictions, "predicted", PREDICTED_PARENT, extras["parent_expression"], seed=own, **options)
    scored["checks"] = checks.check(predictions, name, both_strands, transform, strand)
    scored["published_models"], compared = {}, []
    of_run: dict[bytes, dict[str, np.ndarray]] = {}  # promoters that a published model predicts -> resamples of the run's scores on them
    for published in extras["published_models"]:
        rows = predictions.drop_nulls(published)
        if rows.height < comparisons.FEWEST:
            continue
        mine, theirs, measured = (rows[column].to_numpy() for column in ("predicted", published, "expression"))
        both = {model: mine, published: theirs}
        promoters = predictions[published].is_not_null().to_numpy().tobytes()
        if promoters not in of_run:
            of_run[promoters] = metrics.bootstrap(mine, measured, resamples, own, threads)
        drawn = {model: of_run[promoters], published: metrics.bootstrap(theirs, measured, resamples, own, threads)}
        scores: dict[str, Any] = {"n": rows.height} | metrics.described(theirs, measured, drawn[published])
        of_parents = _of_parents(published, predictions.columns)
        scores["effects"] = _effects(predictions, published, of_parents, extras["parent_expression"], seed=own, **options)
        scored["published_models"][published] = scores
        compared.append(comparisons.compare(measured, both, {one: of["r"] for one, of in drawn.items()}, dataset=name))
    parts = subgroups.parts_of(predictions, extras["groups"], distance)
    return scored, subgroups.score(predictions, parts, dataset=name, seed=seed, **options), compared


def evaluate_all(
    paths: Mapping[str, str | os.PathLike],
    *,
    sources: Sequence[str],
    run: str,
    independent: Sequence[str],
    titles: Sequence[str],
    extras: Sequence[Mapping[str, Any]],
    nearest: str | os.PathLike,
    audit: str | os.PathLike,
    split_method: str,
    about: Mapping[str, Any],
    permuted_labels: str | os.PathLike | None,
    of_splits: str | os.PathLike,
    options: Mapping[str, Any],
    transform: str = "none",
    strand: str = "unknown",
) -> tuple[dict[str, Any], list[dict], list[dict]]:
    """Score all data sets of a run.

    Parameters
    ----------
    paths
        Data set -> its predictions. With several conditions, this is a data set in one condition, such as ``test.glucose``, or a
        difference.
    sources
        Name of each data set without the condition, as in ``nearest``, ``audit`` and ``independent``.
    run, independent
        Name of the run, and of the data sets that are no splits of the library.
    titles, extras
        Of the data sets, in the order of ``paths``; see `evaluate`.
    nearest
        Distances to the nearest training promoters (`neighbours.NEAREST`).
    audit
        Distances of samples and of shuffled sequences (`audit.AUDIT`).
    split_method
        ``split.method`` of the run.
    about
        Content of ``model.json``.
    permuted_labels
        Scores of the label-permutation control, if there are any.
    of_splits
        Checks of the splits (`split_checks.check`).
    options
        ``resamples``, ``seed`` and ``threads``, as for `evaluate`.
    transform, strand
        As in `checks.check`.

    Returns
    -------
    tuple
        Content of ``metrics.json``, then rows of `subgroups.COLUMNS` and of `comparisons.COLUMNS`.
    """
    both_strands = any(about["training"][key] for key in ("rc_augmentation", "rc_averaging"))
    context: dict[str, Any] = {"both_strands": both_strands, "transform": transform, "strand": strand}
    distances, audited, scores, parts, compared = (
        pl.read_parquet(Path(nearest), glob=False),
        pl.read_parquet(Path(audit), glob=False),
        {},
        [],
        [],
    )
    for (name, path), source, title, extra in zip(paths.items(), sources, titles, extras, strict=True):
        rows = promoters.read(path)
        distance = distances_of(rows, distances, source)
        own, of_parts, others = evaluate(rows, name=name, model=run, extras=extra, distance=distance, **context, **options)
        method = "" if source in independent else split_method
        own["checks"].append({"dataset": name} | checks.distance_to_training(audited.filter(dataset=source), rows.height, method))
        scores[name] = {"title": title, "independent": source in independent, **own}
        parts += of_parts
        compared += others
    content: dict[str, Any] = {"run": run, "datasets": scores, "scores": metrics.MEANING, "intervals": metrics.INTERVALS, "model": about}
    content["split_checks"] = verdicts.read(of_splits)
    content["permuted_labels"] = json.loads(Path(permuted_labels).read_text(encoding="utf-8")) if permuted_labels else None
    return content, parts, compared


def _of_parents(model: str, columns: Sequence[str]) -> str:
    """Return the column of a published model's predictions for parents: ``<model>_parent``, or ``<model>_base`` in published tables."""
    return f"{model}_base" if f"{model}_base" in columns and f"{model}_parent" not in columns else f"{model}_parent"


def _effects(
    predictions: pl.DataFrame, predicted: str, predicted_parent: str, measured_parent: str, *, resamples: int, seed: int, threads: int
) -> dict[str, Any] | None:
    """Score predicted against measured effects, variant minus parent, for variants with all four values.

    Returns
    -------
    dict or None
        ``n``, ``sign`` (share of the measured changes of at least the median size whose direction is predicted), scores and intervals; None
        if columns are missing or there are fewer than two variants.
    """
    columns = (predicted, predicted_parent, "expression", measured_parent)
    if any(column not in predictions.columns for column in columns):
        return None
    rows = predictions.select(columns).drop_nulls().cast(pl.Float64)
    if rows.height < 2:
        return None
    p, m = (rows[predicted] - rows[predicted_parent]).to_numpy(), (rows["expression"] - rows[measured_parent]).to_numpy()
    large = np.abs(m) >= np.median(np.abs(m))
    sign = float(np.mean(np.sign(p[large]) == np.sign(m[large])))
    return {"n": rows.height, "sign": sign} | metrics.with_intervals(p, m, resamples, seed, threads)


def distances_of(predictions: pl.DataFrame, nearest: pl.DataFrame, name: str) -> pl.Series:
    """Return the edits from each promoter of a data set to its nearest training promoter; null if none is near."""
    mine = nearest.filter(dataset=name).select("sequence", "distance").unique("sequence")  # a promoter can have several barcodes
    return predictions.select("sequence").join(mine, on="sequence", how="left", maintain_order="left")["distance"]


def write(
    content: Mapping[str, Any],
    parts: Sequence[dict],
    compared: Sequence[dict],
    *,
    json_path: str | os.PathLike,
    tsv_path: str | os.PathLike,
    subgroups_path: str | os.PathLike,
    published_models_path: str | os.PathLike,
    checks_path: str | os.PathLike,
) -> None:
    """Write scores, subgroups, comparisons and checks, atomically; the JSON, on which other rules depend, last.

    ``content["split_checks"]``, if present, are checks of the splits; ``content["permuted_labels"]``, if present and not None, is the
    label-permutation control (`checks.permuted_labels`).
    """
    checked = [*content.get("split_checks", ())]
    checked += [row for scored in content["datasets"].values() for row in scored["checks"]]
    if content.get("permuted_labels"):
        checked.append(checks.permuted_labels(content["permuted_labels"]))
    verdicts.write(checks_path, checked)
    of_parts = pl.DataFrame(parts, schema=subgroups.COLUMNS)
    files.write_text(subgroups_path, of_parts.write_csv(separator="\t", float_precision=6))
    files.write_text(published_models_path, comparisons.table(compared).write_csv(separator="\t", float_precision=6))
    metrics.write(content, json_path, tsv_path)
