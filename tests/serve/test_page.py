"""The page in Chromium, as people use it: clicks, keys, files, links; its figures are those of `gpraflow predict`."""

import csv
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from gpraflow.serve import server
from tests import browsing, command, toy
from tests.conftest import ROOT
from tests.serve import serving

WHOLE = toy.promoters(4, 7)
BEGIN = len(toy.FIVE)
expect.set_options(timeout=serving.PATIENCE)


@pytest.fixture(scope="module")
def address(folder):
    with serving.serving(server.application(serving.pages(folder), "127.0.0.1")) as found:
        yield found


@pytest.fixture
def opened(browser):
    """Give a function that opens an address; what the page asked for and complained about is kept."""
    with browsing.pages(browser, serving.PATIENCE) as opened:
        yield lambda address, width=1280, height=900, **options: opened(
            address, viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )


def link(address, sequence, **more):
    return f"{address}/#" + "&".join(f"{key}={value}" for key, value in {"s": sequence, **more}.items())


def shown(value, digits=2):
    return f"{value:.{digits}f}".replace("-", "−")


def predicted(folder, tmp_path, *sequences):
    """What `gpraflow predict` says."""
    (tmp_path / "in.tsv").write_text("sequence\n" + "\n".join(sequences) + "\n")
    assert command.run("predict", folder, tmp_path / "in.tsv", "-o", tmp_path / "out.tsv", "--quiet") == 0
    return pl.read_csv(tmp_path / "out.tsv", separator="\t").to_dicts()


def changed(sequence, place, base):
    return sequence[:place] + base + sequence[place + 1 :]


def cell(page, place, base):
    return page.locator(f'.cell[data-place="{place}"][data-base="{base}"]')


