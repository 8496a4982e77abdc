"""Text alternatives of figures: what a figure says, with numbers, from the tables of the run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpraflow.report.parts import interval, number, of_95

Rows = Sequence[Mapping[str, str]]


def alternative(
    kind: str, dataset: str, title: str, tables: Mapping[str, Rows], metrics: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    """Return the message of a figure.

    Parameters
    ----------
    kind, dataset
        Figure, a key of `page.FIGURES`, and the data set that it shows; empty if it is of the run.
    title
        Title of the figure.
    tables
        Path of a table in ``results/<run>`` -> its rows, as text.
    metrics
        ``datasets`` of ``metrics.json``.
    about
        Content of ``model.json``.
    """
    message = _message(kind, dataset, tables, metrics, about)
    return f"{title}: {message}." if message else title


def _message(kind: str, dataset: str, tables: Mapping[str, Rows], metrics: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the message without title and full stop; empty if the run has no numbers for it."""
    if kind.startswith("assay/"):
        return _of_assay(kind, tables.get("ledger.tsv", ()))
    if kind == "scores":
        return "Pearson r " + "; ".join(f"{of['title']} {interval(of)}, n = {of['n']:,}" for of in metrics.values())
    if kind == "predictions" and dataset in metrics:
        of = metrics[dataset]
        found = f"predicted against measured expression of {of['n']:,} promoters; r {interval(of)}"
        return found + (f", slope {interval(of, 'slope')}" if of.get("slope") is not None else "")
    if kind == "training":
        return f"epoch {about['best_epoch']} of {about['epochs']} was kept, with r {number(about['val_r'])} on the val split"
    if kind == "cost":
        rows = sorted(tables.get("cost.tsv", ()), key=lambda row: -float(row["core_hours"]))
        total = sum(float(row["core_hours"]) for row in rows)
        most = ", ".join(f"{row['rule']} {float(row['core_hours']):.3g}" for row in rows[:3])
        return f"{total:.3g} core-hours in all; most in {most}" if rows else ""
    make = {
        "ledger": _of_ledger,
        "leak/distance": _of_distance,
        "leak/demonstration": _of_demonstration,
        "intervals": _of_intervals,
        "explain/motifs": _of_motifs,
        "explain/logos": _of_motifs,
        "explain/de_novo": _of_de_novo,
        "design/designs": _of_designs,
        "design/truth": _of_designs,
        "factor_positions": _of_factor_positions,
        "factor_motifs": _of_factor_motifs,
    }
    if kind == "subgroups":
        return _of_subgroups([row for row in tables.get("subgroups.tsv", ()) if row["dataset"] == dataset])
    if kind in make:
        return make[kind](tables)
    if kind == "factors":  # a row for each ensemble member
        number_of = len({(row["factor"], row["matrix_id"]) for row in tables.get("factors.tsv", ())})
        return f"{number_of:,} factors" if number_of else ""
    lengths = {
        "comparison": ("comparison/scores.tsv", "scores of runs and published models"),
        "joined": ("joined.tsv", "tables, each with its scale and offset"),
    }
    name, what = lengths.get(kind, ("", ""))
    return f"{len(tables[name]):,} {what}" if tables.get(name) else ""


def _sum(rows: Rows, rule: str, kind: str) -> int:
    return sum(int(row["rows"]) for row in rows if row["rule"] == rule and row["kind"] == kind)


def _of_assay(kind: str, ledger: Rows) -> str:
    """Return what the ledger says of reads and promoters, which the figures of the assay show in detail."""
    reads, bins = _sum(ledger, "count_reads", "in"), len({row["dataset"] for row in ledger if row["rule"] == "count_reads"})
    counted, distinct = _sum(ledger, "count_reads", "out"), _sum(ledger, "merge_counts", "out")
    estimated = _sum(ledger, "estimate_expression", "out")
    if kind in ("assay/yield", "assay/distinct", "assay/rarefaction", "assay/inserts") and reads:
        found = f"{counted:,} of {reads:,} reads in {bins} bins were counted ({counted / reads:.1%})"
        lost: dict[str, int] = {}
        for row in ledger:
            if row["rule"] == "count_reads" and row["kind"] == "dropped":
                lost[row["what"]] = lost.get(row["what"], 0) + int(row["rows"])
        if kind == "assay/yield" and any(lost.values()):
            most = max(lost, key=lambda reason: lost[reason])
            return f"{found}; most were lost for: {most} ({lost[most]:,})"
        return found
    if kind == "assay/depth" and reads and estimated:
        return f"{counted / estimated:.1f} reads per promoter on average, {estimated:,} promoters"
    return f"{estimated:,} promoters with an estimate of expression" if estimated else f"{distinct:,} distinct inserts" if distinct else ""


