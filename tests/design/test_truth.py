"""Promised against true expression: key figures by hand, and the simulated cells as the truth."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.assay import simulate, simulated_library
from gpraflow.core import resources
from gpraflow.design import figures, truth
from gpraflow.formats.transform import Transform
from gpraflow.sequences.scaffold import Scaffold

SHEET = [{"bin": str(at), "reads": "", "lower": low, "upper": high} for at, (low, high) in enumerate([(-9, -2), (-2, 0), (0, 2), (2, 9)])]
FLANKS = Scaffold("s", "TGCATTTTTTTCACATC", "GGTTACGGCTGTT")
ASSAY = simulated_library.Assay(promoters=400, independent=20, active_factors=8, independent_cells=500)


@pytest.fixture(scope="module")
def motif_file():
    return str(resources.path_of("motifs/jaspar2026_yeast.jaspar"))


@pytest.fixture(scope="module")
def library(motif_file):
    return simulated_library.make_library(FLANKS, motif_file, np.array([-2.0, 0.0, 2.0]), ASSAY, 5)


def test_the_simulated_cells_express_designs_as_they_express_the_library(library, motif_file):
    chosen = [0, 7, 399, 410]
    sequences = library.sequences[chosen]
    found = simulate.measure(sequences, FLANKS, motif_file, SHEET, ASSAY, 5)
    expected = simulated_library.bin_units(library.signal[0, chosen], np.array([-2.0, 0.0, 2.0]))
    assert found["true"].to_list() == pytest.approx(expected.tolist(), abs=1e-9)
    assert np.abs(found["measured"] - np.clip(expected, 0, 3)).max() < 0.35
    gate = simulate.measure(sequences, FLANKS, motif_file, SHEET, ASSAY, 5, gate_scale=True)
    assert gate["true"].to_list() == pytest.approx(library.signal[0, chosen].tolist(), abs=1e-9)
    assert gate["measured"].null_count() == 4
    assert simulate.measure(sequences, FLANKS, motif_file, SHEET, ASSAY, 5).equals(found)


def test_the_truth_of_the_library_and_of_a_difference(tmp_path):
    table = pl.DataFrame({"sequence": ["A", "C"], "mean_bin.a": [1.0, 2.0], "mean_bin.b": [4.0, 7.0], "mean_signal.a": [0.0, 1.0]})
    (tmp_path / "truth.tsv").write_text(table.write_csv(separator="\t"))
    assert simulate.true_expression(tmp_path / "truth.tsv", "b-a", ["a", "b"], False).tolist() == [3.0, 5.0]
    assert simulate.true_expression(tmp_path / "truth.tsv", "a", ["a", "b"], False).tolist() == [1.0, 2.0]
    log2 = Transform("log2")
    assert simulate.true_expression(tmp_path / "truth.tsv", "b-a", ["a", "b"], False, log2).tolist() == [2.0, pytest.approx(np.log2(3.5))]


def test_differences_are_those_of_transformed_expression(motif_file):
    assay, log2 = dataclasses.replace(ASSAY, conditions=2), Transform("log2", floor=0.1)
    sheet = [{**row, "condition": name} for name in ("a", "b") for row in SHEET]
    sequences = simulated_library.make_library(FLANKS, motif_file, np.array([-2.0, 0.0, 2.0]), assay, 5).sequences[:5]
    one, other, difference = (
        simulate.measure(sequences, FLANKS, motif_file, sheet, assay, 5, readout, transform=log2) for readout in ("a", "b", "b-a")
    )
    plain = simulate.measure(sequences, FLANKS, motif_file, sheet, assay, 5, "a")
    for column in ("true", "measured"):
        assert difference[column].to_list() == pytest.approx((other[column] - one[column]).to_list())
        assert one[column].to_list() == pytest.approx(np.log2(np.maximum(plain[column].to_numpy(), 0.1)).tolist())
    assert difference["true"].abs().max() > 0.01


def table(objective, predicted, true, targets=None, half=1.0, **columns):
    predicted = np.array(predicted, np.float64)
    return pl.DataFrame(
        {
            "name": [f"{objective}_{row}" for row in range(len(true))],
            "objective": objective,
            "target": targets or [None] * len(true),
            "predicted": predicted,
            "promised": predicted,
            "promised_low": predicted - half,
            "promised_high": predicted + half,
            "true": np.array(true, np.float64),
            "search": "genetic",
            **columns,
        },
        schema_overrides={"target": pl.Float64},
    )


LIBRARY = np.linspace(0, 10, 1001)  # 1st and 99th percentile: 0.1 and 9.9


def designed():
    return pl.concat(
        [
            table("maximize", [12, 12, 11, 11], [12, 11.5, 9, 9.95]),
            table("minimize", [-1, -1], [0.05, -1]),
            table("target", [2, 4, 6], [2.5, 3.5, 7.5], [2.0, 4.0, 6.0]),
        ]
    )


def test_key_figures():
    found = truth.summarise(designed(), LIBRARY, truth.TRUTH, 12.5)
    assert found["share_above_p99"] == 0.75
    assert found["share_below_p1"] == 1.0
    assert found["ladder_r"] == pytest.approx(stats.pearsonr([2, 4, 6], [2.5, 3.5, 7.5]).statistic)
    assert found["coverage_95"] == pytest.approx((2 + 1 + 2) / 9)
    assert found["mean_error"] == pytest.approx((0 + 0.5 + 2 + 1.05 + 1.05 + 0 + 0.5 + 0.5 + 1.5) / 9)
    assert (found["seconds"], found["designs"], found["judged_by"]) == (12.5, 9, "simulated assay")
    rows = {row["objective"]: row for row in truth.rows_of(designed(), LIBRARY).iter_rows(named=True)}
    assert rows["maximize"]["optimism"] == pytest.approx((0 + 0.5 + 2 + 1.05) / 4)
    assert rows["minimize"]["optimism"] == pytest.approx((1.05 + 0) / 2)
    assert rows["target"]["optimism"] is None
    assert rows["minimize"]["r"] is None


def test_measurements_decide_on_intervals():
    measured = designed().with_columns(measured=pl.col("predicted"))
    found = truth.summarise(measured, LIBRARY, truth.TRUTH, 1.0)
    assert found["coverage_95"] == 1.0
    assert found["coverage_95_true"] == pytest.approx(5 / 9)


def test_files_and_figure(tmp_path):
    designs = designed().drop("true").with_columns(sequence=pl.lit("ACGT"))
    compared = pl.concat([designs.with_columns(penalty=pl.lit(penalty)) for penalty in (True, False)])
    for name, part in {"designs": designs, "compared": compared}.items():
        part.write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "search.json").write_text(json.dumps({"seconds": 3.0, "designs": 9}))
    inputs = {"designs": tmp_path / "designs.parquet", "compared": tmp_path / "compared.parquet", "search": tmp_path / "search.json"}
    outputs = {"measured": tmp_path / "measured.parquet", "truth": tmp_path / "truth.tsv", "summary": tmp_path / "summary.json"}

    def measure(sequences):
        return pl.DataFrame({"true": np.resize([9.95, 5.0], len(sequences)), "measured": [None] * len(sequences)})

    truth.judge(inputs, outputs, measure, LIBRARY, truth.JUDGE)
    summary = json.loads(outputs["summary"].read_text())
    assert (summary["share_above_p99"], summary["seconds"], summary["judged_by"]) == (0.5, 3.0, "judge")
    assert summary["library_p99"] == pytest.approx(9.9)
    rows = pl.read_csv(outputs["truth"], separator="\t")
    assert rows["set"].to_list() == ["designs"] * 3 + ["compared"] * 6
    assert rows.filter(set="compared", objective="maximize")["penalty"].to_list() == [True, False]
    figure = figures.truth_of_run(outputs["measured"], outputs["truth"], outputs["summary"], "bin units")
    left, right = figure.axes
    assert left.get_ylabel().startswith("expression by the judge, a second model")
    assert len(right.patches) == 4
    assert [text.get_text() for text in right.texts][:1] == ["50 %"]


def test_motif_content_and_figure_of_designs():
    from gpraflow.design import content
    from gpraflow.sequences import motifs

    known = motifs.load(resources.path_of("motifs/jaspar2026_yeast.jaspar"))
    reb1 = next(motif for motif in known if motif.factor == "REB1")
    best = "".join("ACGT"[base] for base in reb1.log_odds.argmax(axis=1))
    rng = np.random.default_rng(1)
    random = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(60)]
    with_sites = table("maximize", rng.normal(9, 1, 20), np.zeros(20)).with_columns(
        sequence=pl.Series([best + text[len(best) :] for text in random[:20]]),
        insert=pl.Series(random[:20]),
        distance=pl.Series(range(20)),
    )
    found = content.motif_content(with_sites, pl.Series(random), known)
    row = found.filter(motif=f"REB1 {reb1.matrix_id}").row(0, named=True)
    assert row["maximize"] >= 1
    assert row["library"] < 0.2
    steps = pl.DataFrame({"name": [f"maximize_{row}" for row in range(20)] * 2, "step": [0] * 20 + [1] * 20, "calls": [1] * 20 + [9] * 20})
    steps = steps.with_columns(predicted=pl.col("calls").cast(pl.Float64))
    library = pl.DataFrame({"sequence": random, "expression": rng.normal(5, 2, 60)})
    figure = figures.designs(with_sites, steps, library, known, "bin units")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Predictions",
        "Trajectories (genetic search)",
        "Diversity",
        "Motif content",
    ]
    without = figures.designs(with_sites, steps, library.clear(), known, "bin units")
    assert [axes.get_visible() for axes in without.axes] == [True, True, True, False]
