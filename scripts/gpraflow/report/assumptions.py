"""What a run assumes about the assay, in words, each with the key that says otherwise."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpraflow.core import config as configs
from gpraflow.core import resources
from gpraflow.models import registry


@dataclass(frozen=True)
class Assumption:
    """A statement about the assay, and the key of the config that it follows from, with its value."""

    text: str
    key: str
    value: str


def assumptions(config: Mapping[str, Any], *, replicates: bool, explained: bool, foreign_motifs: Collection[str] = ()) -> list[Assumption]:
    """Return what a run assumes about its assay.

    Parameters
    ----------
    config
        Complete config of the run.
    replicates
        True if the sample sheet has several replicates.
    explained
        True if predictions are explained in this run.
    foreign_motifs
        Keys whose motifs are a built-in set of another organism than the scaffold's (`Plan.foreign_motifs`).
    """
    lines = [*(_of_bins(config, replicates) if configs.from_bins(config) else _of_table(config)), *_of_all(config)]
    if registry.describe(config["model"]["name"]).motifs:
        lines.append(("model.motifs", _of_motifs(config, "model", "The model starts from no known motifs.", foreign_motifs)))
    if explained:
        lines.append(("explain.motifs", _of_motifs(config, "explain", "No known motifs are searched for.", foreign_motifs)))
    return [Assumption(text, key, _value(config, key)) for key, text in lines]


def _of_motifs(config: Mapping[str, Any], section: str, without: str, foreign: Collection[str]) -> str:
    name, scaffold = config[section]["motifs"], config["scaffold"]["name"]
    organism = resources.MOTIF_ORGANISMS.get(name, "")
    if f"{section}.motifs" in foreign:
        return f"Factors are those of {organism}, although {scaffold} is not a scaffold of {organism}."
    return without if not name else f"Factors are those of {organism or 'the motif file'}."


def _of_bins(config: Mapping[str, Any], replicates: bool) -> Iterator[tuple[str, str]]:
    counts = config["counts"]
    likelihood = counts["method"] == "maximum_likelihood"
    yield (
        "counts.method",
        "Expression of a promoter's cells is log-normal." if likelihood else "Expression is the mean bin, so that bins are fine enough.",
    )
    yield (
        "counts.scale",
        "Bins are numbered; a step from one to the next means the same throughout."
        if counts["scale"] == "bin"
        else "The gates are right: expression is in their unit.",
    )
    yield (
        "counts.cells",
        "One read counts as one cell, since cell counts per bin are unknown: all bins were sequenced to the same depth per cell."
        if counts["cells"] == "reads"
        else "Cell counts of bins are right, and in proportion to the population in the gates unless the sample sheet gives shares.",
    )
    yield (
        "counts.read_dispersion",
        "The reads of a cell vary as much as the residuals of reads say."
        if counts["read_dispersion"] == "auto"
        else "The reads of a cell vary as much as this dispersion says.",
    )
    if likelihood:
        yield (
            "counts.prior",
            "Promoters resemble the library: those with few reads are shrunk to its mean."
            if counts["prior"] == "library"
            else "Nothing is known of a promoter before its reads, so that estimates from few reads are extreme.",
        )
    yield (
        "counts.singletons",
        {
            "keep": "Promoters observed in one bin only are as good as others.",
            "downweight": "Promoters observed in one bin only are less reliable, and weigh less in training.",
            "drop": "Promoters observed in one bin only are not reliable, and were dropped.",
        }[counts["singletons"]],
    )
    if replicates:
        yield "counts.sample_sheet", "Replicates measure the same expression, and are combined in one estimate."


def _of_table(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "input.table", "Expression is taken from the table as it is, on the scale that it has."
    yield (
        "input.duplicates",
        {
            "error": "Each sequence was measured once, or with one result.",
            "mean": "Repeated sequences measure the same expression: their mean was taken.",
            "first": "Of repeated sequences the first row is right.",
        }[config["input"]["duplicates"]],
    )


def _of_all(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "input.transform",
        {
            "none": "Equal differences in expression matter equally, at low and at high expression.",
            "log2": "Equal ratios of expression matter equally: training and scores use its logarithm.",
            "rank_normal": "Only the order of expression matters: training and scores use normal scores of ranks.",
        }[config["input"]["transform"]],
    )
    yield (
        "assay.strand",
        {
            "both": "Elements act on both strands, and differently in the two orientations.",
            "one": "Elements act on one strand only.",
            "unknown": "Whether elements act on one strand or on both is unknown.",
        }[config["assay"]["strand"]],
    )
    training = config["training"]
    for key in ("rc_augmentation", "rc_averaging"):
        if training[key]:
            yield f"training.{key}", "A promoter and its reverse complement have the same expression."
    yield (
        "training.sample_weight",
        {
            "none": "All promoters are measured equally well, and weigh the same in training.",
            "weight": "The weights of the table say how well promoters are measured.",
            "n_reads": "Promoters with more reads are measured better, and weigh more in training.",
        }[training["sample_weight"]],
    )
    scaffold = config["scaffold"]
    flanks = "no constant flanks" if scaffold["name"] == "none" else f"the flanks of {scaffold['name']}"
    yield "scaffold.name", f"Promoters have {flanks}, and what lies beyond {scaffold['length']} bp does not matter."
    edits = config["neighbours"]["max_edits"]
    yield "neighbours.max_edits", f"Promoters more than {edits} edits apart, on either strand, are independent of each other."


def _value(config: Mapping[str, Any], key: str) -> str:
    """Return the value of a key as YAML has it."""
    section, _, name = key.partition(".")
    value = config[section][name]
    return str(value).lower() if isinstance(value, bool) else '""' if value == "" else str(value)
