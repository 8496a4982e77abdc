import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from scipy import stats

import gpraflow
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import transform
from gpraflow.prediction import calibration
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences.scaffold import tokenize
from tests import toy


@pytest.fixture(scope="module")
def predictor(folder):
    return gpraflow.load(folder, batch_size=64)


def test_expression_is_what_the_model_says_in_the_order_of_the_input(predictor):
    sequences = toy.promoters(150, 5)
    found = predictor.predict(sequences)
    assert found.columns == ["sequence", "expression", "expression_low", "expression_high", "out_of_distribution"]
    assert found["sequence"].to_list() == sequences
    assert found["expression"].to_numpy() == pytest.approx([toy.said(s) for s in sequences], abs=1e-5)
    assert predictor.predict(pl.Series(sequences)).equals(found)
    assert not predictor.predict([]).height


def test_inserts_get_their_flanks_and_promoters_keep_theirs(predictor):
    insert = toy.inserts(1, 6)[0]
    whole = toy.FIVE + insert + toy.THREE
    damaged = "G" + whole[1:]
    found = predictor.predict([insert, whole, damaged, insert.lower()])
    assert found["sequence"].to_list() == [whole, whole, damaged, whole]
    assert found["expression"][0] == found["expression"][1] == found["expression"][3] == pytest.approx(toy.said(whole), abs=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 64, 65, 200])
def test_a_promoters_prediction_does_not_depend_on_its_company(predictor, rows):
    sequences = toy.promoters(200, 7)
    assert predictor.predict(sequences[:rows])["expression"].to_list() == predictor.predict(sequences)["expression"].to_list()[:rows]


def test_same_numbers_as_predict_promoters_with_each_promoters_own_reads(folder, predictor):
    table = toy.table(300, 8)
    of_rule, of_users = prediction_predictor.predict(folder, table, batch_size=64), predictor.predict(table["sequence"])
    assert of_rule["predicted"].to_list() == of_users["expression"].to_list()
    width = (of_rule["predicted_high"] - of_rule["predicted_low"]).to_numpy()
    by_reads = [width[table["n_reads"].to_numpy() == reads].mean() for reads in (2, 8, 32, 128)]
    assert by_reads == sorted(by_reads, reverse=True)
    for reads, expected in zip((2, 8, 32, 128), by_reads, strict=True):
        of_these = table["n_reads"] == reads
        found = predictor.predict(table["sequence"].filter(of_these), reads=reads)
        same = (found["expression_high"] - found["expression_low"]).to_numpy()
        assert same == pytest.approx(width[of_these.to_numpy()], rel=1e-4)
        assert expected == pytest.approx(2 * 1.96 * np.sqrt(toy.SD**2 + toy.NOISE / reads), rel=0.15)


@pytest.mark.parametrize("kind", ["folder", "ensemble"])
def test_intervals_cover_at_every_depth(kind, request):
    table = toy.table(8000, 9)
    found = prediction_predictor.predict(request.getfixturevalue(kind), table)
    inside = (found["expression"] >= found["predicted_low"]) & (found["expression"] <= found["predicted_high"])
    assert 0.93 < inside.mean() < 0.97
    for reads in (2, 8, 32, 128):
        assert 0.92 < inside.filter(table["n_reads"] == reads).mean() < 0.985, reads


def test_members_of_an_ensemble_are_averaged_and_widen_intervals(ensemble, predictor):
    sequences = toy.promoters(50, 10)
    found = gpraflow.load(ensemble).predict(sequences)
    assert found["expression"].to_numpy() == pytest.approx(predictor.predict(sequences)["expression"].to_numpy(), abs=1e-5)
    assert found["expression_sd"].to_numpy() == pytest.approx(np.ones(50), abs=1e-5)


@pytest.fixture(scope="module")
def of_log2(tmp_path_factory):
    """The ensemble, calibrated as a model of log2 of expression."""
    target = toy.write_model(tmp_path_factory.mktemp("log2") / "model", spread=(-1.0, 0.0, 1.0))
    toy.calibrate(target, prediction_predictor.predict(target, toy.table(1000, 2)), transform=transform.Transform("log2", 0.5))
    return gpraflow.load(target)


