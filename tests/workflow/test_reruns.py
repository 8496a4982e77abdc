"""Which config key reruns which rules: the table in docs/reruns.md, checked by dry runs."""

import contextlib
import multiprocessing
import os
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import smart_open
import snakemake.report  # with its companions below: paid once, inherited by the forked dry runs
import yaml
from snakemake import api, cli, script, workflow

from gpraflow.app import run
from gpraflow.core import schema as schemas
from tests.conftest import ROOT, TINY, copy_finished

FORK = multiprocessing.get_context("fork")
PRELOADED = (snakemake.report, api, script, workflow, jsonschema, smart_open)

ALL = [
    "fetch_dataset",
    "simulate_assay",
    "count_reads",
    "merge_counts",
    "plot_reads",
    "estimate_expression",
    "plot_expression",
    "ingest_table",
    "group_neighbours",
    "find_overlaps",
    "split_promoters",
    "find_nearest",
    "demonstrate_leak",
    "shard_tfrecords",
    "upload_shards",
    "train_model",
    "calibrate_model",
    "predict_promoters",
    "explain_model",
    "plot_motifs",
    "design_promoters",
    "measure_designs",
    "plot_designs",
    "train_permuted",
    "evaluate_model",
    "plot_training",
    "plot_predictions",
    "plot_subgroups",
    "collect_ledger",
    "plot_scores",
    "plot_leak",
    "plot_ledger",
    "plot_cost",
    "write_report",
]
ASIDE = ("fetch", "plot_", "find_nearest", "demonstrate")  # that what comes after does not follow from
FROM = {
    rule: [one for one in ALL[ALL.index(rule) :] if one != "train_permuted"]
    for rule in ALL[: ALL.index("train_model") + 1]
    if not rule.startswith(ASIDE)
}
PAGE = ["plot_cost", "write_report"]
SCORED = ["evaluate_model", "plot_predictions", "plot_subgroups"]
SCORING = [*SCORED, "plot_scores", "plot_leak", *PAGE]
EXPLANATION = ["explain_model", "plot_motifs"]
DESIGN = ["design_promoters", "measure_designs", "plot_designs"]
AFTER_PREDICTION = ["predict_promoters", *EXPLANATION, *DESIGN, *SCORED, "collect_ledger", "plot_scores", "plot_leak", "plot_ledger", *PAGE]

