"""The report of a run: a self-contained HTML page that starts with warnings and a summary.

Other rules create the figures and tables. This module arranges them in sections, adds the summary, and embeds all files for download.
Figures and tables that do not exist in a run are omitted, as are empty sections.
"""

import base64
import dataclasses
import datetime
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpraflow.core import conditions, ledger, provenance
from gpraflow.core import config as configs
from gpraflow.core.urls import without_secrets
from gpraflow.models.about import read as read_about
from gpraflow.report import accounting, scatter
from gpraflow.report.alternatives import alternative
from gpraflow.report.assumptions import assumptions
from gpraflow.report.findings import card, facts, noted, notes_of, warnings_of
from gpraflow.report.parts import MOST_ROWS, Section, caption, figure, read_json, read_table, shape, table

SECTIONS = {
    "scores": "Scores",
    "assay": "Assay quality control",
    "joined": "Joined tables",
    "ledger": "Read and sequence accounting",
    "leak": "Splits and leakage control",
    "training": "Training",
    "predictions": "Predictions",
    "subsets": "Subgroups",
    "comparison": "Comparison with other models",
    "intervals": "Calibration of prediction intervals",
    "explanation": "Model interpretation",
    "design": "Designs",
    "factors": "Factors",
    "cost": "Cost",
}
# Figure in figures/, or folder with one figure per data set -> section, title ("": title of the data set), caption
FIGURES = {
    "scores": ("scores", "Pearson r on every data set", "scores"),
    "assay/yield": ("assay", "Reads counted and lost", "yield"),
    "assay/distinct": ("assay", "Reads and distinct inserts per bin", "distinct"),
    "assay/rarefaction": ("assay", "Rarefaction", "rarefaction"),
    "assay/inserts": ("assay", "Insert length and base composition", "inserts"),
    "assay/depth": ("assay", "Reads per promoter", "depth"),
    "assay/expression": ("assay", "Expression", "expression"),
    "assay/profiles": ("assay", "Distribution of promoters over bins", "profiles"),
    "assay/counts": ("assay", "DNA and RNA counts", "counts"),
    "assay/replicates": ("assay", "Replicates", "replicates"),
    "joined": ("joined", "Shared promoters and common scale", "joined"),
    "ledger": ("ledger", "Reads and promoters retained at each step", "ledger_figure"),
    "leak/distance": ("leak", "Distance to the training set, and scores by distance", "distance"),
    "leak/demonstration": ("leak", "Effect of data leakage on scores", "leak"),
    "training": ("training", "Training curves", "training"),
    "predictions": ("predictions", "", "predictions"),
    "subgroups": ("subsets", "", "subgroups_figure"),
    "comparison": ("comparison", "Runs and published models", "comparison"),
    "intervals": ("intervals", "Coverage of prediction intervals", "intervals"),
    "explain/motifs": ("explanation", "Motifs that explain the predictions", "motifs"),
    "explain/de_novo": ("explanation", "Motifs found without known motifs", "de_novo"),
    "explain/logos": ("explanation", "Contributions of bases", "logos"),
    "design/designs": ("design", "Designs and the library", "designs"),
    "design/truth": ("design", "Promised and true expression", "truth"),
    "factors": ("factors", "Parameters of the factors", "factors"),
    "factor_positions": ("factors", "Activity of the factors by position and strand", "factor_positions"),
    "factor_motifs": ("factors", "Factors beside motifs found by in-silico mutagenesis", "factor_motifs"),
    "cost": ("cost", "CPU time", "cost"),
}
# Titles of runs that start from reads -> of others
WITHOUT_READS = {
    "Read and sequence accounting": "Sequence accounting",
    "Reads and promoters retained at each step": "Promoters retained at each step",
}
# Table in results/<run> -> section, title, caption, True if expanded at first
TABLES = {
    "metrics.tsv": ("scores", "Scores of each data set", "metrics", True),
    "checks.tsv": ("scores", "Checks", "checks", False),
    "joined.tsv": ("joined", "Scale and offset of each table", "joined_table", True),
    "ledger.tsv": ("ledger", "Ledger of all steps", "ledger", False),
    "leak/distances.tsv": ("leak", "Distance to the nearest training promoter", "distances", True),
    "neighbours/overlaps.tsv": ("leak", "Overlap of independent data sets with the library", "overlaps", False),
    "splits/summary.tsv": ("leak", "Composition of the splits", "splits", False),
    "leak/demonstration.tsv": ("leak", "Effect of data leakage on scores, table", "leak", False),
    "subgroups.tsv": ("subsets", "Scores in subgroups of each data set", "subgroups", False),
    "published_models.tsv": ("comparison", "Comparison with published models", "published_models", True),
    "comparison/scores.tsv": ("comparison", "Scores of all runs", "comparison_scores", False),
    "comparison/tests.tsv": ("comparison", "Pairwise comparison of runs", "comparison_tests", True),
    "dream.tsv": ("comparison", "Score of the DREAM challenge 2022", "dream", True),
    "intervals.tsv": ("intervals", "Coverage of prediction intervals, table", "intervals", False),
    "explain/motifs.tsv": ("explanation", "Motifs that explain the predictions, table", "motifs_table", False),
    "explain/de_novo.tsv": ("explanation", "Motifs found without known motifs, table", "de_novo_table", False),
    "design/truth.tsv": ("design", "Promised and true expression of each search", "truth_table", True),
    "design/designs.tsv": ("design", "Designs", "designs_table", False),
    "factors.tsv": ("factors", "Parameters of all factors", "factors", False),
    "cost.tsv": ("cost", "Cost per rule", "cost", False),
}
PACKAGES = ("gpraflow", "snakemake", "polars", "numpy", "scipy", "matplotlib", "jinja2", "docutils")  # used by the report and figures


