"""The page as one file: opened without a server, its figures are those of Python."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import expect

from gpraflow.core.errors import ConfigError
from gpraflow.models.scale import Scale
from gpraflow.prediction import calibration, recalibrate
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.serve import answers, offline
from gpraflow.training import network, objectives
from gpraflow.training.options import Blueprint
from tests import browsing, command, toy
from tests.serve import serving

SIZES = {
    "motif_width": 6,
    "learned_motifs": 7,
    "bin_width": 3,  # 40 bp: the last bin is shorter
    "initial_concentration": 1.0,
    "channels": 8,
    "mix_size": 3,
    "residual_blocks": 2,
    "kernel_size": 5,
    "narrow_channels": 4,
    "dense_units": 6,
    "norm_momentum": 0.9,
    "dropout": 0.1,
    "head_dropout": 0.1,
}


def write_compact(folder, members, conditions=(), transform=None):
    """Write an untrained `compact` network whose weights and normalisations are all random."""
    import keras

    expression = toy.table(500, 1)["expression"].to_numpy()[:, None] + np.arange(max(1, len(conditions)))
    objective = objectives.fit_conditions(expression, None, conditions, loss="mse", bins=18, huber_delta=1.0, cells_prior=1.0)
    rng, cores = np.random.default_rng(1), []
    keras.utils.set_random_seed(1)
    for member in range(members):
        core = network.build_core(Blueprint("compact", "default", SIZES), toy.LENGTH, objective, f"member_{member}")
        for weight in core.weights:
            if "seed" not in weight.path:
                positive = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path or "gamma" in weight.path else None
                weight.assign(rng.normal(0, 0.4, weight.shape) if positive is None else positive)
        cores.append(core)
    model = network.serving(cores, objective, toy.LENGTH, False, "compact")
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    about = {
        "architecture": "compact",
        "parameters": model.count_params(),
        "members": members,
        "sizes": SIZES,
        "conditions": list(conditions),
    }
    about |= {"training": {"rc_averaging": False}, "label_transform": objective.about()}
    about["input"] = {"alphabet": "ACGTN", "length": toy.LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    of_one = toy.table(1000, 2).with_columns(predicted=toy.table(1000, 2)["expression"] + 0.1, predicted_sd=rng.uniform(0, 1, 1000))
    known = toy.calibrate(folder, of_one, **({"transform": transform} if transform else {}))
    readouts = [*conditions, "galactose-glucose"] if conditions else [""]
    calibration.write(dict.fromkeys(readouts, known), folder / calibration.FILE)
    return folder


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Give a function that writes the page of a model and opens it as a file; what it asked for and complained about is kept."""
    with browsing.pages(browser, serving.PATIENCE) as opened:

        def open_page(directory, fragment=""):
            path = tmp_path_factory.mktemp("offline") / "page.html"
            assert command.run("export", directory, "--page", path, "--quiet") == 0
            return opened(path.as_uri() + fragment, viewport={"width": 1280, "height": 900}, offline=True)

        yield open_page


def saved(page, name):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines(), delimiter="\t"))


def recalibrated(folder, target):
    """Write the model on another scale, by a map with knots."""
    predictor = prediction_predictor.Predictor(folder)
    promoters = pl.Series("sequence", toy.promoters(80, 9))
    predicted = predictor.predict(promoters)["expression"].to_numpy()
    z = (predicted - predicted.mean()) / predicted.std()
    columns = {"sequence": promoters, "expression": 5 + 2 * z + np.sinh(z), "n_reads": np.full(80, 20.0)}
    controls = pl.DataFrame(columns)
    found = recalibrate.recalibrate(predictor, controls, target, kind="isotonic")
    scale = Scale(*(found[key] for key in ("slope", "offset", "knots", "values")))
    before, after = (calibration.read(each)[""].expression_quantiles for each in (folder, target))
    assert after == pytest.approx(scale(np.array(before)))  # the library's distribution follows the predictions
    return target