def test_predictions_of_a_log2_model_are_in_the_unit_of_the_input(of_log2):
    sequences = toy.promoters(40, 11)
    found, model = of_log2.predict(sequences), of_log2.promoters(pl.Series(sequences))
    said = np.array([toy.said(s) for s in sequences])
    assert found["expression_log2"].to_numpy() == pytest.approx(said, abs=1e-4)
    assert found["expression"].to_numpy() == pytest.approx(2**said, rel=1e-4)
    assert found["expression_low"].to_numpy() == pytest.approx(2 ** model["predicted_low"].to_numpy(), rel=1e-5)
    assert found["expression_high"].to_numpy() == pytest.approx(2 ** model["predicted_high"].to_numpy(), rel=1e-5)
    members = 2 ** (said[:, None] + [-1, 0, 1])
    assert found["expression_sd"].to_numpy() == pytest.approx(members.std(axis=1, ddof=1), rel=1e-4)
    order = ["expression", "expression_low", "expression_high", "expression_sd", "expression_log2", "out_of_distribution"]
    assert found.columns == ["sequence", *order]


def test_effects_of_a_log2_model_are_fold_changes(of_log2):
    ref, alt = (pl.Series(toy.promoters(30, seed)) for seed in (12, 13))
    found = of_log2.effects(ref, alt)
    ratio = np.log2(found["expression_alt"].to_numpy() / found["expression_ref"].to_numpy())
    assert found["effect_alt_minus_ref"].to_numpy() == pytest.approx(ratio, abs=1e-4)
    assert found["expression_ref"].to_numpy() == pytest.approx([2 ** toy.said(s) for s in ref], rel=1e-4)


