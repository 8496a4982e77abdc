"""The page as one file: opened without a server, its figures are those of Python."""

import base64
import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import expect

from gpraflow.core.errors import ConfigError
from gpraflow.explanation import sites
from gpraflow.models.scale import Scale
from gpraflow.prediction import calibration, effects, recalibrate
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs
from gpraflow.serve import answers, offline
from gpraflow.serve import page as serve_page
from gpraflow.serve.model import random_promoters
from gpraflow.training import network, objectives
from gpraflow.training.options import Blueprint
from tests import browsing, command, toy
from tests.conftest import ROOT
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


def write_compact(folder, members, conditions=(), transform=None, loss="mse"):
    """Write an untrained `compact` network whose weights and normalisations are all random."""
    import keras

    expression = toy.table(500, 1)["expression"].to_numpy()[:, None] + np.arange(max(1, len(conditions)))
    objective = objectives.fit_conditions(expression, None, conditions, loss=loss, bins=12, huber_delta=1.0, cells_prior=1.0)
    rng, cores = np.random.default_rng(1), []
    keras.utils.set_random_seed(1)
    for member in range(members):
        core = network.build_core(Blueprint("compact", "default", SIZES), toy.LENGTH, objective, f"member_{member}")
        for weight in core.weights:
            if "seed" not in weight.path:
                positive = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path or "gamma" in weight.path else None
                size = 0.04 if loss == "bins" and "expression" in weight.path else 0.4  # of logits, so that no bin has it all
                weight.assign(rng.normal(0, size, weight.shape) if positive is None else positive)
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

        def open_page(directory, fragment="", motifs="none"):
            path = tmp_path_factory.mktemp("offline") / "page.html"
            assert command.run("export", directory, "--page", path, "--motifs", motifs, "--quiet") == 0
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
    found = recalibrate.recalibrate(predictor, controls, target, kind="isotonic")[""]
    scale = Scale(*(found[key] for key in ("slope", "offset", "knots", "values")))
    before, after = (calibration.read(each)[""].expression_quantiles for each in (folder, target))
    assert after == pytest.approx(scale(np.array(before)))  # the library's distribution follows the predictions
    return target


def recalibrated_conditions(folder, target):
    """Write the second condition alone on another scale."""
    predictor = prediction_predictor.Predictor(folder)
    promoters = pl.Series("sequence", toy.promoters(30, 9))
    predicted = predictor.predict(promoters)["expression.galactose"].to_numpy()
    controls = pl.DataFrame({"sequence": promoters, "expression.galactose": 3 - 4 + 2 * predicted, "n_reads.galactose": np.full(30, 20.0)})
    recalibrate.recalibrate(predictor, controls, target)
    assert json.loads((target / "model.json").read_text())["scale"]["condition"] == "galactose"
    return target


@pytest.mark.parametrize("kind", ["ensemble", "conditions", "bins of two conditions", "recalibrated", "one condition recalibrated"])
def test_figures_are_those_of_python(opened, tmp_path, kind):
    conditions = serving.CONDITIONS if "condition" in kind else []
    folder = write_compact(tmp_path / "compact", 2 if kind == "ensemble" else 1, conditions, loss="bins" if "bins" in kind else "mse")
    folder = recalibrated(folder, tmp_path / "new") if kind == "recalibrated" else folder
    folder = recalibrated_conditions(folder, tmp_path / "new") if kind == "one condition recalibrated" else folder
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
    found = predictor.effects(pl.Series([promoter]), pl.Series([mutant])).row(0, named=True)
    shown = f"{found['effect_low']:.2f} to {found['effect_high']:.2f}".replace("-", "−")
    expect(page.locator("#difference")).to_contain_text(f"95 % interval {shown}")
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


