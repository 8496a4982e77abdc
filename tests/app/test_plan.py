"""The run that follows from a config, without Snakemake."""

from pathlib import Path

import pytest

from gpraflow.app.plan import Plan
from gpraflow.core import config as configs
from gpraflow.core.errors import ConfigError, InputError
from tests.conftest import ROOT
from tests.workbook import workbook

TABLE = {"run": "mine", "input": {"table": "mine.tsv"}, "evaluation": {"datasets": ""}, "model": {"name": "baseline_kmer"}}
SHEET = "bin\treads\tlower\tupper\tcells\nlow\tlow.fq.gz\t\t0\t100\nhigh\thigh_1.fq.gz,high_2.fq.gz\t0\t\t200\n"
DATASETS = "name\ttable\ttitle\tsequence\texpression\nnative\t{data}/native.tsv\tnative promoters\tpromoter\tYFP\n"
SHEET_KEY = "sample_sheet" if "sample_sheet" in Plan(TABLE).config["counts"] else "bins"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bins.tsv").write_text(SHEET)
    (tmp_path / "datasets.tsv").write_text(DATASETS)


def test_a_table_is_the_shortest_run():
    plan = Plan(TABLE)
    assert not plan.from_bins
    assert (plan.bins, plan.columns, [*plan.reads_figures, *plan.expression_figures]) == ([], [], [])
    assert plan.scored == ["test"]
    assert plan.explained == "test"
    assert plan.input_files()[0] == {"what": "library", "path": "mine.tsv"}
    assert plan.motifs == []  # this baseline takes none
    assert {"metrics", "explain/motifs"} <= set(plan.report_tables)
    assert "predictions/test" in plan.report_figures
    assert plan.promoters_of("test", "results/mine") == "results/mine/splits/test.parquet"


def test_designs_are_asked_for_and_every_key_is_theirs():
    assert not Plan(TABLE).designs
    assert not [name for name in Plan(TABLE).report_figures if name.startswith("design")]
    plan = Plan(TABLE | {"design": {"number": 5}})
    assert (plan.designs, plan.judged, plan.design_options["compared"]) == (5, "", 0)
    assert "design/designs" in plan.report_figures
    assert "design/truth" not in plan.report_figures
    judged = Plan(TABLE | {"design": {"number": 5, "judge": "results/other/model"}})
    assert judged.judged == "judge"
    assert judged.judge_files == ["results/other/model/model.keras", "results/other/model/model.json"]
    assert judged.design_options == plan.design_options
    assert {"design/designs", "design/truth"} <= set(judged.report_tables)
    others = {"judge", "motifs", "condition", "starts"}  # files, and a condition that there is none of
    changed = {
        **{"objectives": ["ladder"], "targets": [2.0], "ladder": 3, "ladder_range": [1, 2], "tolerance": 1.0, "spread_weight": 0.0},
        **{"distance_weight": 0.0, "search": "greedy", "budget": 7, "beam": 2, "length": 60, "template": "N", "protect": ["1"]},
        **{"max_edits": 4, "min_distance": 5, "forbid_sites": ["BsaI"], "require_sites": ["TATA"], "gc": [0.1, 0.9], "gc_window": 9},
        **{"gc_window_range": [0.1, 0.9], "max_homopolymer": 9, "repeat_kmer": 9, "forbid_motifs": ["REB1"], "require_motifs": ["RAP1"]},
        **{"motif_score": 0.9, "number": 6, "compared": 2, "seed": 1, "oligos": {"forward": "A", "max_length": 200}},
    }
    assert set(changed) == set(plan.config["design"]) - others
    for key, value in changed.items():
        assert Plan(TABLE | {"design": {"number": 5, key: value}}).design_options != plan.design_options, key
    assert Plan(TABLE | {"design": {"number": 5, "starts": "mine.fa"}}).design_starts == "mine.fa"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"objectives": ["target"]}, "design.targets: the objective target needs at least one target"),
        ({"ladder_range": [3, 1]}, r"design.ladder_range: found \[3, 1\]"),
        ({"condition": "glucose"}, "design.condition: 'glucose' is no condition"),
    ],
)
def test_designs_that_do_not_fit(keys, message):
    with pytest.raises(ConfigError, match=message):
        Plan(TABLE | {"design": keys})


