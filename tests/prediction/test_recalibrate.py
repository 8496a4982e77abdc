"""Recalibration on models whose predictions are known: the map, its limits, the new intervals, and what follows from them."""

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
    found = recalibrate.recalibrate(model, measured(400, 11, stretched), tmp_path / "new")
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
    found = recalibrate.recalibrate(model, controls, tmp_path / "new")
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
    assert recalibrate.recalibrate(model, few, tmp_path / "few")["kind"] == "affine"
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
        directory.write_scaled(old, tmp_path / name, network, scale, {})
        numpy = light.read(tmp_path / name, about).predict(test_light.tokens())
        np.testing.assert_allclose(numpy, scale(network.predict(test_light.tokens(), verbose=0)), rtol=1e-5, atol=1e-5)