def engine_of(page, expression, argument=None):
    """Return what the engine of a page answers, without rounding."""
    code, _, _ = serve_page.script("sites", "search", "network").partition("// The page: what is shown")
    data = page.locator("#data").text_content()
    return page.evaluate(f"async (argument) => {{ {code}; const engine = new OfflineEngine({data}); return {expression}; }}", argument)


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "independent"])
def test_intervals_of_comparisons_are_those_of_python(opened, tmp_path, pairs):
    """Of close and distant promoters, of one that is longer, and of a difference outside the window."""
    folder = write_compact(tmp_path / "compact", 2, serving.CONDITIONS)
    known = calibration.read(folder, ["glucose"])["glucose"]
    of_pairs = effects.Effects(120, (1, 2), 0.5, 0.02, 0.01, 0.03, 0.4, (0.6, 1.2, 1.6, 2.1), 12.0) if pairs else None
    changed = dataclasses.replace(known, effects=of_pairs)
    calibration.write(dict.fromkeys([*serving.CONDITIONS, "galactose-glucose"], changed), folder / calibration.FILE)
    predictor = prediction_predictor.Predictor(folder)
    ref, other = toy.promoters(2, 5)
    alts = [ref[:9] + ("A" if ref[9] != "A" else "C") + ref[10:], ref[:9] + "ACGTA" + ref[14:], other, ref[:20] + ref[22:], "G" * 3 + ref]
    longer = "ACG" + ref
    given = [(ref, alt) for alt in alts] + [(longer, "T" + longer[1:])]
    answered = engine_of(opened(folder), "await Promise.all(argument.map(([ref, alt]) => engine.compare(ref, alt)))", given)
    bases = set()
    for (one, two), row in zip(given, answered, strict=True):
        for part, expected in zip(row, answers.compare(predictor, one, two), strict=True):
            bases.add(expected["interval"])
            assert part["interval"] == expected["interval"]
            for key in ("effect", "low", "high"):
                assert part[key] == (None if expected[key] is None else pytest.approx(expected[key], abs=1e-4))
    assert bases == ({"pairs", "independent", None} if pairs else {"independent", None})


def test_sites_are_those_of_python(opened, tmp_path):
    """A matrix that the network's own effects define has sites; the order, names, strands and effects are those of `find_sites`."""
    folder = write_compact(tmp_path / "compact", 2)
    predictor = prediction_predictor.Predictor(folder)
    promoters = toy.promoters(3, 5)
    rng = np.random.default_rng(4)
    matrices = [
        motifs.Motif(f"M{number}", f"F{number}", rng.normal(0, 0.7, (3 + number % 3, 4)).astype(np.float32)) for number in range(40)
    ]
    page, written = opened(folder), offline._motifs(matrices)
    expected = [
        answers.find_sites(predictor, lambda one, readout: answers.substitution_effects(predictor, one, readout), matrices, promoter, "")
        for promoter in promoters
    ]
    assert sum(map(len, expected)) > 20
    assert {site["strand"] for part in expected for site in part} == {"+", "-"}
    for promoter, of_python in zip(promoters, expected, strict=True):
        asked = "(engine.motifs = argument[1], await engine.explain(argument[0], ''), await engine.sites(argument[0], ''))"
        found = engine_of(page, asked, [promoter, written])
        assert found["ready"]
        assert [(s["matrix"], s["strand"], s["start"], s["end"]) for s in found["sites"]] == [
            (s["matrix"], s["strand"], s["start"], s["end"]) for s in of_python
        ]
        for site, other in zip(found["sites"], of_python, strict=True):
            for key in ("occupancy", "similarity", "effect"):
                assert site[key] == pytest.approx(other[key], abs=1e-4)


def test_replacements_do_not_depend_on_how_they_are_drawn():
    packed = np.frombuffer(base64.b64decode(offline._replacements()), np.uint8)
    whole = (packed[:, None] >> np.array([6, 4, 2, 0]) & 3).ravel()
    rng, at = sites.replacements(0), 0
    for width in (3, 10, 7, 21, 5):
        part = rng.integers(0, 4, (8, width), dtype=np.uint8)
        assert (whole[at : at + part.size] == part.ravel()).all()
        at += part.size