def test_a_teacher_is_a_model_of_another_run_or_of_the_package():
    own = Plan(TABLE | {"training": {"teacher": "results/{run}_all/model"}})
    assert own.teacher_files == ["results/mine_all/model/model.keras", "results/mine_all/model/model.json"]
    assert own.training_options()["teacher"] == "results/mine_all/model"
    packaged = Plan(TABLE | {"training": {"teacher": "yeast-ypd"}})
    assert [Path(name).is_file() for name in packaged.teacher_files] == [True, True]
    with pytest.raises(ConfigError, match=r"^training\.teacher: nosuch: neither a model directory"):
        Plan(TABLE | {"training": {"teacher": "nosuch"}})
    assert Plan(TABLE).teacher_files == []
    assert Plan(TABLE).training_options()["teacher"] == ""


def test_no_motif_file_is_no_figure_of_motifs():
    plan = Plan(TABLE | {"explain": {"motifs": ""}})
    assert plan.explained == "test"
    assert not plan.with_motifs
    assert "explain/motifs" not in plan.report_figures + plan.report_tables
    assert "explain/logos" in plan.report_figures
    assert Plan(TABLE).with_motifs
    assert {"explain/motifs", "explain/logos"} <= set(Plan(TABLE).report_figures)
    nothing = Plan(TABLE | {"explain": {"dataset": ""}})
    assert not {"explain/motifs", "explain/logos"} & set(nothing.report_figures)


def test_reads_and_an_independent_set(tmp_path):
    counts = {SHEET_KEY: "bins.tsv", "cells": "sheet"}
    plan = Plan({"run": "mine", "data": "folder", "counts": counts, "evaluation": {"datasets": "datasets.tsv"}})
    assert plan.from_reads
    assert not plan.from_simulation
    assert plan.columns == ["low", "high"]
    assert plan.files_of_bin("high", "reads") == ["high_1.fq.gz", "high_2.fq.gz"]
    assert plan.cells == []
    assert plan.scored == ["test", "native"]
    assert plan.table_of("native")["columns"]["sequence"] == "promoter"
    assert plan.title_of("native") == "native promoters"
    assert plan.title_of("test") == "test split"
    assert plan.promoters_of("native", "r") == "r/tables/native.parquet"
    names = [(each["what"], each["path"]) for each in plan.input_files()]
    assert names[:4] == [("reads", "low.fq.gz"), ("reads", "high_1.fq.gz"), ("reads", "high_2.fq.gz"), ("native", "folder/native.tsv")]
    assert [*plan.reads_figures, *plan.expression_figures] == [
        "yield",
        "distinct",
        "rarefaction",
        "inserts",
        "depth",
        "expression",
        "profiles",
    ]


def test_a_design_is_an_input_of_runs_from_reads():
    counts = {SHEET_KEY: "bins.tsv", "cells": "sheet"}
    config = {"run": "mine", "data": "folder", "counts": counts, "reads": {"design": "{data}/design.fa"}}
    plan = Plan(config)
    assert plan.design == "folder/design.fa"
    assert {"what": "design", "path": "folder/design.fa"} in plan.input_files()
    plan = Plan(config | {"reads": {}})
    assert plan.design == []
    assert "design" not in {each["what"] for each in plan.input_files()}


def test_pairs_are_merged_or_counted_as_they_are(tmp_path):
    """A sheet may hold bins with single and with paired reads."""
    header, low, high = SHEET.splitlines()
    rows = [f"{header}\treads_2", f"{low}\tlow_2.fq.gz", f"{high}\t"]
    (tmp_path / "bins.tsv").write_text("\n".join(rows) + "\n")
    config = {"run": "mine", "counts": {SHEET_KEY: "bins.tsv", "cells": "sheet"}, "evaluation": {"datasets": ""}}
    assert [Plan(config).merges_pairs(column) for column in ("low", "high")] == [True, False]
    plan = Plan(config | {"reads": {"pairs": "either_mate"}})
    assert [plan.merges_pairs(column) for column in ("low", "high")] == [False, False]
    assert plan.files_of_bin("low", "reads_2") == ["low_2.fq.gz"]
    with pytest.raises(ConfigError, match=r"reads\.pairs: 'both' is not one of merge, either_mate"):
        Plan(config | {"reads": {"pairs": "both"}})
    with pytest.raises(ConfigError, match=r"reads\.umi: directional needs the place of the UMI"):
        Plan(config | {"reads": {"umi": "directional", "five_prime": "ACGTACGT"}})


