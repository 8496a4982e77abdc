"""Transforms of expression, from the table to the promoter table."""

import runpy
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core import ledger as core_ledger
from gpraflow.core import logs
from gpraflow.core.errors import InputError
from gpraflow.formats import promoters, transform
from gpraflow.tables import ingest
from tests.conftest import ROOT

SEQUENCES = ["".join(row) for row in np.array(list("ACGT"))[np.random.default_rng(3).integers(0, 4, (6, 50))]]


def blom(values):
    """Normal scores from SciPy's average ranks."""
    return stats.norm.ppf((stats.rankdata(values) - 0.375) / (len(values) + 0.25))


def test_log2_and_its_standard_deviation_are_those_of_log_normal_samples():
    known = transform.fit("log2", 0.5, np.array([1.0]))
    assert known.forward(np.array([8.0, 0.5, 0.1, -3.0])).tolist() == [3.0, -1.0, -1.0, -1.0]
    assert known.inverse(known.forward(np.array([8.0, 0.7]))) == pytest.approx([8.0, 0.7])
    assert known.outside(np.array([8.0, 0.5, 0.1])).tolist() == [False, True, True]
    sampled = np.random.default_rng(1).normal(20, 0.4, 200_000)
    assert known.spread(np.array([20.0]), np.array([0.4]))[0] == pytest.approx(np.log2(sampled).std(), rel=0.01)
    assert np.isnan(known.forward(np.array([np.nan]))[0])


@pytest.mark.parametrize("values", [np.random.default_rng(2).lognormal(0, 2, 300), np.random.default_rng(2).poisson(3, 300).astype(float)])
def test_normal_scores_are_bloms_with_ties_averaged(values):
    known = transform.fit("rank_normal", None, values)
    assert known.forward(values) == pytest.approx(blom(values), abs=1e-12)
    assert known.inverse(known.forward(values)) == pytest.approx(values, rel=1e-9)
    between = np.sort(np.unique(values))[:2]
    assert known.forward(np.array([between.mean()]))[0] == pytest.approx(known.forward(between).mean())
    beyond = known.forward(np.array([values.min() - 1, values.max() + 1, np.nan]))
    assert beyond[:2].tolist() == [known.scores[0], known.scores[-1]]
    assert np.isnan(beyond[2])
    assert np.isnan(known.inverse(np.array([np.nan]))[0])


def test_the_quantiles_of_a_large_library_are_stored_with_its_tails(tmp_path):
    values = np.random.default_rng(4).lognormal(0, 2, 50_000)
    known = transform.fit("rank_normal", None, values)
    assert len(known.values) <= 2001
    assert known.values[0] == values.min()
    assert known.values[-1] == values.max()
    assert np.abs(known.forward(values) - blom(values)).max() < 0.01
    transform.write(known, tmp_path / "t.json")
    assert transform.read(tmp_path / "t.json") == known


def test_standard_deviations_of_normal_scores():
    values = np.random.default_rng(5).normal(10, 3, 2000)  # normal scores of normal values are nearly linear: slope 1/3
    known = transform.fit("rank_normal", None, values)
    middle = np.linspace(7, 13, 200)
    assert known.spread(middle, np.full(200, 0.6)) == pytest.approx(0.2, rel=0.15)
    ends = known.spread(np.array([values.max(), values.max() + 9, 10.0, 10.0]), np.array([0.6, 0.6, 0.0, np.nan]))
    assert ends[0] > 0
    assert ends[1:3].tolist() == [0, 0]
    assert np.isnan(ends[3])


def test_equal_values_have_no_ranks(tmp_path):
    with pytest.raises(InputError, match="rank_normal needs at least two different values"):
        transform.fit("rank_normal", None, np.ones(5))
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(InputError, match=r"t\.json: it: 'name' is a required property"):
        transform.read(tmp_path / "t.json")