# The page


def sections(
    figures: Sequence[str],
    tables: Sequence[str],
    captions: Mapping[str, str],
    *,
    results: str | os.PathLike,
    titles: Mapping[str, str],
    explained: str,
    config: Mapping[str, Any],
    message: Callable[[str, str, str], str] = lambda kind, dataset, title: title,
    predictions: Mapping[str, str] | None = None,
) -> list[Section]:
    """Return the sections of the page with their figures and tables; empty sections are omitted.

    Parameters
    ----------
    figures, tables
        SVG files in ``results``/figures, and TSV files in ``results``.
    captions
        Name -> caption in reStructuredText.
    results
        Folder of the run.
    titles
        Data set -> title.
    explained
        Data set used for model interpretation; empty if none.
    config
        Config of the run.
    message
        Text alternative of a figure, from its kind, data set and title.
    predictions
        Data set -> file of its predictions, for the interactive figure of single promoters; none by default.
    """
    renamed = {} if configs.from_reads(config) else WITHOUT_READS
    by_name = {name: Section(name, renamed.get(title, title)) for name, title in SECTIONS.items()}
    values = {
        "unit": configs.unit(config),
        "bootstrap": config["evaluation"]["bootstrap"],
        "max_edits": config["neighbours"]["max_edits"],
        "config": config,
    }
    drawn, run = Path(results) / "figures", config["run"]
    for path in sorted(figures, key=lambda path: _place(path, results, titles)):
        kind, dataset, readout = _parts(path, drawn, FIGURES)
        section, title, text = FIGURES[kind]
        title = conditions.shown(renamed.get(title, title) or titles[dataset], readout)
        of_figure = {"title": titles.get(dataset or conditions.column(explained, readout), "")}
        if section == "assay":  # drawn before the transform
            of_figure["unit"] = configs.input_unit(config)
        below = caption(captions[text], **values | of_figure)
        made = figure(path, folder=drawn, run=run, title=title, caption=below, message=message(kind, dataset, title))
        if kind == "predictions" and predictions and dataset in predictions:
            made = dataclasses.replace(made, points=scatter.points(predictions[dataset], dataset))
        by_name[section].figures.append(made)
    for path in sorted(tables, key=lambda path: list(TABLES).index(_parts(path, results, TABLES)[0])):
        kind, _, readout = _parts(path, results, TABLES)
        section, title, text, unfolded = TABLES[kind]
        title = conditions.shown(title, readout)
        above = caption(captions[text], **values)
        shown = table(path, folder=results, run=run, title=title, caption=above, unfolded=unfolded)
        if shown.total:
            by_name[section].tables.append(shown)
    return [section for section in by_name.values() if section.figures or section.tables]


def _parts(path: str, folder: str | os.PathLike, known: Iterable[str]) -> tuple[str, str, str]:
    """Return kind of a figure or table, and its data set or its condition, which is the name of the folder that it lies in."""
    name = Path(path).relative_to(folder)
    name = name.with_suffix("") if name.suffix == ".svg" else name
    of_condition = (name.parent.parent / name.name).as_posix()
    if name.as_posix() in known:
        return name.as_posix(), "", ""
    if of_condition in known:
        return of_condition, "", name.parent.name
    kind, _, dataset = name.as_posix().partition("/")
    return kind, dataset, ""


def _place(path: str, results: str | os.PathLike, titles: Mapping[str, str]) -> tuple[int, int]:
    kind, dataset, _ = _parts(path, Path(results) / "figures", FIGURES)
    return list(FIGURES).index(kind), list(titles).index(dataset) if dataset else 0