# key -> (another value, rules that rerun)
CHANGES = {
    "seed": (7, FROM["simulate_assay"]),
    **{
        f"simulate.{key}": (value, FROM["simulate_assay"])
        for key, value in {
            "promoters": 601,
            "independent": 61,
            "independent_cells": 21,
            "active_factors": 9,
            "motifs": "other.jaspar",
            "cells_per_promoter": 11,
            "cell_dispersion": 0.5,
            "signal_sd": 1.5,
            "yfp_sd": 0.5,
            "rfp_sd": 0.5,
            "sd_spread": 0.2,
            "sorting_errors": 0.1,
            "reads": 9001,
            "depth_spread": 0.1,
            "pcr_spread": 0.1,
            "foreign_reads": 0.1,
            "reverse_reads": 0.1,
            "base_errors": 0.001,
            "indel_errors": 0.001,
            "read_length": 149,
            "upstream_bases": 14,
            "seed": 1,
        }.items()
    },
    **{
        f"reads.{key}": (value, FROM["count_reads"])
        for key, value in {
            "five_prime": "TTTTCACATC",
            "middle": "GGATCCGTCGAC",
            "three_prime": "GGTTACGG",
            "max_flank_edits": 1,
            "min_mean_quality": 10,
            "quality_offset": 64,
            "reverse_complement": False,
            "n_in_insert": "drop",
            "min_yield": 0.4,
        }.items()
    },
    "reads.collapse_edits": (1, FROM["merge_counts"]),
    "reads.collapse_ratio": (3, FROM["merge_counts"]),
    "reads.max_collapsed": (0.2, FROM["merge_counts"]),
    "reads.design": ("other.tsv", FROM["merge_counts"]),
    "reads.design_edits": (2, FROM["merge_counts"]),
    "reads.min_overlap": (20, []),  # no pairs here
    "reads.pairs": ("either_mate", []),
    **{
        f"counts.columns.{column}": ("x", FROM["estimate_expression"])
        for column in ["sequence", "name", "group", "split", "source", "bin", "count", "replicate"]
    },
    "counts.empty": ("zero", FROM["estimate_expression"]),
    "counts.header": (False, []),  # of a table of your own
    "input.ambiguous": ("n", FROM["estimate_expression"]),
    **{
        f"counts.{key}": (value, FROM["estimate_expression"])
        for key, value in {
            "method": "weighted_mean",
            "read_dispersion": 1,
            "prior": "weak",
            "minimum_reads": 2,
            "minimum_cells": 2,
            "singletons": "drop",
            "singleton_weight": 0.5,
        }.items()
    },
    "counts.scale": ("gate", FROM["estimate_expression"]),
    "counts.overlap": ("divided", FROM["estimate_expression"]),
    "counts.minimum_input_reads": (2, FROM["estimate_expression"]),
    "counts.cells": ("reads", FROM["estimate_expression"]),
    "assay.strand": ("one", SCORING),
    "input.table": ("other.tsv", [rule for rule in FROM["ingest_table"] if rule != "measure_designs"]),  # nothing is simulated
    "input.format": ("tsv", FROM["ingest_table"]),
    "input.header": (False, FROM["ingest_table"]),
    "input.separator": ("semicolon", FROM["ingest_table"]),
    "input.decimal": (",", FROM["ingest_table"]),
    "input.missing": ("drop", FROM["ingest_table"]),
    **{
        f"input.columns.{column}": ("other", FROM["ingest_table"])
        for column in [
            "sequence",
            "expression",
            "name",
            "expression_sd",
            "n_reads",
            "n_bins",
            "singleton",
            "weight",
            "bin_cells",
            "group",
            "split",
            "source",
            "barcode",
        ]
    },
    "input.expression_min": (-1, FROM["ingest_table"]),
    "input.expression_max": (18, FROM["ingest_table"]),
    "input.transform": ("rank_normal", FROM["ingest_table"]),
    "input.duplicates": ("mean", FROM["ingest_table"]),
    "input.barcodes": ("mean", FROM["ingest_table"]),
    "scaffold.file": ("other.yaml", FROM["simulate_assay"]),
    "scaffold.name": ("none", FROM["simulate_assay"]),
    "scaffold.add_missing_flanks": (False, FROM["ingest_table"]),
    "scaffold.damaged_flanks": ("repair", FROM["ingest_table"]),
    "scaffold.max_flank_edits": (3, FROM["ingest_table"]),
    "scaffold.insert_length": ([50, 100], FROM["count_reads"]),
    "scaffold.segments": ("promoter *", FROM["ingest_table"]),
    "scaffold.outside_length": ("drop", FROM["ingest_table"]),
    "scaffold.length": (100, ["demonstrate_leak", *FROM["shard_tfrecords"]]),
    "scaffold.keep": ("left", ["demonstrate_leak", *FROM["shard_tfrecords"]]),
    "scaffold.pad": ("right", ["demonstrate_leak", *FROM["shard_tfrecords"]]),
    "neighbours.max_edits": (2, FROM["group_neighbours"]),
    "neighbours.kmer": (24, [rule for rule in FROM["group_neighbours"] if rule != "find_overlaps"]),
    "neighbours.independent": ("warn", FROM["split_promoters"]),
    "split.train_promoters": (100, FROM["split_promoters"]),
    "split.across": ("error", FROM["split_promoters"]),
    "split.method": ("column", FROM["split_promoters"]),
    "split.test_sequences": ("other.tsv", []),  # not with this method
    "split.fractions.train": (0.7, FROM["split_promoters"]),
    "split.fractions.val": (0.2, FROM["split_promoters"]),
    "split.fractions.test": (0.2, FROM["split_promoters"]),
    "split.labels.train": ("training", FROM["split_promoters"]),
    "split.labels.val": ("validation", FROM["split_promoters"]),
    "split.labels.test": ("x", FROM["split_promoters"]),
    "split.seed": (1, FROM["split_promoters"]),
    "split.names": (["train", "test", "val"], FROM["split_promoters"]),
    "shards.rows_per_shard": (50, FROM["shard_tfrecords"]),
    "shards.extra_features": (["n_reads"], FROM["shard_tfrecords"]),
    "shards.compression": ("gzip", FROM["shard_tfrecords"]),
    "bucket.url": ("file://elsewhere", FROM["upload_shards"]),
    "bucket.location": ("europe-west4", FROM["upload_shards"]),
    "bucket.backup": ("file://copies", []),
    "model.preset": ("paper", FROM["train_model"]),
    "model.sizes.kernel_size": (9, FROM["train_model"]),
    "model.motifs": ("other.jaspar", []),  # not with this architecture
    "training.backend": ("tensorflow", ["demonstrate_leak", *FROM["train_model"]]),
    "training.device": ("cpu", FROM["train_model"]),
    "training.seed": (1, FROM["train_model"]),
    "training.epochs": (2, FROM["train_model"]),
    "training.batch_size": (32, FROM["train_model"]),
    **{
        f"training.{key}": (value, FROM["train_model"])
        for key, value in {
            "loss": "bins",
            "huber_delta": 2.0,
            "bin_labels": "cells",
            "bins": 20,
            "cells_prior": 2.0,
            "difference_weight": 0.5,
            "reads_half": 5.0,
            "ema": 0.9,
            "rc_averaging": True,
            "precision": "mixed_bfloat16",
            "ensemble": 2,
            "divergence_factor": 3.0,
            "checkpoint_steps": 10,
        }.items()
    },
    "training.sample_weight": ("n_reads", FROM["shard_tfrecords"]),  # the shards hold what it needs
    "training.optimizer": ("adam", FROM["train_model"]),
    "training.learning_rate": (0.001, FROM["train_model"]),
    "training.schedule": ("constant", FROM["train_model"]),
    "training.warmup_steps": (5, FROM["train_model"]),
    "training.weight_decay": (0.1, FROM["train_model"]),
    "training.gradient_clip": (0.5, FROM["train_model"]),
    "training.patience": (3, FROM["train_model"]),
    "training.rc_augmentation": (True, FROM["train_model"]),
    "training.initial_model": ("other", FROM["train_model"]),
    "training.teacher": ("yeast-ypd", FROM["train_model"]),
    "training.teacher_promoters": (10, FROM["train_model"]),
    "training.teacher_mutants": (0.2, FROM["train_model"]),
    **{f"tuning.{key}": (value, []) for key, value in {"trials": 2, "epochs": 1, "seed": 1, "space": []}.items()},  # only if asked for
    **{f"tpu.{key}": (value, []) for key, value in {"topology": "v5e-8", "promoters": 10, "price": 1.0}.items()},  # only if asked for
    "range_test.low": (1e-5, []),  # only if asked for
    "range_test.high": (2.0, []),
    "range_test.steps": (30, []),
    "prediction.batch_size": (100, ["calibrate_model", *AFTER_PREDICTION]),
    "prediction.pairs": (["simulated_independent"], ["calibrate_model", *AFTER_PREDICTION]),
    "evaluation.bootstrap": (200, SCORING),
    "evaluation.seed": (1, ["demonstrate_leak", *SCORING]),
    "evaluation.permutation_epochs": (1, ["train_permuted", *SCORING]),
    "evaluation.splits": (["test", "val"], ["find_nearest", *[rule for rule in AFTER_PREDICTION if rule not in [*EXPLANATION, *DESIGN]]]),
    "evaluation.datasets": ("", FROM["find_overlaps"]),
    "explain.dataset": ("simulated_independent", [*EXPLANATION, *PAGE]),
    "explain.promoters": (9, [*EXPLANATION, *PAGE]),
    "explain.motifs": ("other.jaspar", [*EXPLANATION, *PAGE]),
    "explain.de_novo": (2, [*EXPLANATION, *PAGE]),
    "explain.logos": (2, ["plot_motifs", *PAGE]),
    "explain.seed": (1, [*EXPLANATION, *PAGE]),
    "design.number": (3, [*DESIGN, *PAGE]),
    "design.compared": (1, [*DESIGN, *PAGE]),
    "design.motifs": ("other.jaspar", [*DESIGN, *PAGE]),
    "design.judge": ("other", []),  # the truth is known here
    "design.oligos.preset": ("pool_200", [*DESIGN, *PAGE]),
    "design.seed": (1, [*DESIGN, *PAGE]),
    "comparison.runs": ([], []),  # others need their results
    "evaluation.dream.dataset": ("", []),  # another than none needs its files
    "evaluation.dream.subsets": ("other", []),
    "evaluation.dream.public": ("other", []),
    "card.assay": ("sort-seq", ["write_report"]),
    "card.data": ("a paper", ["write_report"]),
    "card.licence": ("CC0", ["write_report"]),
    "card.limits": (["human promoters"], ["write_report"]),
    "plots.unit": ("log2 YFP/RFP", ["plot_expression", "plot_motifs", "plot_designs", "plot_predictions", "plot_subgroups", *PAGE]),
    "plots.hexagons": (20, ["plot_predictions", *PAGE]),
}
CHANGES |= {  # no public data sets here
    "fetch.api": ("http://127.0.0.1:9/api", []),
    "fetch.mirrors": (["https://example.org/{dataset}/{file}"], []),
    "fetch.retries": (3, []),
    "fetch.timeout": (5, []),
    "fetch.offline": (True, []),
}
# Keys that name things rather than decide results: another run is another folder; {data} is not in the sample's paths.
UNTESTED = {
    "reads.umi": "`merge_counts` and all that follows; to or from `ignore` also `count_reads`",
    "simulate.conditions": "`simulate_assay` and all that follows, with another sample sheet",
    "counts.table": "`estimate_expression` and all that follows",
    "counts.kind": "`estimate_expression` and all that follows",
    "counts.columns.condition": "with several conditions, `estimate_expression` and all that follows",
    **{
        f"counts.{key}": "with `counts.kind: dna_rna`, `estimate_expression` and all that follows"
        for key in ["columns.barcode", "barcodes", "design", "minimum_dna", "barcode_dispersion"]
    },
    "input.transform_floor": "with `input.transform: log2`, `ingest_table` and all that follows",
    "input.tables": "`ingest_table` for each changed table, `join_tables` and all that follows",
    **{f"input.{key}": "with `input.tables`, `join_tables` and all that follows" for key in ["join", "min_shared"]},
    "counts.sample_sheet": "what reads the files of the bins, or `estimate_expression` if only gates or cells differ, and all that follows",
    **{  # all are one parameter of the rule (tests/app/test_plan.py)
        f"design.{key}": "`design_promoters` and what follows"
        for key in [
            *("objectives", "condition", "targets", "ladder", "ladder_range", "tolerance", "spread_weight", "distance_weight"),
            *("search", "budget", "beam", "starts", "length", "template", "protect", "max_edits", "min_distance"),
            *("forbid_sites", "require_sites", "gc", "gc_window", "gc_window_range", "max_homopolymer", "repeat_kmer"),
            *("forbid_motifs", "require_motifs", "motif_score"),
            *("oligos.forward", "oligos.reverse", "oligos.with_flanks", "oligos.max_length"),
        ]
    },
    "run": "everything, under another results folder",
    "data": "what reads from {data}",
    "fetch.registry": "`fetch_dataset`; with another DOI, checksum or name of a file `ingest_table` and all that follows",
    "model.name": "train_model and what follows",
}


