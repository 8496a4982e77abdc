"""Recalibration on models whose predictions are known: the map, its limits, the new intervals, and what follows from them."""

import dataclasses
import datetime
import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

import gpraflow
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.models import light
from gpraflow.models.scale import Scale
from gpraflow.prediction import calibration, predictor, recalibrate
from gpraflow.report import model_card
from tests import toy
from tests.command import refused, run

ROLES = {"sequence": "sequence", "expression": "expression", "n_reads": "auto"}


def measured(rows, seed, function, noise=0.3):
    """Controls measured on another scale: a function of the model's predictions, with noise."""
    sequences = toy.promoters(rows, seed)
    known = np.array([toy.said(sequence) for sequence in sequences])
    values = function(known) + noise * np.random.default_rng(seed).normal(size=rows)
    return pl.DataFrame({"sequence": sequences, "expression": values, "n_reads": [None] * rows}, schema_overrides={"n_reads": pl.Float64})


def stretched(x):
    return 2 * x - 5


def bent(x):
    return np.where(x < 6, 0.2 * x, 1.2 + 6 * (x - 6))


@pytest.fixture(scope="module")
def model(folder):
    return predictor.Predictor(folder)


def test_an_affine_map_is_recovered_and_becomes_part_of_the_network(model, tmp_path):
    found = recalibrate.recalibrate(model, measured(400, 11, stretched), tmp_path / "new")[""]
    assert found["kind"] == "affine"
    assert (found["slope"], found["offset"]) == (pytest.approx(2, abs=0.1), pytest.approx(-5, abs=0.6))
    assert found["rmse"] == pytest.approx(0.3, abs=0.05)
    assert found["rmse_before"] > 1
    sequences = toy.promoters(50, 12)
    expected = found["slope"] * np.array([toy.said(sequence) for sequence in sequences]) + found["offset"]
    new = gpraflow.load(tmp_path / "new")
    np.testing.assert_allclose(new.predict(sequences)["expression"], expected, atol=1e-4)
    assert new.about["scale"] == found
    assert new.about["parameters"] == model.about["parameters"]
    pairs = pl.Series(sequences[:25]), pl.Series(sequences[25:])
    before, after = (each.effects(*pairs)["effect_alt_minus_ref"].to_numpy() for each in (model, new))
    np.testing.assert_allclose(after, found["slope"] * before, atol=1e-4)


def test_intervals_of_the_new_model_cover_new_measurements(model, tmp_path):
    """Before, the intervals belong to the noise of the model's own experiment: here they are much too wide around wrong values."""
    inside = []
    new_rows = measured(4000, 13, stretched)
    for seed in range(5):
        recalibrate.recalibrate(model, measured(100, 100 + seed, stretched), tmp_path / str(seed))
        found = gpraflow.load(tmp_path / str(seed)).predict(new_rows["sequence"])
        inside.append(new_rows["expression"].is_between(found["expression_low"], found["expression_high"]).mean())
        width = (found["expression_high"] - found["expression_low"]).to_numpy()
        assert width.mean() == pytest.approx(2 * 1.96 * 0.3, rel=0.35)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
    wrong = model.predict(new_rows["sequence"])
    assert new_rows["expression"].is_between(wrong["expression_low"], wrong["expression_high"]).mean() < 0.9


def test_a_bent_map_is_isotonic_and_followed_by_network_and_numpy_alike(model, tmp_path):
    controls = measured(300, 14, bent)
    found = recalibrate.recalibrate(model, controls, tmp_path / "new")[""]
    assert found["kind"] == "isotonic"
    assert found["knots"] == sorted(found["knots"])
    assert found["values"] == sorted(found["values"])
    scale = Scale(found["slope"], found["offset"], tuple(found["knots"]), tuple(found["values"]))
    sequences = [*toy.promoters(50, 15), "A" * 40, "G" * 40]
    known = np.array([toy.said(sequence) for sequence in sequences])
    np.testing.assert_allclose(gpraflow.load(tmp_path / "new").members(_tokens(model, sequences))[:, 0], scale(known), atol=1e-4)
    middle = (known > 4.5) & (known < 7.5)
    assert np.abs(scale(known) - bent(known))[middle].mean() < 0.35
    straight = measured(300, 21, stretched)
    of_straight = np.array([toy.said(sequence) for sequence in straight["sequence"]])
    assert recalibrate.choose(of_straight, straight["expression"].to_numpy())[0] == "affine"
    few = measured(49, 16, bent)
    assert recalibrate.recalibrate(model, few, tmp_path / "few")[""]["kind"] == "affine"
    with pytest.raises(ConfigError, match="--map isotonic: needs at least 50 controls, controls has 49"):
        recalibrate.recalibrate(model, few, tmp_path / "none", kind="isotonic")