def _start(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the three files of a run that most users want."""
    table = "expression/promoters.parquet" if configs.from_counts(config) else "tables/library.parquet"
    made = "expression of each promoter, estimated from counts" if configs.from_counts(config) else "the promoters that were used"
    return [
        {"path": "model/", "text": "the trained model; model_card.md beside it says what it is for, and what not"},
        {"path": "metrics.tsv", "text": "all scores with 95 % intervals"},
        {"path": table, "text": f"{made} (Parquet: polars.read_parquet or pandas.read_parquet)"},
    ]


def page(
    *,
    results: str | os.PathLike,
    figures: Sequence[str],
    tables: Sequence[str],
    captions: Sequence[str],
    template: str | os.PathLike,
    config: Mapping[str, Any],
    sources: Sequence[Mapping[str, str]],
    datasets: Sequence[str],
    independent: Sequence[str],
    explained: str,
    foreign_motifs: Sequence[str] = (),
    predictions: Sequence[str] = (),
    now: datetime.datetime,
) -> str:
    """Return the report of a run as HTML.

    Parameters
    ----------
    results
        Folder of the run; ``metrics.json`` and ``model/model.json`` are read from it.
    figures, tables, captions
        Files: SVG (with a PNG in the same folder), TSV, reStructuredText.
    template
        Jinja template of the page, in the same folder as ``report.css`` and ``report.js``.
    config
        Complete config of the run.
    sources
        Input files with their digests (`findings.digests`).
    datasets, independent
        Names of all scored data sets, in order, and of the independent data sets.
    explained
        Data set used for model interpretation; empty if none.
    foreign_motifs
        Keys whose motifs are a built-in set of another organism than the scaffold's.
    predictions
        Predictions of data sets (Parquet), for interactive figures of single promoters.
    now
        Time shown on the page.

    Raises
    ------
    InputError
        If a table or figure is corrupt.
    """
    import jinja2
    import yaml

    results, folder = Path(results), Path(template).parent
    metrics, about = read_json(results / "metrics.json"), read_about(results / "model/model.json")
    scored, max_edits = {name: metrics["datasets"][name] for name in datasets}, config["neighbours"]["max_edits"]
    titles = {name: of["title"] for name, of in scored.items()}
    simulated = any(Path(source["file"]).is_relative_to(results / "simulated") for source in sources)
    rows = {Path(path).relative_to(results).as_posix(): read_table(path) for path in tables}
    texts = {Path(path).stem: Path(path).read_text(encoding="utf-8") for path in captions}
    near_by_design = config["split"]["names"] if config["split"]["method"] == "positions" else ()
    bars = accounting.retained(ledger.load([results / "ledger.tsv"]), config["split"]["names"], independent)
    commit = provenance.commit()
    script = (folder / "report.js").read_text(encoding="utf-8")
    columns, cells = shape(sources)

    def message(kind: str, dataset: str, title: str) -> str:
        return alternative(kind, dataset, title, rows, metrics["datasets"], about)

    context = {
        "run": config["run"],
        "now": now.strftime("%Y-%m-%d %H:%M UTC"),
        "warnings": warnings_of(rows, about, titles, max_edits, near_by_design, foreign_motifs),
        "verdicts": Counter(row["verdict"] for row in rows.get("checks.tsv", ())),
        "notes": [
            *noted(rows.get("checks.tsv", ()), titles),
            *notes_of(scored, about, commit=commit, covered=bool(rows.get("intervals.tsv")), simulated=simulated),
        ],
        "cards": [
            card(name, of, rows.get("published_models.tsv", ()), rows.get("comparison/scores.tsv", ()), config["run"])
            for name, of in scored.items()
        ],
        "start": _start(config),
        "facts": facts(bars, about, rows.get("cost.tsv", ())),
        "assumptions": assumptions(
            config,
            replicates=any(Path(path).stem == "replicates" for path in figures),
            explained=bool(explained),
            foreign_motifs=foreign_motifs,
        ),
        "sections": sections(
            figures,
            tables,
            texts,
            results=results,
            titles=titles,
            explained=explained,
            config=config,
            message=message,
            predictions={Path(path).name.removesuffix(".parquet"): path for path in predictions},
        ),
        "config": config,
        "from_bins": configs.from_bins(config),
        "from_dna_rna": configs.from_dna_rna(config),
        "from_reads": configs.from_reads(config),
        "unit": configs.unit(config),
        "config_text": yaml.safe_dump(without_secrets(config), sort_keys=False, allow_unicode=True, width=120),
        "about": about,
        "simulated": simulated,
        "commit": commit,
        "versions": provenance.versions(PACKAGES),
        "data_columns": columns,
        "data_rows": cells,
        "most_rows": MOST_ROWS,
        "style": (folder / "report.css").read_text(encoding="utf-8"),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(Path(template).name).render(context)