@pytest.fixture(scope="module")
def finished(finished_once, tmp_path_factory):
    """A finished tiny run, with the files that other values of keys need."""
    folder = copy_finished(finished_once, tmp_path_factory.mktemp("reruns") / "copy")
    (folder / "other.tsv").write_bytes(b"sequence\texpression\n")
    (folder / "other.jaspar").write_bytes((folder / "resources/motifs/jaspar2026_yeast.jaspar").read_bytes())
    (folder / "other.yaml").write_bytes((folder / "resources/scaffolds.yaml").read_bytes())
    return folder


@pytest.fixture(scope="module")
def unedited(finished):
    """A process that has read the code of the folder once, and forks a dry run for each request."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=_serve, args=(finished, there))
    process.start()
    yield here
    here.send(None)
    process.join(60)


def _serve(folder, requests):
    _use_code_of(folder)
    from gpraflow.core import dependencies

    for path in sorted(Path("scripts").resolve().glob("*.py")):
        dependencies.fingerprint(path)
    while (arguments := requests.recv()) is not None:
        requests.send(_forked(arguments))


def _use_code_of(folder):
    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "gpraflow"]:
        del sys.modules[name]  # the folder has its own copy
    sys.path.insert(0, str(folder / "scripts"))


def _forked(arguments):
    process = FORK.Process(target=_dry_run, args=(arguments,))
    process.start()
    process.join(120)
    return process.exitcode


def _dry_run(arguments):
    with open("dry_run.txt", "w") as sys.stdout:
        sys.stderr = sys.stdout
        try:
            cli.main(arguments)
        finally:
            sys.stdout.flush()


def _of_edited_code(folder, arguments):
    _use_code_of(folder)
    _dry_run(arguments)


def dry_run(folder, *arguments, unedited=None):
    """Return the rules that would run, from Snakemake itself in a forked process (its import is paid once).

    ``unedited`` is the process that has read the code before; without it, the code is read as it is now.
    """
    arguments = ["--cores", "2", "--dry-run", "--configfile", "tiny.yaml", *arguments]
    if unedited:
        unedited.send(arguments)
        exitcode = unedited.recv()
    else:
        process = FORK.Process(target=_of_edited_code, args=(folder, arguments))
        process.start()
        process.join(120)
        exitcode = process.exitcode
    text = (folder / "dry_run.txt").read_text()
    assert exitcode == 0, text[-3000:]
    found = set(re.findall(r"^(?:local)?rule (\w+):$", text, flags=re.MULTILINE)) - {"all"}
    return [rule for rule in ALL if rule in found]


def overlay(key, value):
    content = value
    for part in reversed(key.split(".")):
        content = {part: content}
    return content


def merge(base, extra):
    for key, value in extra.items():
        base[key] = merge(base.get(key, {}), value) if isinstance(value, dict) else value
    return base


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, (_, rules) in CHANGES.items() if rules])
def test_a_changed_key_reruns_what_it_decides(finished, unedited, key):
    value, expected = CHANGES[key]
    content = merge(yaml.safe_load(TINY), overlay(key, value))
    (finished / "changed.yaml").write_text(yaml.safe_dump(content))
    assert dry_run(finished, "changed.yaml", unedited=unedited) == expected


def test_keys_that_concern_no_rule_of_this_run_rerun_nothing(finished):
    """All of them in one dry run: if one reran a rule, so would all together."""
    content, keys = yaml.safe_load(TINY), [key for key, (_, rules) in CHANGES.items() if not rules]
    assert len(keys) > 15
    for key in keys:
        content = merge(content, overlay(key, CHANGES[key][0]))
    (finished / "changed.yaml").write_text(yaml.safe_dump(content))
    assert dry_run(finished, "changed.yaml") == []


def test_nothing_reruns_when_nothing_changed(finished):
    assert dry_run(finished) == []


TRIGGERS = ["--rerun-triggers", *run.TRIGGERS]


@contextlib.contextmanager
def edited(changes):
    """Write other content to files, and restore content and times afterwards: Snakemake compares the times of scripts with outputs."""
    before = {path: (path.read_bytes(), path.stat()) for path in changes}
    try:
        for path, content in changes.items():
            path.write_bytes(content)
        yield
    finally:
        for path, (content, times) in before.items():
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def with_comments(paths):
    return {path: b"# a comment\n\n" + path.read_bytes() + b"\n# another one\n" for path in paths}


def test_comments_in_the_library_rerun_nothing(finished):
    with edited(with_comments((finished / "scripts/gpraflow").rglob("*.py"))):
        assert dry_run(finished) == []


def test_comments_in_scripts_rerun_nothing_with_the_triggers_of_make_run(finished):
    """Snakemake's own trigger `code` compares the times of scripts; make run and the profiles leave it out, as fingerprints replace it."""
    paths = list((finished / "scripts").glob("*.py"))
    with edited(with_comments(paths)):
        assert dry_run(finished, *TRIGGERS) == []
    path = finished / "scripts/plot_cost.py"
    with edited({path: path.read_bytes().replace(b"def main(job):\n", b"def main(job):\n    edited = 1\n")}):
        assert dry_run(finished, *TRIGGERS) == PAGE


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("assay/simulate", FROM["simulate_assay"]),
        ("assay/reads", FROM["count_reads"]),
        ("assay/counts", FROM["merge_counts"]),
        ("assay/estimators", ["plot_reads", *FROM["estimate_expression"]]),
        ("assay/figures", ["plot_reads", "plot_expression", *PAGE]),
        ("formats/columns", FROM["merge_counts"]),
        ("tables/ingest", FROM["ingest_table"]),
        ("tables/barcodes", FROM["ingest_table"]),
        ("tables/splits", FROM["find_overlaps"]),
        ("tables/split_checks", FROM["split_promoters"]),
        ("tables/downloads", []),
        ("sequences/neighbours", FROM["merge_counts"]),
        ("sequences/audit", ["find_nearest", *SCORING]),
        ("sequences/parents", FROM["ingest_table"]),
        ("shards/write", FROM["shard_tfrecords"]),
        ("shards/upload", FROM["upload_shards"]),
        ("storage/local", []),
        ("training/run", FROM["train_model"]),
        ("training/steppers", FROM["train_model"]),
        ("models/zoo/compact", []),
        ("models/zoo/slides", FROM["train_model"]),
        ("prediction/calibration", ["calibrate_model", *AFTER_PREDICTION]),
        ("prediction/conformal", ["calibrate_model", *AFTER_PREDICTION]),
        ("prediction/effects", ["calibrate_model", *AFTER_PREDICTION]),
        ("prediction/pairs", ["calibrate_model", *AFTER_PREDICTION]),
        ("prediction/predictor", ["calibrate_model", *AFTER_PREDICTION]),
        ("explanation/sites", [*EXPLANATION, *PAGE]),
        ("evaluation/metrics", ["demonstrate_leak", *EXPLANATION, "measure_designs", "plot_designs", *SCORING]),
        ("design/searches", [*DESIGN, *PAGE]),
        ("design/truth", ["measure_designs", "plot_designs", *PAGE]),
        ("evaluation/evaluate", SCORING),
        ("evaluation/subgroups", SCORING),
        ("evaluation/checks", SCORING),
        ("evaluation/ceiling", SCORING),
        ("evaluation/leak", ["demonstrate_leak", "plot_leak", *PAGE]),
        ("evaluation/figures", ["plot_predictions", "plot_subgroups", "plot_scores", *PAGE]),
        ("report/figures", ["plot_leak", "plot_ledger", *PAGE]),
        ("report/accounting", ["collect_ledger", "plot_ledger", *PAGE]),
        ("report/cost", PAGE),
        ("report/page", ["write_report"]),
        ("core/drawing", [rule for rule in ALL if rule.startswith("plot_")] + ["write_report"]),
        ("core/logs", []),
        ("core/errors", []),
        ("core/limits", []),
        ("core/ledger", []),
    ],
)
def test_an_edited_module_reruns_what_it_decides(finished, module, expected):
    path = finished / f"scripts/gpraflow/{module}.py"
    with edited({path: path.read_bytes() + b"\nedited = 1\n"}):
        assert dry_run(finished) == expected