def _tokens(model, sequences):
    from gpraflow.sequences.scaffold import tokenize

    return tokenize(pl.Series(sequences), **model.window)


def test_a_scale_is_monotone_and_linear_beyond_its_knots():
    scale = Scale(2.0, 1.0, (1.0, 2.0, 4.0), (0.0, 0.0, 3.0))
    np.testing.assert_allclose(scale(np.array([0, 1, 1.5, 2, 3, 4, 5])), [-2, 0, 0, 0, 1.5, 3, 5])
    np.testing.assert_allclose(Scale(2.0, 1.0)(np.array([[0.0, 1.0]])), [[1.0, 3.0]])


def test_an_isotonic_map_is_the_pool_of_adjacent_violators():
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 3, 2, 4, 6, 5])
    scale = recalibrate.fit(x, y, "isotonic")
    assert (scale.knots, scale.values) == ((1, 2.5, 4, 5.5), (1, 2.5, 4, 5.5))
    assert scale.slope == pytest.approx(np.polyfit(x, y, 1)[0])


def test_cross_validated_predictions_leave_out_the_control_itself():
    x = np.linspace(0, 1, 20)
    y = x.copy()
    y[7] = 100
    clean = np.delete(x, np.where(np.arange(20) % 10 == 7)[0])
    assert recalibrate.cross_validated(x, y, "affine")[7] == pytest.approx(np.polyval(np.polyfit(clean, clean, 1), x[7]))


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        (measured(19, 17, stretched), "mine: 19 controls; recalibration needs at least 20 measured promoters"),
        (measured(200, 18, lambda x: 0 * x), r"mine: r = -?0\.\d\d between predictions and 200 controls, below 0\.3: this model does not"),
        (measured(200, 18, lambda x: -x), r"mine: r = -0\.\d\d between predictions"),
    ],
)
def test_too_little_or_unrelated(model, tmp_path, controls, message):
    with pytest.raises(InputError, match=message):
        recalibrate.recalibrate(model, controls, tmp_path / "new", source="mine")
    assert not (tmp_path / "new").exists()