def test_names_in_independent_sets_come_from_their_own_column():
    """The column `name` of the sheet is the name of the set."""
    plan = Plan(TABLE | {"evaluation": {"datasets": "datasets.tsv"}})
    assert plan.table_of("native")["columns"]["name"] == "auto"
    assert plan.table_of("library")["columns"]["name"] == "auto"


def test_seeds_follow_from_the_one_seed_and_the_sections_own():
    first, other = Plan(TABLE), Plan(TABLE | {"split": {"seed": 1}})
    assert first.seed_of("split") != first.seed_of("training")
    assert first.seed_of("split") != other.seed_of("split")
    assert first.seed_of("training") == other.seed_of("training")
    assert first.training_options(epochs=3) == first.config["training"] | {"seed": first.seed_of("training"), "epochs": 3}


def test_what_a_tpu_lacks():
    assert Plan(TABLE | {"bucket": {"url": "gs://bucket/folder"}}).tpu_missing == ""
    assert Plan(TABLE | {"bucket": {"url": "file://x"}}).tpu_missing == "bucket.url: gs://BUCKET/FOLDER"


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"modle": {}}, r"'modle' is not a key; did you mean 'model'\?"),
        ({"model": {"name": "compcat"}}, r"model\.name: 'compcat' is not one of .*; did you mean 'compact'\?"),
        (
            {"scaffold": {"file": "built-inn"}},
            r"scaffold\.file: 'built-inn' is neither a file nor a built-in name; did you mean 'built-in'\?",
        ),
        ({"evaluation": {"datasets": "none.tsv"}}, r"none\.tsv: this file does not exist"),
        ({"explain": {"dataset": "nativ"}}, r"explain\.dataset: 'nativ' is not scored"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(overlay, message):
    with pytest.raises(ConfigError, match=message):
        Plan(TABLE | overlay)


def test_wrong_segments_stop_before_anything_runs():
    with pytest.raises(ConfigError, match=r"^scaffold\.segments: 'P100' is not a kind"):
        Plan(TABLE | {"scaffold": {"segments": "P100, B20"}})
    assert Plan(TABLE | {"scaffold": {"segments": "promoter 100, barcode 20"}}).table_of("library")["barcodes"] == "keep"


# Tables to join

TWO = {"a": {"table": "{data}/a.tsv"}, "b": {"table": "b.csv", "decimal": ",", "columns": {"expression": "YFP"}, "expression_max": 900}}
JOIN = TABLE | {"input": {"tables": TWO}}


def test_tables_to_join_take_what_they_do_not_give_from_the_input():
    plan = Plan(JOIN | {"data": "folder", "input": {"tables": TWO, "columns": {"sequence": "promoter"}}})
    assert (plan.from_counts, plan.sources, plan.bins) == (False, ["a", "b"], [])
    assert plan.table_of("a")["columns"]["expression"] == "expression"
    b = plan.reading_of("b")
    assert (b["columns"]["expression"], b["columns"]["sequence"], b["decimal"], b["expression_range"]) == (
        "YFP",
        "promoter",
        ",",
        [-4, 900],
    )
    assert plan.table_of("b")["duplicates"] == "error"
    assert [(each["what"], each["path"]) for each in plan.input_files()[:2]] == [("a", "folder/a.tsv"), ("b", "b.csv")]
    assert "joined" in plan.report_figures
    assert "joined" in plan.report_tables
    assert plan.unit == "units of the table a"
    assert plan.scored == ["test"]
    alone = Plan(TABLE)
    assert alone.sources == ["library"]
    assert "joined" not in [*alone.report_figures, *alone.report_tables]


def test_a_table_to_join_may_be_a_public_one():
    plan = Plan(JOIN | {"input": {"tables": TWO | {"public": {"table": "{data}/dream2022/train.txt", "header": False}}}})
    assert plan.public["public"]["file"] == "train.txt"
    assert plan.fetched("public", "{data}/dream2022/train.txt")["doi"] == "10.5281/zenodo.10633252"
    assert plan.fetched("a", "{data}/a.tsv") == {}


def test_ranks_need_all_tables_and_logarithms_do_not():
    ranks, logarithms = (Plan(JOIN | {"input": {"tables": TWO, "transform": name}}) for name in ("rank_normal", "log2"))
    assert [ranks.transform_of(name)["name"] for name in ("a", "library")] == ["none", "rank_normal"]
    assert [logarithms.transform_of(name)["name"] for name in ("a", "library")] == ["log2", "log2"]
    assert (ranks.unit_of_tables, logarithms.unit_of_tables) == ("units of the table a", "log2(expression)")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"input": {"tables": TWO, "table": "c.tsv"}}, r"input\.table: c\.tsv is given beside input\.tables, which takes its place"),
        ({"input": {"tables": {"a": TWO["a"]}}}, r"input\.tables: there is one table \(a\); give two or more, or set input\.table"),
        ({"input": {"tables": {"test": TWO["a"], "b": TWO["b"]}}}, r"input\.tables: 'test' is already the name of a data set or split"),
        ({"input": {"tables": {"library": TWO["a"], "b": TWO["b"]}}}, r"'library' is already the name"),
        ({"input": {"tables": TWO | {"c": {}}}}, r"input\.tables\.c: 'table' is a required property"),
        (
            {"input": {"tables": TWO | {"c": {"table": "x", "seperator": "tab"}}}},
            r"'input\.tables\.c\.seperator' is not a key; did you mean",
        ),
        (
            {"input": {"tables": TWO | {"c": {"table": "x", "columns": {"sequnce": "x"}}}}},
            r"columns: 'sequnce' is not one of .*'sequence'\?",
        ),
        ({"input": {"tables": TWO | {"a/b": {"table": "x"}}}}, r"input\.tables: 'a/b' cannot be part of"),
        ({"input": {"tables": TWO | {"c": {"table": "{x}.tsv"}}}}, r"input\.tables\.c\.table: '\{x\}\.tsv' has a brace"),
        (
            {"input": {"tables": TWO | {"c": {"table": "results/{run}/expression/promoters.parquet"}}}},
            r"input\.tables\.c: .* is the table that this run would estimate from counts, .* a run of its own",
        ),
        ({"training": {"loss": "bins", "bin_labels": "cells"}}, r"training\.bin_labels: cells needs cells per bin"),
    ],
)
def test_tables_that_cannot_be_joined_are_named_before_anything_runs(overlay, message):
    with pytest.raises(ConfigError, match=message):
        Plan(JOIN | overlay)