def test_the_page_has_the_sites_of_motifs_that_the_model_uses(opened, tmp_path, monkeypatch):
    folder = write_compact(tmp_path / "compact", 1)
    known = motifs.load(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")[:3]
    monkeypatch.setattr(offline, "survey", lambda predictor, given: list(given)[:3])
    page = opened(folder, f"#s={toy.promoters(1, 5)[0]}", "jaspar2026_yeast")
    expect(page.locator("#track")).to_contain_text("sites", timeout=serving.PATIENCE)
    data = json.loads(page.locator("#data").text_content())
    assert [each["factor"] for each in data["motifs"]] == [each.factor for each in known]
    np.testing.assert_allclose(data["motifs"][2]["log_odds"], known[2].log_odds, atol=1e-6)
    assert page.said == []


def search(page):
    page.get_by_role("button", name="Search for designs").click()
    expect(page.get_by_role("region", name="Table of designs")).to_be_visible(timeout=serving.PATIENCE)
    page.wait_for_function("!document.getElementById('search').disabled")
    with page.expect_download() as waiting:
        page.locator("#design-result").get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    with page.expect_download() as waiting:
        page.locator("#design-result").get_by_role("button", name="FASTA").click()
    records = Path(waiting.value.path()).read_text().split(">")[1:]
    assert [record.split("\n")[:2] for record in records] == [[row["name"], row["sequence"]] for row in rows]
    return rows


def test_designs_reach_their_goal_within_the_constraints(opened, tmp_path):
    folder = write_compact(tmp_path / "compact", 2)
    predictor = prediction_predictor.Predictor(folder)
    promoter = toy.FIVE + "ACGGTCTCAATTGCATTACGGACTTA" + toy.THREE  # holds GGTCTC, the site of BsaI
    page = opened(folder, f"#s={promoter}")
    form = page.locator("#design")
    page.wait_for_selector("body:not([aria-busy])")
    form.get_by_label("with at most").fill("4")
    form.get_by_label("Number of designs").fill("3")
    form.get_by_label("Predictions for each design").fill("300")
    form.get_by_label("Forbidden sites").fill("BsaI, TTAAK")
    for place in (20, 21, 22):
        page.locator(f'#strip button[data-place="{place}"]').click()
    rows = search(page)
    assert len({row["sequence"] for row in rows}) == 3
    before = predictor.predict([promoter])["expression"][0]
    best = before + np.nanmax(answers.substitution_effects(predictor, promoter, ""))
    predicted = predictor.predict([row["sequence"] for row in rows])
    for row, python in zip(rows, predicted.iter_rows(named=True), strict=True):
        for column in ("expression", "expression_low", "expression_high"):
            assert float(row[column]) == pytest.approx(python[column], abs=1e-4)
        edits = sum(a != b for a, b in zip(promoter, row["sequence"], strict=True))
        assert 1 <= edits == int(row["edits"]) <= 4
        assert row["sequence"] == toy.FIVE + row["insert"] + toy.THREE
        assert row["insert"][19:22] == promoter[len(toy.FIVE) :][19:22]
        assert not re.search("GGTCTC|GAGACC|TTAA[GT]|[AC]TTAA", row["sequence"])
    assert float(rows[0]["expression"]) > best  # than the best single substitution, which may leave the site
    assert [float(row["expression"]) for row in rows] == sorted((float(row["expression"]) for row in rows), reverse=True)
    target = (before + float(rows[0]["expression"])) / 2
    form.get_by_label("Target expression").fill(f"{target:.3f}")
    for row in search(page):
        assert float(row["expression"]) == pytest.approx(target, abs=0.02)
    form.get_by_label("random inserts").check()
    form.get_by_label("lowest expression").check()
    lowest = search(page)
    at_random = predictor.predict(random_promoters(predictor, 200))["expression"]
    assert max(float(row["expression"]) for row in lowest) < at_random.min()
    assert {len(row["insert"]) for row in lowest} == {26}
    for words, message in (("BsaX", "'BsaX' is neither an IUPAC pattern"), ("TTACATC", "No construct without the forbidden sites TTACATC")):
        form.get_by_label("Forbidden sites").fill(words)
        page.get_by_role("button", name="Search for designs").click()
        expect(page.locator("#design-error")).to_contain_text(message)
    assert page.said == []
