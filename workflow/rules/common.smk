import os
import re

from gpraflow.app.plan import LIBRARY, SIMULATED
from gpraflow.core import conditions, dependencies, limits, provenance, resources
from gpraflow.core.urls import SecretUrl


wildcard_constraints:
    trial=r"\d+",
    run=re.escape(PLAN.config["run"]),
    split="|".join(PLAN.config["split"]["names"]),
    dataset="|".join(map(re.escape, [*PLAN.sources, *PLAN.datasets])),
    scored="|".join(map(re.escape, PLAN.scored)),
    # With several conditions a slash and the condition or difference; empty with one.
    folder="|".join(map(re.escape, PLAN.folders(filter(None, PLAN.readouts)))) or "()",
    joined=LIBRARY if PLAN.tables else "there/is/nothing/to/join",
    column="|".join(map(re.escape, PLAN.columns)) or "there/are/no/bins",
    public="|".join(re.escape(source["dataset"]) for source in PLAN.public.values())
    or "there/are/no/public/files",
    file="|".join(re.escape(source["file"]) for source in PLAN.public.values())
    or "there/are/no/public/files",


def code_of(rule, *modules):
    """Return a fingerprint of the code behind a rule's result; as a param it reruns the rule when that code changes.

    It is a function, so that the process of a job, which reads the Snakefile again, computes its own rule's only.
    """
    adapter = resources.path_of(f"{rule}.py", "adapters")
    return lambda wildcards: dependencies.fingerprint(adapter, *modules)


def code_with_model(rule):
    """Return the fingerprint of a rule that builds or loads the model."""
    return code_of(rule, PLAN.architecture.module)