def test_tables_of_several_conditions_are_not_joined():
    content = Plan(JOIN).config
    with pytest.raises(ConfigError, match=r"tables of several conditions \(input\.conditions\) cannot be joined yet"):
        configs.check_tables(content | {"input": content["input"] | {"conditions": {"heat": "x"}}}, [])


# Motif files

COMPACT = TABLE | {"model": {"name": "compact", "motifs": ""}}


def test_a_motif_file_is_read_before_anything_runs_and_its_key_is_named(tmp_path):
    (tmp_path / "mine.meme").write_text("MEME version 4\n\nMOTIF a\nletter-probability matrix: w= 1\n0.9 0.1 0.1 0.1\n")
    (tmp_path / "good.jaspar").write_text(">a A\n1\n1\n1\n1\n")
    message = r"^explain\.motifs: mine\.meme, line 5: the probabilities add up to 1\.2, not 1"
    with pytest.raises(InputError, match=message):
        Plan(TABLE | {"explain": {"motifs": "mine.meme"}}).check_motif_files()
    with pytest.raises(InputError, match=r"^explain\.motifs: gone\.meme: this motif file does not exist"):
        Plan(TABLE | {"explain": {"motifs": "gone.meme"}}).check_motif_files()
    with pytest.raises(InputError, match=r"^model\.motifs: mine\.meme, line 5"):
        Plan(COMPACT | {"model": {"name": "compact", "motifs": "mine.meme"}}).check_motif_files()
    Plan(TABLE | {"explain": {"motifs": "mine.meme", "dataset": ""}}).check_motif_files()  # not read in this run
    Plan(TABLE | {"explain": {"motifs": "{data}/good.jaspar"}, "data": str(tmp_path)}).check_motif_files()
    Plan(TABLE).check_motif_files()  # the built-in set