def test_a_model_is_not_overwritten(model, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    with pytest.raises(ConfigError, match="there is a model already"):
        recalibrate.recalibrate(model, measured(30, 19, stretched), tmp_path / "old")


def test_the_command_reads_inserts_and_says_what_it_did(folder, tmp_path, capsys):
    rows = measured(60, 20, stretched)
    inserts = rows["sequence"].str.strip_prefix(toy.FIVE).str.strip_suffix(toy.THREE)
    rows.select(insert=inserts, yfp="expression", n_reads=pl.lit(50)).write_csv(tmp_path / "c.tsv", separator="\t")
    columns = ["--sequence-column", "insert", "--expression-column", "yfp"]
    assert run("recalibrate", folder, tmp_path / "c.tsv", "-o", tmp_path / "new", *columns) == 0
    said = capsys.readouterr().err
    assert "affine map from 60 controls, r = 0." in said
    assert "60 insert only, flanks added" in said
    about = json.loads((tmp_path / "new/model.json").read_text())["scale"]
    assert about["slope"] == pytest.approx(2, abs=0.2)
    known = calibration.read(tmp_path / "new")[""]
    assert known.validation == 60
    card = model_card.read(tmp_path / "new" / model_card.JSON)
    (row,) = card["recalibrations"]
    assert row["controls"] == {"file": "c.tsv", "sha256": hashlib.sha256((tmp_path / "c.tsv").read_bytes()).hexdigest()}
    assert row["before"]["sha256"] == hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    assert [(each["condition"], each["controls"], each["slope"]) for each in row["maps"]] == [("", 60, about["slope"])]
    assert row["date"] == datetime.datetime.now(datetime.UTC).date().isoformat()  # wrong for an instant at midnight
    again = refused(capsys, "recalibrate", folder, tmp_path / "c.tsv", "-o", tmp_path / "new", *columns)
    assert "there is a model already" in again


def test_invalid_controls(model, tmp_path):
    path = tmp_path / "c.tsv"
    whole = toy.promoters(2, 1)
    for text, message in [
        (f"sequence\texpression\n{whole[0]}\tx\n", r"c\.tsv, row 2"),
        (f"sequence\texpression\n{whole[0]}\t1\n{whole[0]}\t2\n", "1 promoters occur more than once"),
        (f"sequence\tother\n{whole[0]}\t1\n", "expression"),
    ]:
        path.write_text(text)
        with pytest.raises((InputError, ConfigError), match=message):
            recalibrate.read_controls(model, path, ROLES, Ledger("recalibrate", ""))


def test_numpy_follows_the_map_of_a_compact_model(tmp_path):
    from gpraflow.models import directory
    from tests.models import test_light

    old = test_light.write(tmp_path / "old")
    network, about = directory.load(old)
    scales = {"affine": Scale(2.0, -1.0), "isotonic": Scale(2.0, -1.0, (0.5, 1.0, 3.0), (0.0, 0.5, 5.0))}
    for name, scale in scales.items():
        (tmp_path / name).mkdir()
        directory.write_scaled(tmp_path / name / "model.keras", network, [scale])
        numpy = light.read(tmp_path / name, about).predict(test_light.tokens())
        np.testing.assert_allclose(numpy, scale(network.predict(test_light.tokens(), verbose=0)), rtol=1e-5, atol=1e-5)


CONDITIONS = ["glucose", "galactose", "ethanol"]
OF = {
    "glucose": toy.VALUES,
    "galactose": {"A": 10.0, "C": 2.0, "G": 6.0, "T": 0.0, "N": 0.0},
    "ethanol": {"A": 0.0, "C": 0.0, "G": 1.0, "T": 9.0, "N": 0.0},
}


def said(sequence, condition):
    """What the model of several conditions says of a whole promoter."""
    return sum(OF[condition][base] for base in sequence[-toy.LENGTH :]) / toy.LENGTH


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A model of three conditions and two members, which add and subtract .1; all calibrations are alike."""
    import keras

    folder = toy.write_whole(tmp_path_factory.mktemp("several") / "model", rows=400)
    known = calibration.read(folder)[""]
    tokens = keras.Input((toy.LENGTH,), dtype="int32", name="tokens")
    base = keras.layers.Embedding(5, 6, name="values")
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(base(tokens)), name="toy")
    base.set_weights([np.array([[OF[name][b] + extra for extra in (0.1, -0.1) for name in CONDITIONS] for b in "ACGTN"], np.float32)])
    model.save(folder / "model.keras")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"parameters": 30, "members": 2, "conditions": CONDITIONS}))
    digest = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    known = dataclasses.replace(known, model_sha256=digest)
    readouts = [*CONDITIONS, "galactose-glucose", "ethanol-glucose", "ethanol-galactose"]
    calibration.write(dict.fromkeys(readouts, known), folder / calibration.FILE)
    return folder


MAPS = {"glucose": lambda x: 2 * x - 5, "galactose": lambda x: 0.5 * x + 1}


def write_controls(path, rows, seed, noise=0.3, missing=0, names=("glucose", "galactose")):
    """Write controls of two conditions; the first ``missing`` were not measured in galactose."""
    sequences, rng = toy.promoters(rows, seed), np.random.default_rng(seed)
    table = {"sequence": sequences, "n_reads.glucose": [30] * rows}
    for name in names:
        values = MAPS[name](np.array([said(sequence, name) for sequence in sequences])) + noise * rng.normal(size=rows)
        empty = missing if name == "galactose" else 0
        table[f"expression.{name}"] = pl.Series([None] * empty + values[empty:].tolist(), dtype=pl.Float64)
    pl.DataFrame(table).write_csv(path, separator="\t")
    return path


def test_each_condition_has_its_map_and_differences_follow(several, tmp_path, capsys):
    controls = write_controls(tmp_path / "c.tsv", 300, 1, missing=40)
    assert run("recalibrate", several, controls, "-o", tmp_path / "new") == 0
    printed = capsys.readouterr().err
    assert "glucose: affine map from 300 controls" in printed
    assert "galactose: affine map from 260 controls" in printed
    assert "without controls, and not in the new model: ethanol" in printed
    new = gpraflow.load(tmp_path / "new")
    assert new.readouts == ["glucose", "galactose", "galactose-glucose"]
    assert new.about["network_conditions"] == CONDITIONS
    found = new.about["scales"]
    for name, (slope, offset) in {"glucose": (2, -5), "galactose": (0.5, 1)}.items():
        assert (found[name]["slope"], found[name]["offset"]) == (pytest.approx(slope, abs=0.12), pytest.approx(offset, abs=0.7))
        assert found[name]["R2"] > found[name]["R2_before"]
    sequences = toy.promoters(40, 2)
    predicted = new.predict(sequences)
    expected = {n: found[n]["slope"] * np.array([said(s, n) for s in sequences]) + found[n]["offset"] for n in MAPS}
    for name, values in expected.items():
        np.testing.assert_allclose(predicted[f"expression.{name}"], values, atol=1e-4)
        spread = found[name]["slope"] * 0.2 / 2**0.5
        np.testing.assert_allclose(predicted[f"expression_sd.{name}"], spread, atol=1e-4)
    difference = expected["galactose"] - expected["glucose"]
    np.testing.assert_allclose(predicted["difference.galactose-glucose"], difference, atol=1e-4)
    effects = new.effects(pl.Series(sequences[:20]), pl.Series(sequences[20:]))
    np.testing.assert_allclose(effects["effect_alt_minus_ref.galactose-glucose"], difference[20:] - difference[:20], atol=1e-4)
    known = calibration.read(tmp_path / "new", new.readouts)
    assert {name: each.validation for name, each in known.items()} == {"glucose": 300, "galactose": 260, "galactose-glucose": 260}


def test_intervals_of_conditions_and_differences_cover_new_measurements(several, tmp_path):
    rng, rows = np.random.default_rng(5), 2000
    sequences = toy.promoters(rows, 6)
    truth = {name: MAPS[name](np.array([said(s, name) for s in sequences])) + 0.3 * rng.normal(size=rows) for name in MAPS}
    inside = {name: [] for name in (*MAPS, "galactose-glucose")}
    model = predictor.Predictor(several)
    for seed in range(4):
        controls = recalibrate.read_controls(model, write_controls(tmp_path / "c.tsv", 120, seed), ROLES, Ledger("recalibrate", ""))
        recalibrate.recalibrate(model, controls, tmp_path / str(seed))
        found = gpraflow.load(tmp_path / str(seed)).predict(sequences)
        for name, values in (truth | {"galactose-glucose": truth["galactose"] - truth["glucose"]}).items():
            column = "difference" if "-" in name else "expression"
            low, high = (found[f"{column}_{end}.{name}"].to_numpy() for end in ("low", "high"))
            inside[name].append(np.mean((low <= values) & (values <= high)))
    for name, shares in inside.items():
        assert np.mean(shares) == pytest.approx(0.95, abs=0.03), name


def test_a_single_condition_becomes_a_model_of_one(several, tmp_path):
    controls = write_controls(tmp_path / "c.tsv", 60, 3, names=["galactose"])
    for number, columns in enumerate([[], ["--expression-column", "yfp"]]):
        if columns:
            pl.read_csv(controls, separator="\t").rename({"expression.galactose": "yfp"}).write_csv(controls, separator="\t")
        assert run("recalibrate", several, controls, "-o", tmp_path / str(number), "--condition", "galactose", *columns, "--quiet") == 0
        new = gpraflow.load(tmp_path / str(number))
        assert (new.conditions, new.about["scale"]["condition"]) == ([], "galactose")
        (promoter,) = toy.promoters(1, 9)
        scale = new.about["scale"]
        expected = scale["slope"] * said(promoter, "galactose") + scale["offset"]
        assert new.predict([promoter])["expression"][0] == pytest.approx(expected, abs=1e-4)
        assert calibration.read(tmp_path / str(number))[""].validation == 60


def test_maps_of_different_shapes_in_one_network(several, tmp_path):
    """An isotonic map, an affine one and one of fewer knots, for both members."""
    from gpraflow.models import directory

    network, _ = directory.load(several)
    scales = [Scale(2.0, 1.0, (4.0, 5.0, 7.0), (0.0, 3.0, 4.0)), Scale(-1.0, 0.5), Scale(1.0, 0.0, (3.0, 6.0), (1.0, 1.5))]
    directory.write_scaled(tmp_path / "model.keras", network, scales * 2)
    tokens = _tokens(predictor.Predictor(several), [*toy.promoters(40, 4), "A" * 40, "G" * 40])
    before, after = (np.asarray(each.predict(tokens, verbose=0)) for each in (network, directory.read_model(tmp_path / "model.keras")))
    expected = np.stack([scale(before[:, place]) for place, scale in enumerate(scales * 2)], axis=1)
    np.testing.assert_allclose(after, expected, atol=1e-4)
    directory.write_scaled(tmp_path / "model.keras", network, scales[:1] * 2, [1, 4])
    after = directory.read_model(tmp_path / "model.keras").predict(tokens, verbose=0)
    np.testing.assert_allclose(after, scales[0](before[:, [1, 4]]), atol=1e-4)


def test_too_few_common_controls_leave_a_difference_without_interval(several, tmp_path):
    model, path = predictor.Predictor(several), write_controls(tmp_path / "c.tsv", 60, 7)
    table = pl.read_csv(path, separator="\t").with_row_index("row")
    alternate = table.with_columns(
        pl.when(pl.col("row") < 35).then("expression.glucose"), pl.when(pl.col("row") >= 25).then("expression.galactose")
    )
    alternate.drop("row").write_csv(path, separator="\t")
    recalibrate.recalibrate(model, recalibrate.read_controls(model, path, ROLES, Ledger("recalibrate", "")), tmp_path / "new")
    row = gpraflow.load(tmp_path / "new").predict(toy.promoters(1, 8)).row(0, named=True)
    assert row["difference_low.galactose-glucose"] is None
    assert row["expression_low.glucose"] < row["expression.glucose"] < row["expression_high.glucose"]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"expression.maltose": "expression.glucose"}, [], "column 'expression.maltose': the model has no such condition (it has glucose,"),
        (
            {"yfp": "expression.glucose"},
            [],
            "no column of a condition (the file has sequence, n_reads.glucose, yfp); call them expression.gl",
        ),
        ({"yfp": "expression.glucose"}, ["--condition", "maltose"], "the model has no condition 'maltose'"),
        ({}, ["--condition", "galactose-glucose"], "--condition galactose-glucose: a difference; controls are measured in conditions"),
        ({}, ["--condition", "galactose"], "no column 'expression' for expression"),
        ({}, [], "c.tsv, glucose: 19 controls; recalibration needs at least 20"),
        ({}, ["--map", "isotonic"], "c.tsv, glucose: 19 controls"),
    ],
)
def test_refused_controls_of_conditions(several, tmp_path, capsys, columns, options, message):
    path = write_controls(tmp_path / "c.tsv", 19, 3, names=["glucose"])
    table = pl.read_csv(path, separator="\t")
    table.rename({old: new for new, old in columns.items()}).write_csv(path, separator="\t")
    assert message in refused(capsys, "recalibrate", several, path, "-o", tmp_path / "new", *options)
    assert not (tmp_path / "new").exists()


def test_one_unrelated_condition_refuses_all(several, tmp_path, capsys):
    path = write_controls(tmp_path / "c.tsv", 80, 3)
    pl.read_csv(path, separator="\t").with_columns(-pl.col("expression.galactose")).write_csv(path, separator="\t")
    assert "c.tsv, galactose: r = -0." in refused(capsys, "recalibrate", several, path, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numpy_follows_the_maps_of_several_conditions(tmp_path):
    from gpraflow.models import directory
    from tests.models import test_light

    old = test_light.write(tmp_path / "old", members=2, objective=test_light.SEVERAL)
    network, about = directory.load(old)
    maps = [Scale(2.0, -1.0), Scale(2.0, -1.0, (0.5, 1.0, 3.0), (0.0, 0.5, 5.0))]
    before = network.predict(test_light.tokens(), verbose=0)
    for name, scales, outputs in (("all", maps, None), ("second", maps[1:], [1, 3])):
        (tmp_path / name).mkdir()
        directory.write_scaled(tmp_path / name / "model.keras", network, scales * 2, outputs)
        described = about | {"conditions": about["conditions"] if outputs is None else []}
        numpy = light.read(tmp_path / name, described).predict(test_light.tokens())
        kept = before if outputs is None else before[:, outputs]
        expected = np.stack([scale(kept[:, place]) for place, scale in enumerate(scales * 2)], axis=1)
        np.testing.assert_allclose(numpy, expected, rtol=1e-5, atol=1e-5)