def memory_of(rule, least):
    """Return the memory in MB to ask for, `least` or a quarter more than the promoter table needs, of some 30 bytes a promoter."""
    return lambda wildcards, input: max(
        least,
        limits.needed(rule, os.path.getsize(input.promoters) // 30) * 5 // 4_000_000,
    )


def own_files(*inputs):
    """Return a param with the identity of each input that no rule made; it reruns a job if such a file was changed but looks old.

    The inputs are paths, or functions of wildcards. Snakemake ignores changes of params that are functions of `input`.
    """

    def identities(wildcards):
        results = f"results/{wildcards.run}/"
        found = [each(wildcards) if callable(each) else each for each in inputs]
        paths = [
            path
            for each in found
            for path in ([each] if isinstance(each, str) else each)
        ]
        paths = [path.replace("{run}", wildcards.run) for path in map(str, paths)]
        return {
            path: provenance.identity(path) for path in paths if results not in path
        }

    return identities


def file_or_receipt(wildcards, name, path):
    """Return a file or, for a file of a public data set, the receipt of its download."""
    if name in PLAN.public:
        source = PLAN.public[name]
        # The param `fetched` determines the content: a receipt that is written again, such as with another fetch.timeout, reruns nothing.
        return ancient(
            f"results/{wildcards.run}/fetched/{source['dataset']}/{source['file']}.json"
        )
    return PLAN.fill(path)


def path_of_table(wildcards):
    """Return the source file of a promoter table, or its receipt."""
    table = PLAN.table_of(wildcards.dataset)["table"]
    return file_or_receipt(wildcards, wildcards.dataset, table)


def transform_of_library(wildcards):
    """Return the transform that was fitted to the library, for the other data sets."""
    if wildcards.dataset in PLAN.sources or PLAN.transform["name"] != "rank_normal":
        return []
    return f"results/{wildcards.run}/tables/{LIBRARY}.transform.json"


def readout_of(wildcards):
    """Return the condition or difference of a folder; empty with one condition."""
    return wildcards.folder.removeprefix("/")


def explained_predictions(wildcards):
    """Return the predictions to explain."""
    explained = conditions.column(PLAN.explained, readout_of(wildcards))
    return f"results/{wildcards.run}/predictions/{explained}.parquet"


def title_of_explained(wildcards):
    """Return the title of the explained data set."""
    explained = conditions.column(PLAN.explained, readout_of(wildcards))
    return PLAN.title_of(explained) if PLAN.explained else ""


def dream_inputs(wildcards):
    """Return the inputs of score_dream: predictions and files of the DREAM challenge, or their receipts."""
    files = {
        role: file_or_receipt(wildcards, name, path) if path else []
        for role, (name, path) in PLAN.dream_files().items()
    }
    predictions = f"results/{wildcards.run}/predictions/{PLAN.dream}.parquet"
    return {"predictions": predictions, **files}


def public_source(wildcards):
    """Return the registry's entry of a public file."""
    return next(
        source
        for source in PLAN.public.values()
        if (source["dataset"], source["file"]) == (wildcards.public, wildcards.file)
    )


def reads_to_count(wildcards):
    """Return the reads of a bin to count: the FASTQ files (first mates if reads are paired), or pairs after merging."""
    if PLAN.merges_pairs(wildcards.column):
        return [f"results/{wildcards.run}/merged/{wildcards.column}.fastq.gz"]
    return PLAN.files_of_bin(wildcards.column, "reads")


def mates_to_count(wildcards):
    """Return the second mates of a bin, if pairs are counted without merging."""
    if PLAN.merges_pairs(wildcards.column):
        return []
    return PLAN.files_of_bin(wildcards.column, "reads_2")


def quality_offset_of(wildcards):
    """Return the Phred offset of the reads to count; merged pairs always have Phred+33."""
    merged = PLAN.merges_pairs(wildcards.column)
    return 33 if merged else PLAN.config["reads"]["quality_offset"]


def ledgers_of_reads(wildcards):
    """Return the ledgers of the steps between reads and counts per bin."""
    return [
        f"results/{wildcards.run}/ledger/{rule}.{column}.tsv"
        for column in PLAN.columns
        for rule in ["merge_pairs", "count_reads"]
        if rule == "count_reads" or PLAN.merges_pairs(column)
    ]


def ledgers_of_run(wildcards):
    """Return the ledgers of all steps, in the order of the steps."""
    steps = [
        *(["merge_counts.library"] if PLAN.from_reads else []),
        *(["estimate_expression.library"] if PLAN.from_counts else []),
        *[f"ingest_table.{dataset}" for dataset in [*PLAN.sources, *PLAN.independent]],
        *([f"join_tables.{LIBRARY}"] if PLAN.tables else []),
        "group_neighbours.library",
        "split_promoters.library",
        *[f"shard_tfrecords.{split}" for split in PLAN.config["split"]["names"]],
        *[f"predict_promoters.{dataset}" for dataset in PLAN.datasets],
    ]
    return [
        *(ledgers_of_reads(wildcards) if PLAN.from_reads else []),
        *[f"results/{wildcards.run}/ledger/{step}.tsv" for step in steps],
    ]


def labelled(figure):
    """Return the labels of a figure in Snakemake's report; with several conditions also the folder of its condition."""
    return {"figure": figure} | ({"condition": "{folder}"} if PLAN.conditions else {})


def figures_of_kind():
    """Return the outputs of the figure that depends on the kind of counts: distributions over bins, or DNA and RNA counts."""
    name, title = (
        ("counts", "DNA and RNA counts")
        if PLAN.from_dna_rna
        else ("profiles", "distributions over bins")
    )
    return {
        f"{name}_png": f"results/{{run}}/figures/assay{{folder}}/{name}.png",
        f"{name}_svg": report(
            f"results/{{run}}/figures/assay{{folder}}/{name}.svg",
            caption=f"../report/{name}.rst",
            category="Assay",
            labels=labelled(f"7 {title}"),
        ),
    }


def replicate_figures():
    """Return the outputs of the figure of replicates, if there is more than one replicate."""
    if not PLAN.has_replicates:
        return {}
    return {
        "replicates_png": "results/{run}/figures/assay{folder}/replicates.png",
        "replicates_svg": report(
            "results/{run}/figures/assay{folder}/replicates.svg",
            caption="../report/replicates.rst",
            category="Assay",
            labels=labelled("8 replicates"),
        ),
    }


def motif_figures():
    """Return the outputs of the figure of motifs, if motifs are searched for."""
    if not PLAN.with_motifs:
        return {}
    return {
        "png": "results/{run}/figures/explain{folder}/motifs.png",
        "svg": report(
            "results/{run}/figures/explain{folder}/motifs.svg",
            caption="../report/motifs.rst",
            category="Model interpretation",
            labels=labelled("motifs"),
        ),
    }


def factor_motif_figures():
    """Return the outputs of the figure that compares factors with motifs, if motifs are searched for."""
    if not PLAN.motifs_beside_factors:
        return {}
    return {
        "motifs_png": "results/{run}/figures/factor_motifs.png",
        "motifs_svg": report(
            "results/{run}/figures/factor_motifs.svg",
            caption="../report/factor_motifs.rst",
            category="Factors",
            labels={"figure": "factors beside motifs"},
        ),
    }


def de_novo_figures():
    """Return the outputs of the figure of de novo motifs, if they are searched for."""
    if not PLAN.with_de_novo:
        return {}
    return {
        "de_novo_png": "results/{run}/figures/explain{folder}/de_novo.png",
        "de_novo_svg": report(
            "results/{run}/figures/explain{folder}/de_novo.svg",
            caption="../report/de_novo.rst",
            category="Model interpretation",
            labels=labelled("de novo motifs"),
        ),
    }


def de_novo_table(path):
    """Return the table of de novo motifs as part of the report, if they are searched for; it is empty otherwise."""
    if not PLAN.with_de_novo:
        return path
    return report(
        path,
        caption="../report/de_novo_table.rst",
        category="Model interpretation",
    )


def motif_table(path):
    """Return the table of motifs as part of the report, if motifs are searched for; it is empty otherwise."""
    if not PLAN.with_motifs:
        return path
    return report(
        path,
        caption="../report/motifs_table.rst",
        category="Model interpretation",
    )


def judged_files(by, plain=False):
    """Return the outputs that say how designs truly do, of the rule that this run uses; the other rule has names that nothing asks for."""
    folder = "design" if by == PLAN.judged else f"design/{by}"
    truth = f"results/{{run}}/{folder}/truth.tsv"
    marked = report(truth, caption="../report/truth_table.rst", category="Designs")
    return {
        "measured": f"results/{{run}}/{folder}/measured.parquet",
        "truth": truth if plain else marked,
        "summary": f"results/{{run}}/{folder}/summary.json",
    }


def truth_figures():
    """Return the outputs of the figure of promised and true expression, if the truth is known or there is a judge."""
    if not PLAN.judged:
        return {}
    return {
        "truth_png": "results/{run}/figures/design/truth.png",
        "truth_svg": report(
            "results/{run}/figures/design/truth.svg",
            caption="../report/truth.rst",
            category="Designs",
            labels={"figure": "promised and true expression"},
        ),
    }
