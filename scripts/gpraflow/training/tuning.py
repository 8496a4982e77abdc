"""Hyper-parameter tuning with Optuna: trials share a journal, poor trials are pruned, and trials can be repeated.

Each trial is a separate job, so that trials can run on different nodes of a cluster. They share the journal of the study: a file with a
lock or, if shards are in a gs:// bucket, objects next to the shards, for machines without a shared file system. Sampler: tree-structured
Parzen estimator (Bergstra et al. 2011); pruner: median of previous trials.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import yaml
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from gpraflow.core import checksums, files, randomness
from gpraflow.core.errors import ConfigError, ConflictError, TrainingError
from gpraflow.models import registry
from gpraflow.shards import upload
from gpraflow.storage import base, connect
from gpraflow.training import options as training_options
from gpraflow.training import train

_JOB = "job"
_FIRST = 5  # trials before the sampler and the pruner use previous results
TRIALS = {"trial": pl.Int64, "state": pl.String, "val_loss": pl.Float64, "epochs": pl.Int64, "best_so_far": pl.Float64}
IMPORTANCE = {"key": pl.String, "importance": pl.Float64}


class BucketJournal(BaseJournalBackend):
    """An Optuna journal in a bucket: one object per entry, named by its index.

    Writers compete for the next index: `storage.Bucket.put` creates an object only if it does not exist, so that one writer succeeds and
    the others try the following indices. All workers read the same entries in the same order; none is lost or duplicated. Entries must be
    unique, because an object with the same content counts as the writer's own; Optuna's entries contain the worker's ID.

    Parameters
    ----------
    bucket
        Folder used by this journal only. A ``file://`` bucket is not safe for concurrent writers.
    """

    def __init__(self, bucket: base.Bucket):
        self.bucket = bucket
        self._end = 0  # number of entries known to exist

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """See `BaseJournalBackend`."""
        names = [name for name in self.bucket.names("") if int(name) >= log_number_from]
        with ThreadPoolExecutor(base.PARALLEL) as pool:
            entries = [json.loads(content) for content in pool.map(self.bucket.get, names)]
        self._end = max(self._end, log_number_from + len(entries))
        return entries

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See `BaseJournalBackend`."""
        with tempfile.TemporaryDirectory() as folder:
            entry = Path(folder) / "entry.json"
            for log in logs:
                entry.write_text(json.dumps(log), encoding="utf-8")
                while not self._take(entry):
                    pass

    def _take(self, entry: Path) -> bool:
        """Store an entry at the next index; return whether the index was free."""
        try:
            self.bucket.put(f"{self._end:08d}", entry, checksums.crc32c_of(entry), None)
            ours = True
        except ConflictError:
            ours = False
        self._end += 1
        return ours


def _journal(folder: Path, name: str, bucket: str) -> BaseJournalBackend:
    """Return the journal of a study, stored next to the trial results, or next to the shards if they are in a remote bucket."""
    beside_shards = connect.connect(f"{bucket}/tuning/{name}")
    if beside_shards.path("") is None:
        return BucketJournal(beside_shards)
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / "study.journal")
    return JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))


def _study(journal: BaseJournalBackend, name: str, seed: int) -> optuna.Study:
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name=name,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=_FIRST, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_FIRST, n_warmup_steps=1),
    )


def _suggest(trial: optuna.Trial, space: Sequence[Mapping[str, Any]], integers: Sequence[str]) -> dict[str, Any]:
    suggested = {}
    for values in space:
        key = values["key"]
        if "choices" in values:
            suggested[key] = json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in values["choices"]]))
        elif key in integers:
            suggested[key] = trial.suggest_int(key, int(values["low"]), int(values["high"]), log=values.get("log", False))
        else:
            suggested[key] = trial.suggest_float(key, values["low"], values["high"], log=values.get("log", False))
    return suggested