def test_a_pasted_promoter_is_predicted_mutated_undone_and_kept_in_the_address(opened, address, folder, tmp_path):
    page = opened(address)
    page.get_by_label("Sequence, 5′ to 3′").fill(WHOLE[0].lower())
    page.get_by_role("button", name="Predict", exact=True).click()
    place = BEGIN + 5
    base = "G" if WHOLE[0][place] != "G" else "A"
    other = next(one for one in "ACGT" if one not in (base, WHOLE[0][place + 1]))
    sequences = [WHOLE[0], changed(WHOLE[0], place, base)]
    sequences.append(changed(sequences[1], place + 1, other))
    first, second, third = predicted(folder, tmp_path, *sequences)

    def says(row):
        expect(page.locator("#value")).to_have_text(shown(row["expression"]))
        expect(page.locator("#interval")).to_have_text(f"{shown(row['expression_low'])} to {shown(row['expression_high'])}")
        expect(page.get_by_label("Sequence, 5′ to 3′")).to_have_value(row["sequence"])

    says(first)
    effect = (toy.VALUES[base] - toy.VALUES[WHOLE[0][place]]) / toy.LENGTH
    expect(cell(page, place, base)).to_have_attribute(
        "aria-label", re.compile(rf"Position {place + 1}: . to {base}, .?{shown(abs(effect))} $")
    )
    cell(page, place, base).click()
    says(second)
    expect(page.locator(".chips li").first).to_have_text(f"{WHOLE[0][place]}{place + 1}{base}")
    page.locator(f'.base[data-place="{place + 1}"]').click()  # a base of the sequence offers the other three
    menu = page.get_by_role("dialog", name="Substitute this base")
    expect(menu.get_by_role("button")).to_have_count(3)
    menu.get_by_role("button", name=re.compile(f"^{other} ")).click()
    says(third)
    expect(page.locator(".chips li")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    says(second)
    page.locator("h1").click()
    page.keyboard.press("Control+z")
    says(first)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.get_by_role("button", name="Redo").click()
    says(second)
    assert f"s={second['sequence']}" in page.url
    page.reload()
    says(second)
    assert page.said == []
    assert {url.partition("#")[0].split("/api/")[0].rstrip("/") for url in page.asked if not url.startswith("data:")} == {address}


def test_clicks_that_do_not_wait_for_answers_all_count(opened, address):
    page = opened(link(address, WHOLE[0]))
    sequence = WHOLE[0]
    expect(page.locator(".cell").first).to_be_visible()
    wanted = [(BEGIN + at, "A" if WHOLE[0][BEGIN + at] != "A" else "C") for at in range(4)]
    page.evaluate(
        """wanted => wanted.forEach(([place, base]) => document.querySelector(`.cell[data-place="${place}"][data-base="${base}"]`)
            .dispatchEvent(new MouseEvent("click", {bubbles: true})))""",
        wanted,
    )
    for place, base in wanted:
        sequence = changed(sequence, place, base)
    expect(page.locator("#value")).to_have_text(shown(toy.said(sequence)))
    expect(page.locator(".chips li")).to_have_count(5)
    for _ in wanted:
        page.get_by_role("button", name="Undo").click()
        page.wait_for_selector("body:not([aria-busy])")
    expect(page.get_by_label("Sequence, 5′ to 3′")).to_have_value(WHOLE[0])
    assert page.said == []


def test_expression_is_drawn_before_the_effects_and_taken_back_without_them(opened, address):
    page = opened(link(address, WHOLE[0]))
    expect(page.locator(".cell").first).to_be_visible()
    held = []
    page.route("**/api/explain", lambda route: held.append(route))
    (place, base), (next_place, next_base) = [(BEGIN + at, "A" if WHOLE[0][BEGIN + at] != "A" else "C") for at in (2, 3)]
    mutant = changed(WHOLE[0], place, base)
    cell(page, place, base).click()
    expect(page.locator("#value")).to_have_text(shown(toy.said(mutant)))
    expect(page.locator(".chips li").first).to_have_text(f"{WHOLE[0][place]}{place + 1}{base}")
    expect(cell(page, place, base)).to_have_attribute("aria-label", re.compile(f" to {base}, "))  # the figure waits for the effects
    held.pop().continue_()
    expect(cell(page, place, base)).to_have_attribute("aria-label", f"Position {place + 1}: {base}, as it is")
    expect(page.locator("#value")).to_have_text(shown(toy.said(mutant)))
    cell(page, next_place, next_base).click()
    expect(page.locator("#value")).to_have_text(shown(toy.said(changed(mutant, next_place, next_base))))
    held.pop().fulfill(status=500, json={"error": "It broke."})
    expect(page.locator("#error")).to_have_text("It broke.")
    expect(page.locator("#value")).to_have_text(shown(toy.said(mutant)))
    expect(page.locator(".chips li")).to_have_count(2)
    assert page.evaluate("performance.getEntriesByName('effect').length") == 2


def test_cells_are_reached_with_the_keyboard(opened, address, folder, tmp_path):
    page = opened(link(address, WHOLE[0]))
    cell(page, BEGIN, "A").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    focused = page.locator(".cell:focus")
    expect(focused).to_have_attribute("aria-label", re.compile(f"Position {BEGIN + 2}: "))
    assert page.evaluate("document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1
    if WHOLE[0][BEGIN + 1] == "C":
        page.keyboard.press("ArrowDown")
    base = focused.get_attribute("data-base")
    page.keyboard.press("Enter")
    (row,) = predicted(folder, tmp_path, changed(WHOLE[0], BEGIN + 1, base))
    expect(page.locator("#value")).to_have_text(shown(row["expression"]))
    expect(focused).to_have_attribute("data-base", base)  # the focus stays
    expect(page.locator("#status")).to_contain_text(f"to {base} at position {BEGIN + 2}")


def test_several_promoters_are_a_table_and_a_file_is_read(opened, address, folder, tmp_path):
    page = opened(address)
    (tmp_path / "mine.fa").write_text("".join(f">p{at}\n{one}\n" for at, one in enumerate(WHOLE)))
    page.locator("#file").set_input_files(tmp_path / "mine.fa")
    rows = page.get_by_role("region", name="Predictions").locator("tbody tr")
    expect(rows).to_have_count(4)
    expected = predicted(folder, tmp_path, *WHOLE)
    for row, one, at in zip(rows.all(), expected, range(4), strict=True):
        cells = row.locator("td").all_inner_texts()
        assert cells[:3] == [f"p{at}", shown(one["expression"]), f"{shown(one['expression_low'])} to {shown(one['expression_high'])}"]
    rows.nth(2).get_by_role("button").click()
    expect(page.locator("#value")).to_have_text(shown(expected[2]["expression"]))
    with page.expect_download() as waiting:
        page.locator("#list").get_by_role("button", name="TSV").click()
    table = pl.read_csv(waiting.value.path(), separator="\t")
    assert table["name"].to_list() == [f"p{at}" for at in range(4)]
    assert table["expression_low"].to_list() == pytest.approx([one["expression_low"] for one in expected], abs=2e-6)


def test_figures_are_saved(opened, address):
    page = opened(link(address, WHOLE[0], n="my%20promoter"))
    expect(page.locator("#track .cell").first).to_be_visible()

    def saved(form, title):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Save as {form}: {title}").click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    for title, name in (("Contributions of bases", "my_promoter_explanation"), ("Predicted expression", "my_promoter_expression")):
        file, content = saved("SVG", title)
        root = ET.fromstring(content)
        assert file == f"{name}.svg"
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.get("aria-label")) > 20
        assert b"class=" not in content  # styles of the page would be missing
        file, content = saved("PNG", title)
        assert file == f"{name}.png"
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(content[16:20], "big") >= 2000
    rows = list(csv.DictReader(saved("TSV", "Contributions of bases")[1].decode().splitlines(), delimiter="\t"))
    assert "".join(row["base"] for row in rows) == WHOLE[0]
    for at, row in enumerate(rows):
        inside = BEGIN <= at < len(WHOLE[0]) - len(toy.THREE)
        effects = [(toy.VALUES[base] - toy.VALUES[row["base"]]) / toy.LENGTH for base in "ACGT"]
        assert [row[f"effect_{base}"] != "" for base in "ACGT"] == [inside] * 4
        if inside:
            assert [float(row[f"effect_{base}"]) for base in "ACGT"] == pytest.approx(effects, abs=1e-5)
            assert float(row["contribution"]) == pytest.approx(-sum(effects) / 3, abs=1e-5)
    assert saved("TSV", "Predicted expression")[1].startswith(b"readout\texpression\texpression_low\texpression_high\nexpression\t")


def test_two_promoters_are_compared(opened, address):
    page = opened(link(address, WHOLE[0]))
    page.get_by_label("Reference promoter").fill(WHOLE[1])
    page.get_by_role("button", name="Compare", exact=True).click()
    difference = toy.said(WHOLE[0]) - toy.said(WHOLE[1])
    expect(page.locator(".effect")).to_have_text(("+" if difference > 0 else "") + shown(difference))
    edits = sum(a != b for a, b in zip(WHOLE[0], WHOLE[1], strict=True))
    expect(page.locator("#difference")).to_contain_text(f"{edits} substitutions")
    expect(page.locator("#reference-track svg")).to_be_visible()
    page.reload()
    expect(page.locator(".effect")).to_have_text(("+" if difference > 0 else "") + shown(difference))  # it is in the address
    page.get_by_role("button", name="Use the promoter above").click()
    expect(page.locator(".effect")).to_have_text("0.00")
    page.get_by_role("button", name="End the comparison").click()
    expect(page.locator("#reference-track")).to_be_hidden()
    page.get_by_label("Reference promoter").fill("nonsense!")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#compare-error")).to_contain_text("letter 'O' at position 2")


def test_designs_are_searched_for_shown_and_downloaded(opened, address):
    page = opened(link(address, WHOLE[0]))
    expect(page.locator("#strip button")).to_have_count(26)
    page.locator("#strip").scroll_into_view_if_needed()
    for at in (2, 3, 4, 5):  # dragged over
        box = page.locator("#strip button").nth(at).bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        if at == 2:
            page.mouse.down()
    page.mouse.up()
    expect(page.get_by_label("Fixed positions of the insert")).to_have_value("3-6")
    page.get_by_label("Fixed positions of the insert").fill("3-6, 40")
    expect(page.locator("#design-error")).to_contain_text("give positions of the insert from 1 to 26")
    page.get_by_label("Fixed positions of the insert").fill("3-6, 20")
    expect(page.locator('#strip [aria-pressed="true"]')).to_have_count(5)
    page.get_by_label("Number of designs").fill("3")
    page.get_by_label("Predictions for each design").fill("60")
    page.get_by_label("Forbidden sites").fill("GGG BsaI")
    page.get_by_role("button", name="Search for designs").click()
    rows = page.locator("#design-result tbody tr")
    expect(rows).to_have_count(3)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="FASTA").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    table = pl.read_csv(waiting.value.path())
    assert lines[1::2] == table["sequence"].to_list()
    for sequence, insert, expression in table.select("sequence", "insert", "expression").iter_rows():
        assert sequence == toy.FIVE + insert + toy.THREE
        assert (insert[2:6], insert[19]) == (WHOLE[0][BEGIN + 2 : BEGIN + 6], WHOLE[0][BEGIN + 19])
        assert not re.search("GGG|CCC", sequence)
        assert expression == pytest.approx(toy.said(sequence), abs=1e-5)
    rows.first.get_by_role("button").click()
    expect(page.get_by_label("Sequence, 5′ to 3′")).to_have_value(table["sequence"][0])
    page.get_by_label("Number of designs").fill("50")
    page.get_by_label("Predictions for each design").fill("2000")
    page.get_by_role("button", name="Search for designs").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#design-result")).to_have_text("The search was cancelled.")
    page.get_by_label("Forbidden sites").fill("Bsa1")
    page.get_by_role("button", name="Search for designs").click()
    expect(page.locator("#design-error")).to_contain_text("Bsa1")
    assert [text for text in page.said if "400" not in text] == []


