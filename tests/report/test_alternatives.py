"""Text alternatives say what a figure shows, with the numbers of the tables."""

import csv
import io

import pytest

from gpraflow.report import page as report_page
from gpraflow.report.alternatives import alternative
from tests.report.test_page import ABOUT, LEDGER


def rows(text):
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


TABLES = {
    "ledger.tsv": rows(LEDGER),
    "leak/distances.tsv": rows("dataset\tn\twithin_max_edits\tmedian\ntest\t1000\t7\t40.0\n"),
    "leak/demonstration.tsv": rows("condition\tr\nindex error\t0.998\nleakage-controlled\t0.5\n"),
    "intervals.tsv": rows("dataset\tlevel\tn\tinside\ntest\t0.5\t50\t0.4\ntest\t0.950000\t50\t0.94\n"),
    "subgroups.tsv": rows("dataset\tby\tpart\tn\tr\ntest\treads\t1\t20\t0.5\ntest\treads\t2 to 9\t30\t0.9\nother\tgc\tlow\t9\t0.1\n"),
    "explain/motifs.tsv": rows("factor\tmatrix\tactivity\texplained\nREB1\tMA1\t2.5\t0.3\nMIG2\tMA2\t-1\t0.45\n"),
    "explain/de_novo.tsv": rows("motif\tconsensus\tactivity\texplained\ndenovo_1\tTTACCCG\t1.5\t0.31\n"),
    "design/truth.tsv": rows("search\tobjective\tpromised\ttrue\ngenetic\tmaximize\t16.2\t15.9\n"),
    "cost.tsv": rows("rule\tcore_hours\nplot\t0.1\ntrain_model\t2.5\n"),
    "factors.tsv": rows(
        "factor\tmatrix_id\tactivity\tposition_activity_min\tposition_activity_max\n"
        "REB1\tMA1\t2\t-1\t1\nMIG2\tMA2\t1\t0\t3\nREB1\tMA1\t4\t-1\t2\nMIG2\tMA2\t1\t0\t1\nx\t-\t1\t0\t9\n"
    ),
    "joined.tsv": rows("table\na\nb\n"),
    "comparison/scores.tsv": rows("label\na\nb\nc\n"),
}
METRICS = {"test": {"title": "test split", "n": 1000, "r": 0.9, "r_low": 0.85, "r_high": 0.95, "slope": 1.02}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("scores", "Pearson r test split 0.900 [0.850, 0.950], n = 1,000"),
        ("predictions", "predicted against measured expression of 1,000 promoters; r 0.900 [0.850, 0.950], slope 1.020 (no interval)"),
        ("training", "epoch 3 of 4 was kept, with r 0.800 on the val split"),
        ("cost", "2.6 core-hours in all; most in train_model 2.5, plot 0.1"),
        ("assay/yield", "130 of 150 reads in 2 bins were counted (86.7%); most were lost for: quality (11)"),
        ("assay/depth", "4.3 reads per promoter on average, 30 promoters"),
        ("assay/expression", "30 promoters with an estimate of expression"),
        ("ledger", "promoters used: train 20, val 7; the largest loss is 11 in count_reads (quality)"),
        ("leak/distance", "test median 40 edits to the nearest training promoter, 7 of 1,000 within the distance of near-duplicates"),
        ("leak/demonstration", "index error r 0.998; leakage-controlled r 0.500"),
        ("intervals", "95 % intervals contain the measurement of test 94.0 % (n = 50)"),
        ("subgroups", "2 subgroups; lowest r in reads 1 (r 0.500, n = 20), highest in reads 2 to 9 (r 0.900, n = 30)"),
        ("explain/motifs", "2 known motifs explain 45 % of the effects; first REB1 (activity +2.5), MIG2 (activity -1)"),
        ("explain/de_novo", "1 motifs found without known motifs explain 31 % of the effects; first TTACCCG (activity +1.5)"),
        ("design/truth", "genetic, maximize: promised 16.2, true 15.9"),
        ("factors", "3 factors"),
        ("factor_positions", "activity of 2 factors; that of REB1 differs most between positions and strands (by 2.5)"),
        ("factor_motifs", "1 of 2 motifs have the sign of their factor"),
    ],
)
def test_the_message_has_the_numbers(kind, expected):
    assert alternative(kind, "test", "Title", TABLES, METRICS, ABOUT) == f"Title: {expected}."


def test_motifs_that_were_not_found_are_counted():
    assert alternative("explain/logos", "", "Title", {"explain/motifs.tsv": []}, {}, ABOUT) == "Title: 0 known motifs explain the effects."


def test_every_figure_has_a_message_and_without_numbers_its_title():
    for kind in report_page.FIGURES:
        assert any(letter.isdigit() for letter in alternative(kind, "test", "Title", TABLES, METRICS, ABOUT)), kind
    for kind in set(report_page.FIGURES) - {"scores", "training"}:
        assert alternative(kind, "", "Title", {}, {}, ABOUT) == "Title", kind
