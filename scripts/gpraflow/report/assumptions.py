"""What a run assumes about the assay, in words, each with the key that says otherwise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpraflow.core import config as configs


@dataclass(frozen=True)
class Assumption:
    """A statement about the assay, and the key of the config that it follows from, with its value."""

    text: str
    key: str
    value: str


_PRIORS = {
    "library": "Promoters resemble the library: those with few reads are shrunk to its mean.",
    "weak": "Nothing is known of a promoter before its reads, so that estimates from few reads are extreme.",
}


def assumptions(config: Mapping[str, Any], *, replicates: bool, explained: bool) -> list[Assumption]:
    """Return what a run assumes about its assay.

    Parameters
    ----------
    config
        Complete config of the run.
    replicates
        True if the sample sheet has several replicates.
    explained
        True if predictions are explained in this run.
    """
    if configs.from_dna_rna(config):
        of_input = _of_dna_rna(config, replicates)
    else:
        of_input = _of_bins(config, replicates) if configs.from_bins(config) else _of_table(config)
    lines = [*of_input, *_of_all(config)]
    if explained:
        motifs = {"": "No known motifs are searched for.", "jaspar2026_yeast": "Factors are those of yeast."}
        lines.append(("explain.motifs", motifs.get(config["explain"]["motifs"], "Factors are those of the motif file.")))
    return [Assumption(text, key, _value(config, key)) for key, text in lines]


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
        yield "counts.prior", _PRIORS[counts["prior"]]
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


def _of_dna_rna(config: Mapping[str, Any], replicates: bool) -> Iterator[tuple[str, str]]:
    counts = config["counts"]
    yield "counts.kind", "RNA is in proportion to DNA, and expression is log2(RNA/DNA); 0 is the whole library."
    yield (
        "counts.minimum_dna",
        "Barcodes are listed whether or not they have RNA; a table without barcodes of 0 RNA overestimates weak promoters."
        if counts["minimum_dna"]
        else "Barcodes without DNA were in the cells, and are listed whether or not they have RNA.",
    )
    yield (
        "counts.barcode_dispersion",
        "Barcodes of a promoter vary as much in all promoters, as estimated from those with several barcodes."
        if counts["barcode_dispersion"] == "auto"
        else "Barcodes of a promoter vary as much as this dispersion says.",
    )
    yield (
        "counts.empty",
        "An empty count is a barcode that was not seen: 0." if counts["empty"] == "zero" else "Every count is in the table, zeros too.",
    )
    yield "counts.prior", _PRIORS[counts["prior"]]
    yield (
        "counts.sample_sheet",
        "Replicates measure the same expression, and differ as much in all promoters."
        if replicates
        else "There is one replicate: the variation between replicates is not known, and not part of the errors.",
    )


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