def test_a_calibration_holds_its_transform_and_older_ones_have_none(of_log2, folder, tmp_path):
    assert calibration.load(of_log2.directory / calibration.FILE).transform == transform.Transform("log2", 0.5)
    content = json.loads((folder / calibration.FILE).read_text())
    del content["transform"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert calibration.load(tmp_path / "old.json") == calibration.load(folder / calibration.FILE)


def test_other_guises_of_promoters_are_predicted(predictor):
    short = [sequence[:7] + sequence[12:] for sequence in toy.promoters(30, 61)]  # 35 of 40 bp
    damaged = ["G" + short[0][1:], toy.promoters(1, 62)[0]]  # its 5' flank is not intact; as long as the window
    sequences, upstream = pl.Series(short + damaged), "CCCCGGGGGC"
    found = predictor.probe(sequences, upstream, "")
    complement = str.maketrans("ACGT", "TGCA")
    turned = [s[:7] + s[7:-7].translate(complement)[::-1] + s[-7:] for s in [*short, damaged[1]]]
    turned.insert(30, damaged[0].translate(complement)[::-1])
    assert found["predicted_reverse_complement"].to_numpy() == pytest.approx([toy.said(s) for s in turned], abs=1e-5)
    assert found["predicted_in_plasmid"].to_list()[:30] == pytest.approx([toy.said(upstream + s) for s in short], abs=1e-5)
    assert found["predicted_in_plasmid"].to_list()[30:] == [None, None]
    # the toy takes the mean over the window, wherever N are
    assert found["predicted_padded_otherwise"].to_list()[:31] == pytest.approx([toy.said(s) for s in sequences[:31]], abs=1e-5)
    assert found["predicted_padded_otherwise"][31] is None
    assert predictor.probe(sequences, "", "ACGT")["predicted_in_plasmid"].null_count() == 32
    assert not predictor.probe(sequences.clear(), upstream, "").height
    long = predictor.probe(pl.Series(toy.promoters(3, 63)), upstream, "")
    assert long["predicted_padded_otherwise"].null_count() == 3


def test_no_more_than_some_promoters_of_a_table_are_probed(predictor, monkeypatch):
    monkeypatch.setattr(prediction_predictor, "PROBED", 7)
    found = predictor.probe(pl.Series(toy.promoters(100, 64)), "", "")["predicted_reverse_complement"]
    assert found.is_not_null().arg_true().to_list() == [0, 16, 33, 50, 66, 82, 99]


def test_without_reads_the_residual_is_the_same_for_all(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    validation = prediction_predictor.predict(folder, toy.table(500, 2)).with_columns(n_reads=pl.lit(None, pl.Int64))
    found = toy.calibrate(folder, validation)
    assert (found.reads, found.read_variance) == (None, 0.0)
    residual = (validation["expression"] - validation["predicted"]).to_numpy()
    assert found.model_variance == pytest.approx(np.mean(residual**2), rel=0.02)
    one, other = (gpraflow.load(folder).predict(toy.promoters(2, 3), reads=reads) for reads in (None, 5))
    assert one.equals(other)
    for reads, noted in (
        (None, {}),
        (5, {("noted", "with an interval for any number of reads: the model was trained without n_reads"): 2}),
    ):
        ledger, rows = Ledger("predict", ""), pl.DataFrame({"row": [1, 2], "name": ["a", "b"], "sequence": toy.promoters(2, 3)})
        prediction_predictor.Predictor(folder).records(rows, "x", ledger, reads)
        assert {key: count for key, count in ledger.counts.items() if "n_reads" in key[1]} == noted
    with pytest.raises(InputError, match="reads: expected a number of at least 1, found 0"):
        gpraflow.load(folder).predict(toy.promoters(2, 3), reads=0)


def test_quantile_is_the_one_of_split_conformal_prediction_and_needs_nineteen_promoters(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    residual = np.arange(1, 20, dtype=float)
    for rows, expected in ((19, 19.0), (18, None)):
        columns = {"sequence": toy.promoters(rows, 2), "predicted": np.zeros(rows), "expression": residual[:rows], "n_reads": [None] * rows}
        found = toy.calibrate(folder, pl.DataFrame(columns, schema_overrides={"n_reads": pl.Int64}))
        assert (found.levels, found.level_quantiles, found.effects) == ((), (), None)
        half = found.half_width(np.zeros(1), np.zeros(1))[0]
        assert (half == pytest.approx(expected)) if expected else np.isnan(half)
    missing = gpraflow.load(folder).predict(toy.promoters(1, 3))
    assert missing.select("expression_low", "expression_high").null_count().sum_horizontal().item() == 2


def test_intervals_of_every_level_hold_what_they_promise(folder):
    predicted, known = prediction_predictor.predict(folder, toy.table(4000, 20)), calibration.load(folder / calibration.FILE)
    found = calibration.coverage(predicted, known, "new")
    assert [row["level"] for row in found] == [0.5, 0.8, 0.9, 0.95]
    residual = np.abs((predicted["expression"] - predicted["predicted"]).to_numpy())
    of_level = [np.interp(predicted["predicted"], known.levels, values) for values in (known.level_variances, *known.level_quantiles)]
    variance = of_level[0] + known.read_variance / predicted["n_reads"].to_numpy()  # as docs/methods.md says
    for row, quantile in zip(found, of_level[1:], strict=True):
        assert row["inside"] == pytest.approx(np.mean(residual <= quantile * np.sqrt(variance)), abs=2e-3)
        assert row["inside"] == pytest.approx(row["level"], abs=0.04)  # a thousand promoters were calibrated with
        assert (row["low"], row["high"]) == pytest.approx(
            stats.binomtest(round(row["inside"] * 4000), 4000).proportion_ci(method="wilson"), abs=1e-6
        )
    shifted = predicted.with_columns(pl.col("expression") + 10)
    assert {row["inside"] for row in calibration.coverage(shifted, known, "shifted")} == {0.0}


def test_without_intervals_nothing_is_covered(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    known = toy.calibrate(folder, prediction_predictor.predict(folder, toy.table(15, 2)))
    assert known.quantiles[0] is not None  # half of fifteen can be told
    assert known.quantiles[3] is None
    assert calibration.load(folder / calibration.FILE) == known
    assert calibration.coverage(prediction_predictor.predict(folder, toy.table(30, 3)), known, "x") == []


def test_what_is_unlike_training_is_said(predictor):
    rng = np.random.default_rng(3)
    rich = "".join(rng.choice(list("GC"), 26))
    usual = toy.inserts(1, 11)[0]
    cases = {
        usual: "",
        usual[:-1]: "length",
        usual + "A": "length",
        "N" * 3 + usual[3:]: "unknown bases",
        "A" * 26: "composition",
        rich: "composition",
        rich * 2 + "NNN": "length,unknown bases,composition",
    }
    assert predictor.predict(list(cases))["out_of_distribution"].to_list() == list(cases.values())
    flagged = predictor.predict(toy.promoters(20_000, 12))["out_of_distribution"] != ""
    assert flagged.mean() < 0.003


def test_composition_is_chi_squared_of_3mers():
    tokens = tokenize(pl.Series(["ACGTACGT", "AAAANAAA", "NNACNNNN"]), 8)
    counts = calibration.count_kmers(tokens)
    assert counts.sum(axis=1).tolist() == [6, 3, 0]
    assert counts[0, [0b000110, 0b011011, 0b101100, 0b110001]].tolist() == [2, 2, 1, 1]
    assert counts[1, 0] == 3
    shares = np.full(64, 1 / 64)
    found = calibration.divergence(counts, shares)
    assert found[1] == pytest.approx(((3 - 3 / 64) ** 2 + 63 * (3 / 64) ** 2) / (3 / 64))
    assert np.isinf(found[2])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (["ACGT", "ACXT"], r"sequences, number 2: letter 'X' at position 3 of 'ACXT'; only A, C, G, T and N"),
        (["MKVLAAGIVPLL"], r"number 1: letter 'L' at position 4 .*this looks like a protein: give the promoter's DNA"),
        (["MKVMKVDDSR"], "number 1: more than a third of 'MKVMKVDDSR' are IUPAC ambiguity codes; if this is a protein"),
        (["ACGU"], r"number 1: the sequence is RNA \(U at position 4\); replace U by T"),
        (["ACGT", ""], "number 2: the sequence is empty"),
        ("ACGT", "expected a list of sequences, such as .*found one string"),
        (b"ACGT", "expected a list of sequences, such as .*found one string"),
        (None, "expected a list of sequences, such as .*found NoneType"),
        (1, "expected a list of sequences, such as .*found int"),
        ([["ACGT"]], "number 1: expected text such as 'ACGT', found list"),
        (["ACGT", None], "number 2: expected text such as 'ACGT', found NoneType"),
        ([b"ACGT"], "number 1: expected text such as 'ACGT', found bytes"),
    ],
)
def test_what_is_no_dna_is_refused(predictor, sequences, message):
    with pytest.raises(InputError, match=message):
        predictor.predict(sequences)


@pytest.mark.parametrize("reads", ["x", "5", 0, -1, float("nan"), float("inf"), True, [3], b"3"])
def test_reads_are_a_number(predictor, reads):
    with pytest.raises(InputError, match="reads: expected a number of at least 1, found "):
        predictor.predict(["ACGT"], reads=reads)


def test_a_parent_of_many_variants_is_predicted_once(predictor, monkeypatch):
    alternatives = toy.promoters(6, 3)
    parents = [alternatives[0], alternatives[1], alternatives[0], alternatives[0], alternatives[1], alternatives[2]]
    sizes = []
    outputs = predictor.outputs
    monkeypatch.setattr(predictor, "outputs", lambda tokens: sizes.append(len(tokens)) or outputs(tokens))
    found = predictor.effects(pl.Series(parents), pl.Series(alternatives))
    assert sizes == [3, 6]
    assert found["expression_ref"].to_list() == pytest.approx([toy.said(parent) for parent in parents], abs=1e-5)
    assert found["expression_alt"].to_list() == pytest.approx([toy.said(sequence) for sequence in alternatives], abs=1e-5)
    assert found["out_of_distribution_ref"].to_list() == [predictor.out_of_distribution(pl.Series([parent]))[0] for parent in parents]


def test_codes_for_several_bases_count_as_n(predictor):
    insert = toy.inserts(1, 13)[0]
    assert predictor.predict(["R" + insert[1:]])["sequence"][0] == toy.FIVE + "N" + insert[1:] + toy.THREE


def test_a_model_without_its_calibration_predicts_promoter_tables_only(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    found = prediction_predictor.predict(folder, toy.table(5, 1))
    assert found.columns == ["sequence", "expression", "n_reads", "predicted"]
    with pytest.raises(InputError, match=r"calibration\.json: this file does not exist; .*snakemake .*model/calibration\.json"):
        gpraflow.load(folder).predict(["ACGT"])


def test_a_calibration_of_another_model_is_refused(folder, tmp_path):
    other = toy.write_model(tmp_path / "model", spread=(1.0,))
    text = (folder / calibration.FILE).read_text()
    (other / calibration.FILE).write_text(text)
    with pytest.raises(InputError, match=r"belongs to another model than model\.keras"):
        gpraflow.load(other)
    (other / calibration.FILE).write_text(json.dumps(json.loads(text) | {"quantil": 1}))
    with pytest.raises(InputError, match=r"'quantil' is not a key; did you mean 'quantiles'.*; make it again: snakemake"):
        gpraflow.load(other)


def test_a_model_that_gives_no_numbers_is_refused(tmp_path):
    folder = toy.write_model(tmp_path / "model", spread=(float("nan"),))
    with pytest.raises(InputError, match="the model gives NaN for 3 promoters; train it again"):
        prediction_predictor.predict(folder, toy.table(3, 1))


def test_a_file_needs_no_more_memory_if_it_is_longer(folder, tmp_path):
    with open(tmp_path / "long.fa", "w") as handle:
        block = "".join(f">p{number}\n{insert}\n" for number, insert in enumerate(toy.inserts(50_000, 1)))
        for _ in range(4):
            handle.write(block)
    (tmp_path / "short.fa").write_text(block)
    code = (
        "import resource, sys\nfrom gpraflow.app import cli\n"
        "for name in ('short', 'long'):\n"
        "    files = [f'{sys.argv[2]}/{name}.fa', '-o', f'{sys.argv[2]}/{name}.parquet']\n"
        "    assert cli.main(['predict', sys.argv[1], *files, '--quiet']) == 0\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(folder), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    short, long = map(float, done.stdout.split())
    assert long < short + 60, (short, long)
    assert pl.scan_parquet(tmp_path / "long.parquet").select(pl.len()).collect().item() == 200_000


def test_tables_of_polars_and_pandas(predictor):
    import pandas

    model, promoters = predictor, toy.promoters(3, 5)
    expected = model.predict(promoters)
    assert model.predict(pl.DataFrame({"x": [1, 2, 3], "sequence": promoters})).equals(expected)
    assert model.predict(pl.Series(promoters)).equals(expected)
    table = pandas.DataFrame({"sequence": promoters}, index=["c", "a", "b"])
    for given in (table, table["sequence"]):
        found = model.predict(given, reads=7)
        assert isinstance(found, pandas.DataFrame)
        assert list(found.index) == ["c", "a", "b"]
        assert found.to_dict("list") == model.predict(promoters, reads=7).to_dict(as_series=False)
    with pytest.raises(InputError, match=r"a table without the column 'sequence' \(it has seq\)"):
        model.predict(pandas.DataFrame({"seq": promoters}))
    with pytest.raises(InputError, match="number 2: expected text such as 'ACGT', found float"):
        model.predict(pandas.DataFrame({"sequence": [promoters[0], float("nan")]}))
