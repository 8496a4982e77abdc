"""Single promoters beside the static figure: their values, their sample, and how pointer and keyboard reach them."""

import json
import re

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import expect

from gpraflow.core.errors import InputError
from gpraflow.report import scatter
from tests import browsing
from tests.report.test_page import HOSTILE, run_folder, write


def table(rows, seed=0, **columns):
    rng = np.random.default_rng(seed)
    predicted = rng.normal(5, 2, rows)
    found = {"name": [f"p{row}" for row in range(rows)], "expression": predicted + rng.normal(size=rows), "predicted": predicted}
    found |= {"predicted_low": predicted - 2, "predicted_high": predicted + 2, "n_reads": rng.integers(1, 5000, rows)}
    return pl.DataFrame(found | columns)


def test_points_are_the_promoters_in_order_of_predictions(tmp_path):
    rows = table(4, name=["a", None, "<b>", "x" * 70], expression=[1.23456, None, -2.0, 3.0], predicted=[3.0, 1.0, 2.0, 1.0])
    rows.with_columns(n_reads=pl.Series([7, 8, None, 1200])).write_parquet(tmp_path / "p.parquet")
    text = scatter.points(tmp_path / "p.parquet", "test")
    assert "<" not in text
    found = json.loads(text)
    assert found["total"] == 3
    assert found["names"] == ["x" * 60, "<b>", "a"]
    assert found["measured"] == [3, -2, 1.235]
    assert found["predicted"] == [1, 2, 3]
    assert found["reads"] == [1200, None, 7]
    bare = rows.select("expression", "predicted")
    bare.write_parquet(tmp_path / "p.parquet")
    found = json.loads(scatter.points(tmp_path / "p.parquet", "test"))
    assert set(found) == {"total", "names", "measured", "predicted"}
    assert found["names"] == ["row 4", "row 3", "row 1"]


def test_many_promoters_are_a_sample_that_depends_on_the_data_set_only(tmp_path):
    rows = table(5000)
    rows.write_parquet(tmp_path / "p.parquet")
    one, again, other = (scatter.points(tmp_path / "p.parquet", name) for name in ("a", "a", "b"))
    assert one == again != other
    found = json.loads(one)
    assert (found["total"], len(found["names"]), len(set(found["names"]))) == (5000, scatter.MOST, scatter.MOST)
    assert found["predicted"] == sorted(found["predicted"])
    by_name = dict(zip(rows["name"], rows["expression"], strict=True))
    assert [by_name[name] for name in found["names"]] == pytest.approx(found["measured"], rel=1e-3, abs=1e-3)
    assert np.mean(found["measured"]) == pytest.approx(rows["expression"].mean(), abs=0.2)
    assert len(one) < 60_000


def test_damaged_predictions_are_named(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1nothing")
    with pytest.raises(InputError, match=r"p\.parquet: these predictions cannot be read"):
        scatter.points(tmp_path / "p.parquet", "test")


@pytest.fixture
def report(tmp_path):
    """A report with the single promoters of one of its two data sets; one name is hostile."""
    config = run_folder(tmp_path, {"test": "test split", "other": "another"})
    rows = table(1500)
    rows = rows.with_columns(name=pl.when(pl.int_range(pl.len()) == rows["predicted"].arg_max()).then(pl.lit(HOSTILE)).otherwise("name"))
    (tmp_path / "predictions").mkdir()
    rows.write_parquet(tmp_path / "predictions/test.parquet")
    path = tmp_path / "report.html"
    path.write_text(write(tmp_path, config, predictions=[str(tmp_path / "predictions/test.parquet")]))
    return path, rows


def test_promoters_are_chosen_with_pointer_and_keyboard(report, browser):
    path, rows = report
    shown = json.loads(scatter.points(path.parent / "predictions/test.parquet", "test"))
    with browsing.pages(browser, 60_000) as opened:
        page = opened(path.as_uri(), viewport={"width": 1280, "height": 1000}, offline=True)
        place = page.locator("details.points")
        assert place.count() == 1
        assert place.locator("svg").count() == 0  # drawn when it is opened
        place.locator("summary").click()
        expect(place).to_contain_text("A random sample of 1,000 of the 1,500 promoters.", timeout=60_000)
        assert place.locator("circle.point").count() == 1000
        slider, said = place.get_by_role("slider"), place.locator(".value")
        slider.focus()
        page.keyboard.press("End")
        assert said.inner_text().startswith(" ".join(HOSTILE.split())[:20])
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        row = rows.row(by_predicate=pl.col("name") == shown["names"][1], named=True)
        text = said.inner_text().replace("\N{MINUS SIGN}", "-")
        assert text.startswith(f"{row['name']}: measured ")
        numbers = [float(each.replace(",", "")) for each in re.findall(r"-?\d[\d.,]*", text.partition(":")[2])]
        expected = [row["expression"], row["predicted"], 95, row["predicted_low"], row["predicted_high"], row["n_reads"]]
        assert numbers == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert slider.get_attribute("aria-valuetext") == said.inner_text()
        place.locator("svg").scroll_into_view_if_needed()
        middle = "circle => { const box = circle.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }"
        places = np.array(place.locator("circle.point").evaluate_all(f"circles => circles.map({middle})"))
        apart = np.linalg.norm(places[:, None] - places, axis=2) + np.where(np.eye(len(places)), np.inf, 0)
        visible = (places > 0).all(axis=1) & (places < [1280, 1000]).all(axis=1)
        alone = int(np.where(visible, apart.min(axis=1), -1).argmax())  # others would be chosen where points overlap
        page.mouse.move(*places[alone])
        assert said.inner_text().startswith(f"{shown['names'][alone]}: ")
        assert slider.input_value() == str(alone + 1)
        page.emulate_media(media="print")
        assert not place.is_visible()
        assert page.locator("figure .picture").first.is_visible()
        assert page.said == []
        assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]
        plain = opened(path.as_uri(), java_script_enabled=False)
        assert not plain.locator("details.points").is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_the_figure_is_accessible_and_fits(report, browser, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with browsing.pages(browser, 60_000) as opened:
        page = opened(report[0].as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.locator("details.points summary").click()
        page.locator("details.points circle.chosen").wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        found = axe.Axe().run(page, "details.points").response["violations"]
        assert [(rule["id"], [node["html"][:100] for node in rule["nodes"]]) for rule in found] == []