def adapter(monkeypatch, folder, text, dataset="library", of_library="", **changes):
    """Run the script ingest_table on a table; return the promoter table and the lines of the ledger."""
    monkeypatch.setattr(logs, "log_to", lambda path: None)
    (folder / f"{dataset}.tsv").write_text(text)
    roles = dict.fromkeys(promoters.SCHEMA, "auto") | {"sequence": "sequence", "expression": "expression"}
    named = changes.pop("transform", {"name": "log2", "floor": None})
    reading = {"conditions": [], "columns": roles, "expression_range": [0, 100], "positive": named == {"name": "log2", "floor": None}}
    params = {"fetched": {}, "scaffold": "none", "policy": {"insert_length": [50, 50], "duplicates": "mean"}, "measured": []}
    params |= {"transform": named, "parents": ["", ""], "reading": reading | changes.pop("reading", {})} | changes
    output = SimpleNamespace(**{name: folder / f"{dataset}.{name}" for name in ("promoters", "ledger", "transform")})
    inputs = SimpleNamespace(table=folder / f"{dataset}.tsv", scaffolds=ROOT / "resources/scaffolds.yaml", transform=of_library)
    job = SimpleNamespace(
        log=[""], input=inputs, output=output, params=SimpleNamespace(**params), wildcards=SimpleNamespace(dataset=dataset)
    )
    runpy.run_path(str(ROOT / "scripts/ingest_table.py"), run_name="adapter")["main"](job)
    rows = {what: rows for _, _, _, what, rows in core_ledger.load([output.ledger]).iter_rows()}
    return promoters.read(output.promoters), rows


def table(expression, sd=None, extra=None):
    head = ["sequence", "expression", *(["expression_sd"] if sd else []), *(["twin"] if extra else [])]
    rows = [[s, *map(str, values)] for s, *values in zip(SEQUENCES, expression, *filter(None, [sd, extra]), strict=False)]
    return "".join("\t".join(row) + "\n" for row in [head, *rows])


def test_a_table_is_transformed_after_its_limits_and_duplicates(tmp_path, monkeypatch):
    text = table([0.25, 8, 100], sd=[0.1, 0.8, 5]) + f"{SEQUENCES[1]}\t24\t0.8\n"
    found, rows = adapter(monkeypatch, tmp_path, text, transform={"name": "log2", "floor": 0.5})
    assert found["expression"].to_list() == pytest.approx([-1.0, 4.0, np.log2(100)])  # the mean of 8 and 24 is 16
    assert found["expression_sd"].to_list() == pytest.approx(
        [0.1 / 0.5 / np.log(2), 0.8 / np.sqrt(2) / 16 / np.log(2), 0.05 / np.log(2)], rel=1e-6
    )
    assert rows["expression at or below 0.5, set to this floor (log2)"] == 1
    assert transform.read(tmp_path / "library.transform") == transform.Transform("log2", 0.5)
    with pytest.raises(InputError, match=r"row 2: expression 0\.25 is outside 1 \.\. 100"):  # limits are in the unit of the table
        adapter(monkeypatch, tmp_path, text, transform={"name": "log2", "floor": 0.5}, reading={"expression_range": [1, 100]})


def test_a_value_without_logarithm_is_named_with_row_and_key(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"library\.tsv, row 3: expression 0 has no logarithm \(2 such rows near here\); set input\.transform_floor"
    ):
        adapter(monkeypatch, tmp_path, table([1, 0, 0]))
    with pytest.raises(InputError, match=r"library\.tsv, column 'twin': -1 has no logarithm; set input\.transform_floor"):
        adapter(monkeypatch, tmp_path, table([1, 2], extra=[-1, 2]), measured=["twin"], reading={"keep": ["twin"]})
    plain, _ = adapter(monkeypatch, tmp_path, table([1, 0, 0]), transform={"name": "none", "floor": None})
    assert plain["expression"].to_list() == [1, 0, 0]


def test_independent_data_sets_take_the_quantiles_of_the_library(tmp_path, monkeypatch):
    named = {"name": "rank_normal", "floor": None}
    library, _ = adapter(monkeypatch, tmp_path, table([1, 2, 4, 8, 8]), transform=named)
    assert library["expression"].to_list() == pytest.approx(blom([1, 2, 4, 8, 8]), abs=1e-6)
    path = tmp_path / "library.transform"
    options = {"transform": named, "measured": ["twin"], "reading": {"keep": ["twin"]}}
    other, rows = adapter(monkeypatch, tmp_path, table([3, 50], extra=[4, 1]), "other", of_library=path, **options)
    scores = blom([1, 2, 4, 8, 8])
    assert other["expression"].to_list() == pytest.approx([scores[1:3].mean(), scores[3]], abs=1e-6)
    assert other["twin"].to_list() == pytest.approx([scores[2], scores[0]])
    assert rows["expression outside the library's range, set to its nearest limit (rank_normal)"] == 1
    assert transform.read(tmp_path / "other.transform") == transform.read(path)


def test_unknown_standard_deviations_stay_unknown():
    frame = pl.DataFrame({"sequence": ["A"], "expression": [4.0], "expression_sd": [None]}, schema_overrides={"expression_sd": pl.Float32})
    found = ingest.transformed(frame.lazy(), transform.Transform("log2"), "x", core_ledger.Ledger("ingest_table", "x")).collect()
    assert found.rows() == [("A", 2.0, None)]
