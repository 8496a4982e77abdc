"""Every program under benchmarks/ runs at its smallest size and ends with its line of JSON."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize, stats

from tests.conftest import ROOT

PROGRAMS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())
FIGURES = {  # numbers above 0, some of which the documentation quotes
    "bootstrap": {"seconds", "ratio", "peak_rss_mb"},
    "check": {"table_seconds", "reads_seconds", "counts_seconds", "peak_rss_mb"},
    "conditions": {"n", "promoters"},
    "design": {
        *(f"{search}_{figure}" for search in ("genetic", "greedy") for figure in ("best", "mean", "calls", "seconds", "cpu_seconds")),
        *(f"{search}_ladder_calls" for search in ("genetic", "greedy")),
        *("ladder_seconds", "ladder_cpu_seconds", "ladder_designs", "ladder_calls", "ladder_within", "peak_rss_mb"),
    },
    "dream_cnn_pytorch": {"ours_train_per_s", "ours_parameters"},
    "evolution": {"chains", "linked", "gain_r", "gain_slope", "step_r", "same_first", "mutants_per_s", "their_gain_r"},
    "explain": {"mutants_per_s", "raw_per_s", "ratio", "cpu_ratio", "seconds", "mutants", "peak_rss_mb"},
    "expression": {
        *("r_deep", "rmse_ratio_ml_vs_mean", "rmse_ratio_bound", "coverage_95", "rows_per_s", "peak_rss_mb"),
        *("coverage_95_at_4", "coverage_95_at_4_weighted_mean"),
    },
    "extremes": {"val_all_toy", "val_high_toy", "val_low_toy", "val_high_replicates"},
    "full_scale": {"seconds", "seconds_with_snakemake", "peak_rss_mb"},
    "gpu": {"pipeline_per_s", "pipeline_ratio"},
    "grouped_convolution": {"conv1d_per_s", "products_per_s", "ratio"},
    "join_tables": {"scale_se"},
    "learning_curve": set(),
    "measurement_process": set(),
    "merging": set(),
    "motifs": {"explained_known", "explained_de_novo", "explained_partial", "known_cpu_s", "de_novo_cpu_s", "partial_cpu_s"},
    "neighbours": {"seconds", "peak_rss_mb", "recall", "groups"},
    "predict": {"raw_per_s", "ours_per_s", "ratio", "explain_per_s", "explain_ratio", "variants_per_s", "variants_ratio", "peak_rss_mb"},
    "propose": set(),
    "readers": {"memmap_per_s", "tfdata_per_s", "slides_per_s", "ratio_tfdata_vs_slides", "ratio_memmap_vs_slides"},
    "reads": {"reads_per_s", "peak_rss_mb"},
    "recalibrate": {"R2", "lowest_coverage"},
    "report": {"kb_per_dataset", "matplotlib_kb_per_dataset", "ratio", "seconds_per_dataset"},
    "serve": {"start_s", "first_ms", "click_ms", "click_worst_ms", "click_cpu_ms", "predict_ms", "peak_rss_mb"},
    "shards": {"rows_per_s", "example_per_s", "slides_per_s", "ratio_vs_example_writer", "ratio_vs_slides_writer", "peak_rss_mb"},
    "sort_estimators": {"rmse_ratio_vs_maude_at_4", "rmse_ratio_vs_maude_at_25"},
    "startup": {
        *("light_import_s", "import_s", "read_s", "keras_read_s", "ratio_import", "ratio_read"),
        *("help_s", "predict_s", "predict_keras_s", "ratio_predict", "help_cpu_s", "predict_cpu_s", "predict_keras_cpu_s"),
    },
    "storage": {"megabytes", "shards", "loop_mb_per_s", "ours_mb_per_s", "ratio_vs_copy"},
    "time_to_quality": {"compact_-1.0", "compact_minutes"},
    "training": {"train_per_s", "predict_per_s", "gflop_per_sequence", "sgemm_gflops", "ratio_vs_sgemm", "first_step_s", "parameters"},
    "two_strand_convolution": {"conv2d_per_s", "conv1d_per_s", "ratio"},
}
COMPARED = {  # figures of the comparison with what need not be installed
    "dream_cnn_pytorch": {"pytorch_train_per_s", "ratio", "parameters"},
    "gpu": set(),
    "measurement_process": set(),
    "neighbours": {"ours_seconds", "mmseqs_seconds", "mmseqs_recall", "ratio_vs_mmseqs", "ratio_vs_mmseqs_best_recall"},
    "reads": {"ratio_vs_cutadapt", "ratio_vs_cutadapt_piped", "ratio_vs_cutadapt_with_errors"},
}
ALONE = {"check", "design", "extremes", "full_scale", "learning_curve", "merging", "serve", "time_to_quality"}  # compared with nothing


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def run(program, folder):
    """Run a program at its smallest size, in a folder that must stay empty; return its line of JSON."""
    command = [sys.executable, str(program), "--smallest"]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout.splitlines()[-1])


def at_smallest_size():
    """Return the programs; those that take longer are left to the slow tests."""
    dear = ("conditions", "dream_cnn_pytorch", "expression", "gpu", "learning_curve", "measurement_process", "startup")
    marks = dict.fromkeys(dear, pytest.mark.slow)
    return [pytest.param(path, marks=marks.get(path.stem, ()), id=path.stem) for path in PROGRAMS]


@pytest.mark.parametrize("program", at_smallest_size())
def test_program_runs_at_its_smallest_size(program, tmp_path):
    found, name = run(program, tmp_path), program.stem
    assert found["benchmark"] == name
    assert found["smallest"] is True
    assert isinstance(found["settings"], dict)
    expected = FIGURES[name]
    if found["alternative"] is None:
        assert name in ALONE | set(COMPARED)
        assert found["skipped"]
    else:
        assert isinstance(found["alternative"], str)
        assert "skipped" not in found
        expected = expected | COMPARED.get(name, set())
    for figure in expected:
        assert is_number(found[figure]), figure
        assert found[figure] > 0, figure
    ratios = {key: value for key, value in found.items() if "ratio" in key and key != "ratios"}
    assert all(is_number(value) and value > 0 for value in ratios.values()), ratios
    if name in CHECKS:
        CHECKS[name](found)


def check_full_scale(found):
    shards = {f"shard_tfrecords.{split}" for split in ("train", "val", "test")}
    stages = {"ingest_table.library", "group_neighbours", "find_overlaps", "split_promoters", "upload_shards", "verify"}
    assert set(found["stages"]) == stages | shards
    assert all(stage["seconds"] > 0 for stage in found["stages"].values())
    assert sum(split["promoters"] for split in found["splits"].values()) == found["settings"]["rows"]  # without one that is there twice
    assert all(split["records_alike"] == 0 for split in found["splits"].values())


def check_learning_curve(found):
    (point,) = found["curve"]
    assert (point["model"], point["dataset"]) == ("baseline_kmer", "test")
    assert point["promoters"] == found["settings"]["rows"][0]
    assert -1 <= point["r"] <= 1


def check_measurement_process(found):
    assert sum(found["promoters"].values()) == found["settings"]["rows"]
    heads = found["settings"]["heads"]
    for head in heads:
        measured = found[f"additive_{head}"]
        assert set(measured) >= {"predictive", "calibrated", "seconds", "cpu_seconds"}
        assert ("variational" in measured) == (head != "mse")  # a mean has no p(bin | sequence)
        bits, error = measured["predictive"]
        assert 0.2 < bits < 1.5  # the simulated signal is an additive one
        assert 0 < error < 0.2
    for head in heads[1:]:
        difference = found["differences"][f"additive_measurement_process_vs_additive_{head}"]["predictive"]
        first, second = (found[f"additive_{name}"]["predictive"][0] for name in ("measurement_process", head))
        assert difference[0] == pytest.approx(first - second, abs=2e-4)


def check_join_tables(found):
    """Two noisy tables on shifted scales give a better model than either, and a worse one without a map."""
    r, rmse = ({name: found[name][key][0] for name in ("a", "b", "shared", "none")} for key in ("r", "rmse"))
    assert r["shared"] > max(r["a"], r["b"]) + 0.01
    assert rmse["shared"] < min(rmse["a"], rmse["b"]) - 0.03
    assert r["none"] < min(r["a"], r["b"])
    assert abs(found["shared"]["scale"][0] - 2.5) < 2 * found["scale_se"] < 0.6
    assert found["promoters"]["joined"] < found["promoters"]["a"] + found["promoters"]["b"]


def check_neighbours(found):
    assert found["recall"] == 1


def check_propose(found):
    curve = {(point["acquisition"], point["promoters"]): point for point in found["curve"]}
    assert set(curve) == {(name, promoters) for name in ("random", "mixture") for promoters in (200, 300)}
    scores = ("r", "r_bottom", "r_top", "rmse", "strongest")
    assert all(curve["random", 200][score] == curve["mixture", 200][score] for score in scores)  # the same first library
    assert curve["random", 300]["r"] != curve["mixture", 300]["r"]
    assert all(-1 <= point[score] <= 1 for point in curve.values() for score in scores[:3])
    for score in scores:
        gain = curve["mixture", 300][score] - curve["random", 300][score]
        assert found["gains"]["mixture"][score][0] == pytest.approx(gain, abs=2e-4)


def check_sort_estimators(found):
    for at in ("at_4", "at_25"):
        scores = found[at]
        methods = ("weighted_mean", "maximum_likelihood", "maude", "maude_no_pseudocounts", "maude_own_sd")
        for method in methods:
            assert 0.7 < scores[method]["r"] < 1, method
            assert 0 < scores[method]["rmse_scaled"] <= scores[method]["rmse"], method
        assert min(methods, key=lambda name: scores[name]["rmse"]) == "maximum_likelihood"


def check_reads(found):
    if found["alternative"]:
        assert found["counts_equal"] is True
        assert found["agreement_with_errors"]["same_insert"] > 0.99


def check_merging(found):
    for merged in found["merged"]:
        assert merged["right"] is True
        assert merged["parents"] == merged["inserts"] // 2 > 0
        assert all(merged[figure] > 0 for figure in ("seconds", "cpu_seconds", "peak_rss_mb"))


CHECKS = {
    "full_scale": check_full_scale,
    "join_tables": check_join_tables,
    "learning_curve": check_learning_curve,
    "measurement_process": check_measurement_process,
    "merging": check_merging,
    "neighbours": check_neighbours,
    "propose": check_propose,
    "reads": check_reads,
    "sort_estimators": check_sort_estimators,
}


def test_every_program_has_its_figures_listed():
    assert {path.stem for path in PROGRAMS} == set(FIGURES)


@pytest.mark.parametrize("options", [{}, {"pseudocounts": 0}, {"pseudocounts": 0, "sd": 0.5, "tail": 0}])
def test_restated_maude_maximises_its_likelihood(options, monkeypatch):
    # The likelihood as the R package has it: dnbinom(reads, size = reads of the bin, prob = 1 - expected share), summed over bins.
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import sort_estimators

    rng = np.random.default_rng(0)
    cells = np.array([900, 2000, 1500, 2500, 1000, 2100])
    gates = stats.norm.ppf(np.concatenate([[0], np.cumsum(cells / cells.sum())]).clip(0, 1))
    share = np.diff(stats.norm.cdf(gates - rng.normal(0, 0.8, 60)[:, None]), axis=1)
    counts = rng.poisson(rng.gamma(1, 30, 60)[:, None] * share)
    found = sort_estimators.maude(counts, cells, **options)

    tail, sd = options.get("tail", 0.001), options.get("sd", 1)
    width = (1 - 2 * tail) * cells / cells.sum()
    edges = stats.norm.ppf(np.concatenate([[tail], tail + np.cumsum(width)]).clip(0, 1))
    reads = counts + (0 if "pseudocounts" in options else 1)  # 10 a million, but at least one
    total = reads.sum(axis=0)
    for row, mean in zip(reads, found, strict=True):
        if not row.sum():
            continue
        library = (row / total * cells / cells.sum()).sum()

        def cost(mu, row=row, library=library):
            expected = library * np.diff(stats.norm.cdf((edges - mu) / sd)) / width
            return -stats.nbinom.logpmf(row, total, 1 - expected).sum()

        best = optimize.minimize_scalar(cost, bounds=(-4, 4), method="bounded", options={"xatol": 1e-6})
        assert cost(mean) <= best.fun + 1e-6
        assert mean == pytest.approx(best.x, abs=1e-3)