@pytest.mark.parametrize("kind", ["ensemble", "conditions", "recalibrated"])
def test_figures_are_those_of_python(opened, tmp_path, kind):
    conditions = serving.CONDITIONS if kind == "conditions" else []
    folder = write_compact(tmp_path / "compact", 2 if kind == "ensemble" else 1, conditions)
    folder = recalibrated(folder, tmp_path / "new") if kind == "recalibrated" else folder
    predictor = prediction_predictor.Predictor(folder)
    known = toy.promoters(3, 5)
    odd = [known[0][7:-7], known[1][:20], known[2][:12] + "NN" + known[2][14:], toy.FIVE + "ACGT" * 10 + toy.THREE, "T" * 40]
    page = opened(folder)
    page.get_by_label("Sequence, 5′ to 3′").fill("\n".join([*known, *odd]))
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_role("region", name="Predictions").locator("tbody tr")).to_have_count(8, timeout=serving.PATIENCE)
    with page.expect_download() as waiting:
        page.locator("#list").get_by_role("button", name="TSV").click()
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines(), delimiter="\t"))
    expected = answers.predict(predictor, "\n".join([*known, *odd]))["promoters"]
    assert np.ptp([one["expression"][0]["expression"] for one in expected]) > 0.1  # the network says something
    for row, one in zip(rows, expected, strict=True):
        assert row["sequence"] == one["sequence"]
        assert row["out_of_distribution"] == " ".join(one["reasons"])
        for readout, part in zip(predictor.readouts, one["expression"], strict=True):
            suffix = f".{readout}" if readout else ""
            for column, key in {"expression": "expression", "expression_low": "low", "expression_high": "high"}.items():
                assert float(row[column + suffix]) == pytest.approx(part[key], abs=1e-4)
    for at, readout in enumerate(predictor.readouts):
        if readout:
            page.get_by_label("Condition").select_option(index=at)
            expect(page).to_have_url(re.compile(f"&r={readout}$"))
        page.wait_for_selector("body:not([aria-busy])")
        effects = answers.substitution_effects(predictor, known[0], readout)
        rows = saved(page, "Save as TSV: Contributions of bases")
        found = np.array([[float(row[f"effect_{base}"] or "nan") for base in "ACGT"] for row in rows])
        assert (np.isnan(found) == np.isnan(effects)).all()
        assert np.nanmax(np.abs(effects)) > 0.01
        assert np.nanmax(np.abs(found - effects)) < 1e-4
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:", "file:"))] == []


def test_a_click_mutates_and_a_link_restores(opened, tmp_path):
    folder = write_compact(tmp_path / "compact", 1)
    predictor = prediction_predictor.Predictor(folder)
    (promoter,) = toy.promoters(1, 5)
    page = opened(folder, f"#s={promoter}")
    place = len(toy.FIVE) + 4
    base = "A" if promoter[place] != "A" else "C"
    page.locator(f'.cell[data-place="{place}"][data-base="{base}"]').click()
    mutant = promoter[:place] + base + promoter[place + 1 :]
    value = predictor.predict([mutant])["expression"][0]
    expect(page.locator("#value")).to_have_text(f"{value:.2f}".replace("-", "−"), timeout=serving.PATIENCE)
    expect(page.locator("#text")).to_have_value(mutant)
    page.reload()
    expect(page.locator("#value")).to_have_text(f"{value:.2f}".replace("-", "−"), timeout=serving.PATIENCE)
    page.get_by_label("Reference promoter").fill(promoter)
    page.get_by_role("button", name="Compare", exact=True).click()
    effect = value - predictor.predict([promoter])["expression"][0]
    expect(page.locator(".effect")).to_have_text(("+" if effect > 0 else "") + f"{effect:.2f}".replace("-", "−"), timeout=serving.PATIENCE)
    expect(page.locator("#designs")).to_be_hidden()
    for text, message in (
        ("hello", "letter 'E' at position 2"),
        ("", "There is no sequence yet"),
        ("name\tseq\na\tACGT", "no column 'sequence'"),
    ):
        page.locator("#text").fill(text)
        page.get_by_role("button", name="Predict", exact=True).click()
        expect(page.locator("#error")).to_contain_text(message)
    assert page.said == []


def test_a_network_that_was_changed_is_refused(tmp_path):
    """Its weights are those of the architecture, but its outputs are not."""
    import keras

    folder = write_compact(tmp_path / "compact", 1)
    assert set(offline.network(prediction_predictor.Predictor(folder))["sizes"]) == set(offline._SIZES)
    model = keras.saving.load_model(folder / "model.keras")
    keras.Model(model.input, model.output * 1.001, name="compact").save(folder / "model.keras")
    (folder / calibration.FILE).unlink()
    toy.calibrate(folder, toy.table(300, 2).with_columns(predicted="expression"))
    with pytest.raises(ConfigError, match="the network is more than its architecture and sizes say"):
        offline.network(prediction_predictor.Predictor(folder))


def test_other_networks_are_refused(folder, tmp_path, capsys):
    with pytest.raises(ConfigError, match="the offline page evaluates networks of the architecture compact"):
        offline.network(prediction_predictor.Predictor(folder))
    assert command.refused(capsys, "export", folder, "--page", tmp_path / "page.html").endswith("for other models use gpraflow serve\n")
    assert not (tmp_path / "page.html").exists()
