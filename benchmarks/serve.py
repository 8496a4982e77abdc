"""The page of `gpraflow serve`: the time from a click on a base to the new prediction and all effects of substitutions.

python benchmarks/serve.py MODEL [--clicks 30] [--promoters 200] [--no-browser]
MODEL is a model directory of a run; --smallest makes one of a few parameters. The server runs in this process, on loopback, after the
network was compiled, without a search for motifs beside it. The last line is JSON: start_s (loading the model until the page is ready, and
its network compiled), first_ms and click_ms (median and, as click_worst_ms, the slowest; a request and its answer, of a substitution each),
click_cpu_ms (CPU time of all threads for each, for a machine that is busy with other things), predict_ms (a request with --promoters
promoters), peak_rss_mb; with Chromium, page_effect_ms and page_effect_worst_ms (from a click in the page until the new expression is
drawn), page_click_ms and page_click_worst_ms (until all effects of substitutions are drawn) and, for a model that the offline page can
hold, offline_mb, offline_first_ms (until the first prediction with all effects), offline_effect_ms and offline_click_ms.
"""

import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import requests

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them
from tests import toy
from tests.serve import serving

from gpraflow.core.errors import ConfigError
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.serve import model as serve_model
from gpraflow.serve import offline, server


def milliseconds(work):
    """Return how long a call takes, and what it returns."""
    begun = time.perf_counter()
    found = work()
    return 1000 * (time.perf_counter() - begun), found


def summary(name, times):
    """Return median and slowest."""
    return {f"{name}_ms": round(statistics.median(times), 1), f"{name}_worst_ms": round(max(times), 1)}


def summaries(place, times):
    """Return the summaries of `clicks_in`."""
    effect, click = times
    return summary(f"{place}_effect", effect) | summary(f"{place}_click", click)


def substitutions(promoter, flank, number, seed):
    """Return promoters that differ from the one before by one substitution of the insert."""
    rng, found = np.random.default_rng(seed), [promoter]
    for _ in range(number):
        place = int(rng.integers(flank, len(promoter) - flank))
        base = "ACGT"[("ACGT".index(found[-1][place]) + int(rng.integers(1, 4))) % 4]
        found.append(found[-1][:place] + base + found[-1][place + 1 :])
    return found


def requests_of(address, promoters, steps):
    """Return the times of requests."""

    def ask(path, content):
        answer = requests.post(f"{address}/api/{path}", json=content, timeout=600)
        answer.raise_for_status()

    first, _ = milliseconds(lambda: ask("explain", {"sequence": steps[0], "readout": ""}))
    with common.timed() as lap:
        clicks = [milliseconds(lambda one=one: ask("explain", {"sequence": one, "readout": ""}))[0] for one in steps[1:]]
    many, _ = milliseconds(lambda: ask("predict", {"text": "\n".join(promoters)}))
    cpu = round(1000 * lap.cpu_seconds / len(clicks), 1)
    return {"first_ms": round(first, 1), **summary("click", clicks), "click_cpu_ms": cpu, "predict_ms": round(many, 1)}


def clicks_in(page, steps):
    """Click through substitutions; return what the page itself measures, in ms: until expression is drawn, and until all is."""
    for before, after in itertools.pairwise(steps):
        place = next(at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
        page.locator(f'.cell[data-place="{place}"][data-base="{after[place]}"]').click(force=True)
        page.wait_for_selector("body:not([aria-busy])")
    return [page.evaluate(f"performance.getEntriesByName('{name}').map(one => one.duration)") for name in ("effect", "substitution")]


def in_browser(address, predictor, steps, folder):
    """Return the times in Chromium, of the server's page and of the offline page."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(600_000)
        page.goto(f"{address}/#s={steps[0]}")
        page.wait_for_selector(".cell")
        found |= summaries("page", clicks_in(page, steps))
        try:
            size = offline.write(predictor, "benchmark", folder / "page.html")
        except ConfigError:
            size = 0
        if size:
            page.goto((folder / "page.html").as_uri() + f"#s={steps[0]}")
            first, _ = milliseconds(lambda: page.wait_for_selector(".cell"))
            found |= {
                "offline_mb": round(size / 1e6, 2),
                "offline_first_ms": round(first, 1),
                **summaries("offline", clicks_in(page, steps)),
            }
        browser.close()
    return found


def measure(options, folder):
    """Start the server and measure."""
    directory = options.model or toy.write_whole(folder / "model")

    def start():
        pages = server.Pages(prediction_predictor.Predictor(directory), "benchmark")
        pages.predictor.warm_up()
        return pages

    started, pages = milliseconds(start)
    promoters = list(serve_model.random_promoters(pages.predictor, options.promoters))
    flank = max(map(len, pages.predictor.flanks))
    steps, others = (substitutions(promoters[0], flank, options.clicks, seed) for seed in (1, 2))  # the server remembers effects
    with serving.serving(server.application(pages, "127.0.0.1")) as address:
        figures = requests_of(address, promoters, steps)
        if options.browser and shutil.which("chromium"):
            figures |= in_browser(address, pages.predictor, others, folder)
    common.finish(
        options,
        None,
        "no other page of this kind was found",
        start_s=round(started / 1000, 2),
        **figures,
        peak_rss_mb=common.peak_rss_mb(),
    )


def main():
    """Measure clicks."""
    parser = common.parser(__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--promoters", type=int, default=200)
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    options = common.parse(parser, clicks=3, promoters=5, browser=False)
    if not (options.model or options.smallest):
        parser.error("MODEL is missing: give the model directory of a run, such as results/sample/model")
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