@pytest.mark.parametrize(("preset", "needs"), [("paper", False), ("small", True)])
def test_compact_learns_without_known_motifs_and_biochemical_if_it_has_unknown_factors(preset, needs):
    plan = Plan(COMPACT)
    assert plan.motifs == []
    assert plan.sections_with_motifs == ["explain"]
    biochemical = TABLE | {"model": {"name": "biochemical", "preset": preset, "motifs": ""}}
    if needs:
        with pytest.raises(ConfigError, match=r"model\.motifs: .* biochemical .* model\.sizes\.unknown_factors is 0; set"):
            Plan(biochemical)
        plan = Plan(TABLE | {"model": {"name": "biochemical", "preset": preset, "motifs": "", "sizes": {"unknown_factors": 5}}})
    else:
        plan = Plan(biochemical)
    assert plan.motifs == []
    assert "factors" in plan.report_tables
    assert "factors" not in plan.report_figures  # that of known motifs
    assert "factors" in Plan(TABLE | {"model": {"name": "biochemical"}}).report_figures


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"model": {"name": "baseline_motif", "motifs": ""}}, r"model\.motifs: baseline_motif needs a motif file; .* such as compact"),
        ({"model": {"name": "compact", "motifs": "", "sizes": {"learned_motifs": 0}}}, r"model\.sizes\.learned_motifs is 0"),
    ],
)
def test_models_that_need_motifs_name_the_key(overlay, message):
    with pytest.raises(ConfigError, match=message):
        Plan(TABLE | overlay)


def test_a_simulation_needs_motifs():
    with pytest.raises(ConfigError, match=r"simulate\.motifs: the simulation needs motifs"):
        Plan({"run": "mine", "counts": {"sample_sheet": str(ROOT / "config/sample_sheet.tsv")}, "simulate": {"motifs": ""}})


def test_motifs_of_a_simulation_concern_only_runs_that_simulate():
    """A run from a table has the sample's sheet of bins by default, but simulates nothing."""
    table = TABLE | {"counts": {"sample_sheet": str(ROOT / "config/sample_sheet.tsv")}, "scaffold": {"name": "none"}}
    assert Plan(table).simulated_reads
    assert Plan(table).foreign_motifs == ["explain.motifs"]
    assert Plan(table | {"simulate": {"motifs": ""}}).sections_with_motifs == ["explain"]
    sample = Plan({"run": "mine", "counts": {"sample_sheet": str(ROOT / "config/sample_sheet.tsv")}, "scaffold": {"name": "none"}})
    assert sample.foreign_motifs == ["simulate.motifs", "model.motifs", "explain.motifs", "design.motifs"]


def test_yeast_motifs_with_a_scaffold_of_another_organism_are_named(tmp_path):
    (tmp_path / "scaffolds.yaml").write_text(
        "mine: {five_prime: AC, three_prime: GT, organism: human}\nyeast: {five_prime: AC, organism: yeast}\nbare: {five_prime: AC}\n"
    )

    def foreign(name, **sections):
        scaffold = {"file": "scaffolds.yaml", "name": name} if name not in ("pTpA", "none") else {"name": name}
        return Plan(TABLE | {"scaffold": scaffold} | sections).foreign_motifs

    compact = {"model": {"name": "compact"}}
    assert foreign("mine", **compact) == ["model.motifs", "explain.motifs"]
    assert foreign("bare") == foreign("none") == ["explain.motifs"]  # this baseline takes no motifs
    assert foreign("yeast", **compact) == foreign("pTpA", **compact) == []
    assert foreign("mine", model={"name": "compact", "motifs": ""}, explain={"motifs": ""}) == []
    assert foreign("mine", model={"name": "compact", "motifs": "own.meme"}) == ["explain.motifs"]


def test_a_sheet_from_a_spreadsheet_with_an_unsorted_sample_and_quantiles(tmp_path):
    pytest.importorskip("fastexcel")
    header = ["bin", "replicate", "reads", "lower_quantile", "upper_quantile", "kind"]
    rows = [[1, "a", "1.fq", None, 0.25], [2, "a", "2.fq", 0.2, None], ["input", None, "in.fq", None, None, "unsorted"]]
    workbook(tmp_path / "bins.xlsx", {"samples": [header, *rows]})
    counts = {"sample_sheet": "bins.xlsx", "cells": "reads", "scale": "gate"}
    with pytest.raises(ConfigError, match=r"bins\.xlsx, row 3: bin 'a\.2' \(0\.2 to 1\) overlaps the one before, which ends at 0\.25"):
        Plan({"run": "mine", "counts": counts})
    plan = Plan({"run": "mine", "counts": counts | {"overlap": "repeated"}, "evaluation": {"datasets": ""}})
    assert plan.columns == ["a.1", "a.2", "input"]
    assert plan.files_of_bin("input", "reads") == ["in.fq"]
    assert [place[4] for place in plan.places] == [False, False, True]
    assert not plan.has_replicates  # of which the unsorted sample is none
    assert plan.unit == "SD of the population"
    named = Plan({"run": "mine", "counts": counts | {"overlap": "repeated"}, "plots": {"unit": "z"}, "evaluation": {"datasets": ""}})
    assert named.unit == "z"