def test_conditions_stand_side_by_side(opened, tmp_path):
    folder = serving.two_conditions(tmp_path / "two")
    with serving.serving(server.application(serving.pages(folder), "127.0.0.1")) as address:
        page = opened(link(address, WHOLE[0]))
        rows = page.locator("#values tbody tr")
        expect(rows).to_have_count(3)
        said = toy.said(WHOLE[0])
        for row, title, value in zip(
            rows.all(), ("glucose", "galactose", "galactose − glucose"), (shown(said), shown(said + 2), "+2.00"), strict=True
        ):
            assert row.locator("th").inner_text() == title
            assert row.locator("td").first.inner_text() == value
        page.get_by_label("Condition").select_option("galactose-glucose")
        expect(page).to_have_url(re.compile("r=galactose-glucose"))
        expect(cell(page, BEGIN, "A")).to_have_attribute("aria-label", re.compile(r"0\.00 $|as it is"))
        assert page.said == []


def test_nonsense_and_a_megabyte_are_answered_and_the_page_lives_on(opened, address):
    page = opened(address)
    text, error = page.get_by_label("Sequence, 5′ to 3′"), page.locator("#error")
    for content, message in (
        ("", "There is no sequence yet"),
        ("hello there", "text, line 1: letter 'E' at position 2"),
        ("<img src=x onerror=alert(1)>", "text, line 1: letter '<' at position 1 of '<IMGSRC=XONERROR=ALERT(1)>'"),
        ("A" * (1 << 20), "text, promoter 1: 1,048,576 bp, more than the 2,000 bp that the page shows"),
        ("A" * ((1 << 20) + 1), "The text has more than 1 MB (1.0 MB)"),
    ):
        text.fill(content)
        page.get_by_role("button", name="Predict", exact=True).click()
        expect(error).to_contain_text(message)
        expect(page.locator("#expression")).to_be_hidden()
    text.fill(WHOLE[0])
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#value")).to_have_text(shown(toy.said(WHOLE[0])))
    expect(error).to_be_empty()
    page.goto(f"{address}/#s=%3Cscript%3E&r=x&ref=%00")
    page.reload()
    expect(error).to_contain_text("letter '<'")
    assert [line for line in page.said if "400" not in line] == []