def leaves(part, path=""):
    for key, inner in part.get("properties", {}).items():
        if inner.get("type") == "object":
            yield from leaves(inner, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_key_has_its_case():
    schema = schemas.load("config")
    free = ("model.sizes", "input.tables")  # keys of users' own names below them
    tested = {key for key in [*CHANGES, *UNTESTED] if not key.startswith(free)}
    assert set(leaves(schema)) == tested, "CHANGES or UNTESTED has every key of the config schema"


def described(rules):
    """Return how the docs say which rules rerun."""
    if not rules:
        return "nothing"
    for first, following in FROM.items():
        if rules in (following, [rule for rule in following if rule != "measure_designs"]):  # which is of simulated runs
            return f"`{first}` and all that follows"
    return ", ".join(f"`{rule}`" for rule in rules)


def test_the_docs_hold_the_same_table():
    text = Path(ROOT / "docs/reruns.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|$", text, flags=re.MULTILINE))
    expected = {key: described(rules) for key, (_, rules) in CHANGES.items()} | UNTESTED
    assert rows == expected, "docs/reruns.md differs; python -m tests.workflow.test_reruns prints the rows"


if __name__ == "__main__":  # python -m tests.workflow.test_reruns: the rows of docs/reruns.md
    print("\n".join(f"| `{key}` | {text} |" for key, text in (UNTESTED | {k: described(r) for k, (_, r) in CHANGES.items()}).items()))
