"""What a run assumes about the assay, as sentences, each with the config key that changes it."""

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


_PRIORS = {
    "library": "A promoter resembles the library: estimates from few reads are shrunk to the library's mean.",
    "weak": "Nothing is known about a promoter before its reads: estimates from few reads can be extreme.",
}


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
    if configs.from_dna_rna(config):
        of_input = _of_dna_rna(config, replicates)
    else:
        of_input = _of_bins(config, replicates) if configs.from_bins(config) else _of_table(config)
    lines = [*of_input, *_of_all(config)]
    if registry.describe(config["model"]["name"]).motifs:
        lines.append(("model.motifs", _of_motifs(config, "model", "The model starts from no known motifs.", foreign_motifs)))
    if explained:
        lines.append(("explain.motifs", _of_motifs(config, "explain", "No known motifs are searched for.", foreign_motifs)))
    return [Assumption(text, key, _value(config, key)) for key, text in lines]


def _of_motifs(config: Mapping[str, Any], section: str, without: str, foreign: Collection[str]) -> str:
    name, scaffold = config[section]["motifs"], config["scaffold"]["name"]
    organism = resources.MOTIF_ORGANISMS.get(name, "")
    if f"{section}.motifs" in foreign:
        return f"Transcription factors are those of {organism}, although {scaffold} is not a scaffold of {organism}."
    return without if not name else f"Transcription factors are those of {organism or 'the motif file'}."


_OVERLAPS = {
    "divided": "Cells of several gates were divided among their bins, equally among those that were still being sorted.",
    "repeated": "Bins were sorted one after the other, each from the whole population.",
    "discarded": "Cells of several gates were discarded.",
}


def _of_bins(config: Mapping[str, Any], replicates: bool) -> Iterator[tuple[str, str]]:
    counts = config["counts"]
    likelihood = counts["method"] == "maximum_likelihood"
    yield (
        "counts.method",
        "Expression varies log-normally between the cells of a promoter."
        if likelihood
        else "The mean bin measures expression: bins are narrow compared with differences between promoters.",
    )
    yield (
        "counts.scale",
        "Expression is in numbers of bins: all bins are equally wide."
        if counts["scale"] == "bin"
        else "The gates of the sample sheet are correct: expression is in their unit. "
        "If they are quantiles, the signal of the population is normal.",
    )
    if counts["overlap"] != "error":
        yield "counts.overlap", _OVERLAPS[counts["overlap"]]
    yield (
        "counts.cells",
        "Cell counts per bin are unknown, so that one read counts as one cell: all bins were sequenced to the same depth per cell."
        if counts["cells"] == "reads"
        else "Cell counts per bin are correct, and proportional to the population in each gate unless the sample sheet gives shares.",
    )
    yield (
        "counts.read_dispersion",
        "The number of reads per cell varies as estimated from the reads."
        if counts["read_dispersion"] == "auto"
        else "The number of reads per cell varies with this dispersion.",
    )
    if likelihood:
        yield "counts.prior", _PRIORS[counts["prior"]]
    yield (
        "counts.singletons",
        {
            "keep": "Promoters observed in one bin only are as reliable as others.",
            "downweight": "Promoters observed in one bin only are less reliable, and have less weight in training.",
            "drop": "Promoters observed in one bin only are unreliable, and were dropped.",
        }[counts["singletons"]],
    )
    if replicates:
        yield "counts.sample_sheet", "Replicates measure the same expression, and are combined into one estimate."


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
    if config["input"]["tables"]:
        yield (
            "input.join",
            {
                "shared": "The tables measure one condition, and differ only by scale, offset and error: shared promoters give both.",
                "distribution": "The tables are random draws of one library, whose expression has one mean and standard deviation.",
                "none": "The tables have one scale.",
            }[config["input"]["join"]],
        )
    else:
        yield "input.table", "Expression in the table is correct, and is used on its own scale."
    yield (
        "input.duplicates",
        {
            "error": "Each sequence has one measured expression.",
            "mean": "Rows of the same sequence measure the same expression: their mean was used.",
            "first": "Of several rows of the same sequence, the first is correct.",
        }[config["input"]["duplicates"]],
    )


def _of_all(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "input.transform",
        {
            "none": "Equal differences in expression are equally important at low and at high expression.",
            "log2": "Equal fold changes of expression are equally important: training and scores use log2 expression.",
            "rank_normal": "Only the rank order of expression is important: training and scores use normal scores of ranks.",
        }[config["input"]["transform"]],
    )
    yield (
        "assay.strand",
        {
            "both": "Regulatory elements act in both orientations, but not equally.",
            "one": "Regulatory elements act in one orientation only.",
            "unknown": "It is unknown whether regulatory elements act in one orientation or in both.",
        }[config["assay"]["strand"]],
    )
    training = config["training"]
    for key in ("rc_augmentation", "rc_averaging"):
        if training[key]:
            yield f"training.{key}", "A promoter and its reverse complement have the same expression."
    yield (
        "training.sample_weight",
        {
            "none": "All promoters were measured equally well, and have equal weight in training.",
            "weight": "The weights in the table reflect how well promoters were measured.",
            "n_reads": "Promoters with more reads were measured better, and have more weight in training.",
        }[training["sample_weight"]],
    )
    scaffold = config["scaffold"]
    flanks = "no constant flanks" if scaffold["name"] == "none" else f"the flanks of {scaffold['name']}"
    yield "scaffold.name", f"Promoters have {flanks}, and sequence beyond {scaffold['length']} bp does not affect expression."
    edits = config["neighbours"]["max_edits"]
    yield "neighbours.max_edits", f"Promoters that differ by more than {edits} edits, on either strand, are unrelated."


def _value(config: Mapping[str, Any], key: str) -> str:
    """Return the value of a key as written in YAML."""
    section, _, name = key.partition(".")
    value = config[section][name]
    return str(value).lower() if isinstance(value, bool) else '""' if value == "" else str(value)
