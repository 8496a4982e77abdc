"""What the report says that a run assumes."""

import pytest

from gpraflow.core import config as configs
from gpraflow.core import schema as schemas
from gpraflow.report.assumptions import assumptions

TABLE = {"input": {"table": "x.tsv"}}


def of(content, replicates=False, explained=False, foreign_motifs=()):
    lines = assumptions(configs.load(content), replicates=replicates, explained=explained, foreign_motifs=foreign_motifs)
    return {each.key: each for each in lines}


def test_motifs_of_another_organism_are_an_assumption():
    human = TABLE | {"scaffold": {"name": "lentiMPRA"}}
    texts = of(human, explained=True, foreign_motifs=["model.motifs", "explain.motifs"])
    for key in ("model.motifs", "explain.motifs"):
        assert texts[key].text == "Transcription factors are those of yeast, although lentiMPRA is not a scaffold of yeast."
        assert texts[key].value == "jaspar2026_yeast"
    assert of(TABLE)["model.motifs"].text == "Transcription factors are those of yeast."
    own = of(TABLE | {"model": {"motifs": "own.meme"}, "explain": {"motifs": ""}}, explained=True, foreign_motifs=[])
    assert own["model.motifs"].text == "Transcription factors are those of the motif file."
    assert own["explain.motifs"].text == "No known motifs are searched for."
    none = of(TABLE | {"model": {"motifs": ""}})
    assert (none["model.motifs"].text, none["model.motifs"].value) == ("The model starts from no known motifs.", '""')
    assert "model.motifs" not in of(TABLE | {"model": {"name": "legnet"}})


def test_a_run_from_bins_assumes_scale_cells_prior_and_replicates():
    found = of({}, replicates=True, explained=True)
    assert [*found][:7] == [
        "counts.method",
        "counts.scale",
        "counts.cells",
        "counts.read_dispersion",
        "counts.prior",
        "counts.singletons",
        "counts.sample_sheet",
    ]
    assert found["counts.prior"].text == "A promoter resembles the library: estimates from few reads are shrunk to the library's mean."
    assert found["counts.cells"].text.startswith("Cell counts per bin are correct, and proportional to the population in each gate")
    assert found["explain.motifs"].text == "Transcription factors are those of yeast."
    reads = of({"counts": {"cells": "reads", "method": "weighted_mean", "scale": "gate"}})
    assert reads["counts.cells"].text.startswith("Cell counts per bin are unknown, so that one read counts as one cell")
    assert reads["counts.cells"].value == "reads"
    assert not {"counts.prior", "counts.sample_sheet", "explain.motifs"} & set(reads)


def test_a_run_from_a_table_assumes_nothing_of_bins():
    found = of(TABLE | {"training": {"rc_averaging": True}, "explain": {"motifs": ""}}, explained=True)
    assert not [key for key in found if key.startswith("counts.")]
    assert (found["training.rc_averaging"].text, found["training.rc_averaging"].value) == (
        "A promoter and its reverse complement have the same expression.",
        "true",
    )
    assert "training.rc_augmentation" not in found
    assert (found["explain.motifs"].text, found["explain.motifs"].value) == ("No known motifs are searched for.", '""')
    assert found["scaffold.name"].text == "Promoters have the flanks of pTpA, and sequence beyond 110 bp does not affect expression."
    other = of(TABLE | {"scaffold": {"name": "none", "length": 50}})
    assert other["scaffold.name"].text == "Promoters have no constant flanks, and sequence beyond 50 bp does not affect expression."


CHOICES = (
    ("counts", "method"),
    ("counts", "scale"),
    ("counts", "prior"),
    ("counts", "singletons"),
    ("input", "duplicates"),
    ("input", "transform"),
    ("assay", "strand"),
    ("training", "sample_weight"),
)


@pytest.mark.parametrize(("section", "key"), CHOICES)
def test_each_choice_of_a_key_is_another_sentence(section, key):
    values = schemas.load("config")["properties"][section]["properties"][key]["enum"]
    table = "results/{run}/expression/promoters.parquet" if section == "counts" else "x.tsv"
    base = {"input": {"table": table}}
    found = [of(base | {section: base.get(section, {}) | {key: value}}) for value in values]
    assert [each[f"{section}.{key}"].value for each in found] == values
    assert len({each[f"{section}.{key}"].text for each in found}) == len(values)