def _of_ledger(tables: Mapping[str, Rows]) -> str:
    rows = tables.get("ledger.tsv", ())
    kept = [(row["dataset"], int(row["rows"])) for row in rows if row["rule"] == "shard_tfrecords" and row["kind"] == "in"]
    lost = [row for row in rows if row["kind"] == "dropped" and int(row["rows"])]
    most = max(lost, key=lambda row: int(row["rows"]), default=None)
    found = ", ".join(f"{name} {count:,}" for name, count in kept)
    if most:
        found += f"; the largest loss is {int(most['rows']):,} in {most['rule']} ({most['what']})"
    return f"promoters used: {found}" if kept else found.removeprefix("; ")


def _of_distance(tables: Mapping[str, Rows]) -> str:
    rows = tables.get("leak/distances.tsv", ())
    near = "within the distance of near-duplicates"
    parts = [
        f"{row['dataset']} median {float(row['median']):g} edits to the nearest training promoter, {int(row['within_max_edits']):,} of "
        f"{int(row['n']):,} {near}"
        for row in rows
        if row.get("median")
    ]
    return "; ".join(parts)


def _of_demonstration(tables: Mapping[str, Rows]) -> str:
    rows = [row for row in tables.get("leak/demonstration.tsv", ()) if row["r"]]
    return "; ".join(f"{row['condition']} r {float(row['r']):.3f}" for row in rows)


def _of_intervals(tables: Mapping[str, Rows]) -> str:
    rows = of_95(tables.get("intervals.tsv", ()))
    parts = [f"{row['dataset']} {100 * float(row['inside']):.1f} % (n = {int(row['n']):,})" for row in rows]
    return f"95 % intervals contain the measurement of {'; '.join(parts)}" if rows else ""


def _of_motifs(tables: Mapping[str, Rows]) -> str:
    return _explained(tables, "explain/motifs.tsv", "known motifs", "factor")


def _of_de_novo(tables: Mapping[str, Rows]) -> str:
    return _explained(tables, "explain/de_novo.tsv", "motifs found without known motifs", "consensus")


def _explained(tables: Mapping[str, Rows], path: str, what: str, name: str) -> str:
    rows = tables.get(path, ())
    parts = [f"{row[name]} (activity {float(row['activity']):+.2g})" for row in rows[:3]]
    if not rows:
        return f"0 {what} explain the effects" if path in tables else ""
    return f"{len(rows)} {what} explain {100 * float(rows[-1]['explained']):.0f} % of the effects; first {', '.join(parts)}"


def _means(rows: Rows, values: Callable[[Mapping[str, str]], float]) -> dict[tuple[str, str], float]:
    """Return the mean over ensemble members of a value of each factor with a known motif, by name and matrix."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["matrix_id"] != "-":
            found.setdefault((row["factor"], row["matrix_id"]), []).append(values(row))
    return {factor: sum(each) / len(each) for factor, each in found.items()}


def _of_factor_positions(tables: Mapping[str, Rows]) -> str:
    ranges = _means(tables.get("factors.tsv", ()), lambda row: float(row["position_activity_max"]) - float(row["position_activity_min"]))
    if not ranges:
        return ""
    (name, _), value = max(ranges.items(), key=lambda each: each[1])
    return f"activity of {len(ranges)} factors; that of {name} differs most between positions and strands (by {value:.2g})"


def _of_factor_motifs(tables: Mapping[str, Rows]) -> str:
    activities = {matrix: value for (_, matrix), value in _means(tables.get("factors.tsv", ()), lambda row: float(row["activity"])).items()}
    motifs = [row for row in tables.get("explain/motifs.tsv", ()) if row["matrix"] in activities]
    agree = sum(float(row["activity"]) * activities[row["matrix"]] > 0 for row in motifs)
    return f"{agree} of {len(motifs)} motifs have the sign of their factor" if motifs else ""


def _of_designs(tables: Mapping[str, Rows]) -> str:
    if rows := tables.get("design/truth.tsv", ()):
        parts = [
            f"{row['search']}, {row['objective']}: promised {float(row['promised']):.3g}, true {float(row['true']):.3g}" for row in rows[:4]
        ]
        return "; ".join(parts)
    designs = tables.get("design/designs.tsv", ())
    return f"{len(designs):,} designs" if designs else ""


def _of_subgroups(rows: Rows) -> str:
    scored = [row for row in rows if row["r"]]
    if not scored:
        return ""
    least, most = (choose(scored, key=lambda row: float(row["r"])) for choose in (min, max))
    parts = [f"{row['by']} {row['part']} (r {float(row['r']):.3f}, n = {int(row['n']):,})" for row in (least, most)]
    return f"{len(scored)} subgroups; lowest r in {parts[0]}, highest in {parts[1]}"
