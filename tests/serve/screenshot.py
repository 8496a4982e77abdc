"""The picture of the page for README.md: ``python -m tests.serve.screenshot MODEL docs/images/page.png``; needs chromium."""

import os
import shutil
import sys

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from gpraflow.app.serve_commands import name_of
from gpraflow.core import resources
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs
from gpraflow.serve import model, server
from tests.serve import serving

WIDTH, HEIGHT, SCALE = 1200, 900, 2


def take(directory, path):
    """Write the picture of a random promoter with two substitutions, down to its motif sites."""
    known = motifs.load(resources.path_of(resources.MOTIFS["jaspar2026_yeast"]))
    pages = server.Pages(prediction_predictor.Predictor(directory), name_of(directory), known)
    pages.prepare()
    (promoter,) = model.random_promoters(pages.predictor, 1, seed=3)
    with serving.serving(server.application(pages, "127.0.0.1")) as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
        page.set_default_timeout(600_000)
        page.goto(f"{address}/#s={promoter}&n=promoter")
        for _ in range(2):
            cells = page.locator(".cell[fill]")
            cells.first.wait_for()
            effects = cells.evaluate_all("all => all.map(one => Number((/ [+]([0-9.]+)/.exec(one.ariaLabel) ?? [0, 0])[1]))")
            before = page.locator("#value").inner_text()
            cells.nth(effects.index(max(effects))).dispatch_event("click")
            expect(page.locator("#value")).not_to_have_text(before, timeout=600_000)
            page.locator("body:not([aria-busy])").wait_for()  # the effects follow the expression
        page.locator("h1").hover()
        expect(page.locator("#track figcaption")).to_contain_text("motif sites", timeout=600_000)
        end = page.locator("#track .picture").bounding_box()
        page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": end["y"] + end["height"]})
        browser.close()
    Image.open(path).quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    take(*sys.argv[1:])