def overlay(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Convert dotted keys to a nested config."""
    content: dict[str, Any] = {}
    for key, value in parameters.items():
        *path, last = key.split(".")
        inner = content
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return content


def run_trial(
    receipt_path: str | os.PathLike,
    result_path: str | os.PathLike,
    *,
    number: int,
    space: Sequence[Mapping[str, Any]],
    epochs: int,
    seed: int,
    blueprint: training_options.Blueprint,
    options: training_options.Options,
) -> dict[str, Any]:
    """Train with one set of hyper-parameters and write the result.

    If the trial was killed earlier, it is recorded as failed in the study and repeated with new values.

    Parameters
    ----------
    receipt_path
        Receipt of the upload (`upload.upload`).
    result_path
        JSON file of this trial, in the folder of the study.
    number
        Index of the trial, from 0.
    space
        Search space, one entry per dotted config key: ``key``, and ``low``, ``high``, ``log`` or ``choices``; see `config.check_space`.
    epochs
        Maximum epochs per trial.
    seed
        Random seed of the sampler.
    blueprint, options
        Network and training options shared by all trials.

    Returns
    -------
    dict
        ``trial``, ``state`` (complete, pruned, failed), ``val_loss`` (best epoch; None if failed), ``epochs``, ``parameters``.

    Raises
    ------
    ConfigError, InputError
        As in `training.train`, for errors that affect all trials. Divergence fails only this trial.
    """
    if registry.describe(blueprint.name).baseline:
        raise ConfigError(f"model.name: '{blueprint.name}' has no hyper-parameters to tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(result_path).parent.parent
    receipt = upload.read_receipt(receipt_path)
    settings = [space, epochs, seed, asdict(blueprint), asdict(options), receipt]
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    study = _study(_journal(folder, name, receipt["bucket"]), name, randomness.derive(seed, "tune", number))
    for old in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        if old.user_attrs.get(_JOB) == number:
            study.tell(old.number, state=optuna.trial.TrialState.FAIL)
    trial = study.ask()
    trial.set_user_attr(_JOB, number)
    integers = [f"training.{key}" for key, value in asdict(options).items() if type(value) is int]
    integers += [f"model.sizes.{key}" for key, value in blueprint.sizes.items() if type(value) is int]
    parameters = _suggest(trial, space, integers)
    changed = overlay(parameters)
    history: list[float] = []

    def watch(line: dict[str, Any]) -> None:
        if line["member"]:
            return
        history.append(line["val_loss"])
        trial.report(line["val_loss"], line["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    tried = replace(options, **{"epochs": epochs, "ensemble": 1} | changed.get("training", {}))
    sizes = dict(blueprint.sizes) | changed.get("model", {}).get("sizes", {})
    work = folder / f".trial_{number}"
    shutil.rmtree(work, ignore_errors=True)
    state = "complete"
    try:
        train.train(receipt_path, work, blueprint=replace(blueprint, sizes=sizes), options=tried, watch=watch)
    except optuna.TrialPruned:
        state = "pruned"
    except TrainingError as error:
        print(f"tune_trial: trial {number} failed: {error}", flush=True)
        state = "failed"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    value = min(history) if history and state != "failed" else None
    kinds = {"complete": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED, "failed": optuna.trial.TrialState.FAIL}
    study.tell(trial, value if state == "complete" else None, state=kinds[state])
    result = {"trial": number, "state": state, "val_loss": value, "epochs": len(history), "parameters": parameters}
    files.write_json(result_path, result)
    return result


def collect(results: Sequence[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Return a table of all trials, the importance of each hyper-parameter, and the best trial's config.

    Importance is computed by fANOVA (Hutter et al. 2014) on complete trials; it is empty for fewer than four.

    Parameters
    ----------
    results
        Results of `run_trial`.

    Raises
    ------
    TrainingError
        If no trial is complete.
    """
    complete = [result for result in results if result["state"] == "complete"]
    if not complete:
        states = ", ".join(f"{result['trial']}: {result['state']}" for result in results)
        raise TrainingError(f"no trial was completed ({states}); set other ranges in tuning.space")
    best, so_far, lines = min(complete, key=lambda result: result["val_loss"]), None, []
    for result in sorted(results, key=lambda result: result["trial"]):
        if result["state"] == "complete" and (so_far is None or result["val_loss"] < so_far):
            so_far = result["val_loss"]
        shown = {key: value if isinstance(value, int | float | str) else json.dumps(value) for key, value in result["parameters"].items()}
        lines.append({name: result.get(name) for name in TRIALS} | {"best_so_far": so_far} | shown)
    table = pl.DataFrame(lines, schema_overrides=TRIALS, infer_schema_length=None)
    return table, pl.DataFrame(_importance(complete), schema=IMPORTANCE, orient="row"), overlay(best["parameters"])


def _importance(complete: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    if len(complete) < 4:
        return []
    study = optuna.create_study()
    for result in complete:
        values = result["parameters"]
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}
        texts = {key: json.dumps(value) for key, value in values.items() if key not in numbers}
        kinds: dict[str, Any] = {key: optuna.distributions.FloatDistribution(*_range(complete, key)) for key in numbers}
        kinds |= {
            key: optuna.distributions.CategoricalDistribution(sorted({json.dumps(other["parameters"][key]) for other in complete}))
            for key in texts
        }
        study.add_trial(optuna.trial.create_trial(params=numbers | texts, distributions=kinds, value=result["val_loss"]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return sorted(optuna.importance.get_param_importances(study, evaluator=evaluator).items(), key=lambda item: -item[1])


def _range(complete: Sequence[dict[str, Any]], key: str) -> tuple[float, float]:
    values = [float(result["parameters"][key]) for result in complete]
    return min(values), max(values)


def write_overlay(path: str | os.PathLike, content: Mapping[str, Any], val_loss: float, trials: int) -> None:
    """Write the best trial's config as a config file that overrides the run's config."""
    head = f"# The best of {trials} trials, validation loss {val_loss:.4f}. Give it after your config:\n"
    head += f"#   snakemake --cores 8 --configfile config/mine.yaml {path}\n"
    files.write_text(path, head + yaml.safe_dump(dict(content), sort_keys=True))