def test_the_page_outlives_its_server(opened, folder):
    pages = serving.pages(folder)
    with serving.serving(server.application(pages, "127.0.0.1")) as address:
        page = opened(link(address, WHOLE[0]))
        expect(page.locator("#value")).to_have_text(shown(toy.said(WHOLE[0])))
    place = BEGIN + 3
    base = "A" if WHOLE[0][place] != "A" else "C"
    cell(page, place, base).click()
    expect(page.locator("#error")).to_contain_text("The server does not answer. Start it again with gpraflow serve and try once more")
    expect(page.locator("#value")).to_have_text(shown(toy.said(WHOLE[0])))
    with serving.serving(server.application(pages, "127.0.0.1"), int(address.rpartition(":")[2])):
        cell(page, place, base).click()
        expect(page.locator("#value")).to_have_text(shown(toy.said(changed(WHOLE[0], place, base))))
        expect(page.locator("#error")).to_be_empty()


@pytest.mark.slow
def test_the_command_is_killed_and_started_again(opened, folder):
    """kill -9, and a second server on the same port; then Ctrl-C."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    port = "0"
    page = None
    for end in (signal.SIGKILL, signal.SIGINT):
        more = ["--port", port] if port != "0" else []
        process = subprocess.Popen(
            [sys.executable, "-m", "gpraflow.app.cli", "serve", str(folder), "--motifs", "none", *more],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said = process.stderr.readline()
            port = re.fullmatch(r"gpraflow: http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends the server\)\n", said)[1]
            page = page or opened(link(f"http://127.0.0.1:{port}", WHOLE[0]))
            expect(page.locator("#value")).to_have_text(shown(toy.said(WHOLE[0])))
            cell(page, BEGIN, "A" if WHOLE[0][BEGIN] != "A" else "C").click()
            expect(page.get_by_role("button", name="Undo")).to_be_enabled()
            page.get_by_role("button", name="Undo").click()
            expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        finally:
            process.send_signal(end)
            assert process.wait(60) == (0 if end == signal.SIGINT else -signal.SIGKILL)
            assert "Traceback" not in process.stderr.read()
            process.stderr.close()


@pytest.mark.parametrize(
    ("width", "height", "options"),
    [(1280, 900, {}), (390, 844, {"has_touch": True, "color_scheme": "dark"}), (320, 256, {"device_scale_factor": 4})],
    ids=["desktop", "phone in the dark", "400 %"],
)
def test_everyone_can_use_the_page(opened, address, width, height, options):
    """No violation of axe-core's rules, and no scrolling sideways but in figures and tables; an error and results are shown."""
    page = opened(link(address, WHOLE[0], ref=WHOLE[1]), width, height, **options)
    expect(page.locator("#reference-track svg")).to_be_visible()
    page.get_by_label("Sequence, 5′ to 3′").fill("\n".join([*WHOLE, toy.FIVE + "A" * 26 + toy.THREE]))
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_role("region", name="Predictions")).to_be_visible()
    page.get_by_label("Predictions for each design").fill("40")
    page.get_by_role("button", name="Search for designs").click()
    expect(page.locator("#design-result table")).to_be_visible()
    page.get_by_label("Fixed positions of the insert").fill("x")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("h1, h2, p, label, button, textarea, input, .scroll, .picture")]
            .filter(one => !one.closest(".scroll, .picture, .skip, .unseen, [hidden]") || one.matches(".scroll, .picture"))
            .filter(one => one.offsetWidth > 1 && one.getBoundingClientRect().right > innerWidth + 1)
            .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    assert page.said == []
