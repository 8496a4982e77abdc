"""Evolution of promoters under models whose predictions are known."""

import json
import re
import shlex
import shutil

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.app import cli, evolve_commands
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.design import evolution
from gpraflow.models import backend
from gpraflow.prediction import predictor as prediction_predictor
from tests import toy
from tests.command import run
from tests.conftest import ROOT

INSERTS = toy.inserts(6, 31)
SEED = 7


@pytest.fixture(scope="module")
def predictor(folder):
    return prediction_predictor.Predictor(folder, batch_size=64)


def starts(predictor, inserts=INSERTS):
    rows = pl.DataFrame({"row": range(1, len(inserts) + 1), "name": [f"p{n}" for n in range(len(inserts))], "sequence": inserts})
    return evolution.ancestors(predictor, rows, "promoters.tsv", Ledger("evolve", ""))


def single_mutants(sequence):
    """All single mutants of the insert of a whole promoter, with their mutation."""
    for place in range(len(toy.FIVE), len(sequence) - len(toy.THREE)):
        for base in "ACGT":
            if base != sequence[place]:
                yield f"{place + 1}:{sequence[place]}>{base}", sequence[:place] + base + sequence[place + 1 :]


def by_hand(sequence, sign, generations):
    """Expression along the trajectory under strong selection and weak mutation, by trying all single mutants."""
    expression = [toy.said(sequence)]
    for _ in range(generations):
        best = max((mutant for _, mutant in single_mutants(sequence)), key=lambda mutant: sign * toy.said(mutant))
        if sign * (toy.said(best) - toy.said(sequence)) > 1e-9:
            sequence = best
        expression.append(toy.said(sequence))
    return expression


# Trajectories


@pytest.mark.parametrize(("regime", "sign"), [("up", 1), ("down", -1)])
def test_selection_takes_the_best_of_all_single_mutants_and_stops_at_the_optimum(predictor, regime, sign):
    generations = 29  # 26 bp of insert: the optimum is reached
    found = evolution.evolve(predictor, starts(predictor), regime, generations)
    assert found.columns == list(evolution.TRAJECTORIES)
    for number, insert in enumerate(INSERTS):
        part = found.filter(name=f"p{number}")
        assert part["predicted"].to_list() == pytest.approx(by_hand(toy.FIVE + insert + toy.THREE, sign, generations), abs=1e-5)
        assert part["sequence"][-1] == toy.FIVE + ("G" if sign > 0 else "A") * 26 + toy.THREE
        differ = sum(base != ("G" if sign > 0 else "A") for base in insert)
        assert part["mutation"].null_count() == 1 + generations - differ  # the ancestor's row, and those at the optimum
        assert part["substitutions"][-1] == part["distance"][-1] == differ


@pytest.mark.parametrize("regime", evolution.REGIMES)
def test_each_generation_is_its_parent_with_the_mutation_of_the_row(predictor, regime):
    found = evolution.evolve(predictor, starts(predictor), regime, 12, replicates=3, bound=0.2, seed=SEED)
    replicates = 3 if regime in evolution.RANDOM else 1
    assert found.height == len(INSERTS) * replicates * 13
    for (name, _), part in found.group_by("name", "replicate", maintain_order=True):
        sequence = ancestor = toy.FIVE + INSERTS[int(name[1:])] + toy.THREE
        substitutions = 0
        for row in part.iter_rows(named=True):
            if row["mutation"]:
                assert (sequence := dict(single_mutants(sequence))[row["mutation"]]) == row["sequence"]
                substitutions += 1
            assert row["sequence"] == sequence
            assert row["substitutions"] == substitutions
            assert row["distance"] == sum(a != b for a, b in zip(sequence, ancestor, strict=True))
            assert row["predicted"] == pytest.approx(toy.said(sequence), abs=1e-5)
            assert row["predicted_change"] == pytest.approx(toy.said(sequence) - toy.said(ancestor), abs=1e-5)
        assert part["generation"].to_list() == list(range(13))


def test_drift_accepts_each_of_the_3l_mutants_with_the_same_probability(predictor):
    found = evolution.evolve(predictor, starts(predictor, INSERTS[:1]), "drift", 1, replicates=3000, seed=SEED)
    drawn = found.filter(generation=1)["mutation"].value_counts()
    expected = [mutation for mutation, _ in single_mutants(toy.FIVE + INSERTS[0] + toy.THREE)]
    assert set(drawn["mutation"]) == set(expected)
    assert len(expected) == 3 * 26
    assert stats.chisquare(drawn["count"]).pvalue > 1e-3


def test_drift_goes_beyond_the_bound_that_stabilising_selection_keeps(predictor):
    start, bound = starts(predictor), 0.25
    drift, kept = (evolution.evolve(predictor, start, regime, 30, replicates=4, bound=bound, seed=SEED) for regime in evolution.RANDOM)
    assert drift["predicted_change"].abs().max() > 3 * bound
    assert kept["predicted_change"].abs().max() <= bound
    assert drift.filter(pl.col("generation") > 0)["mutation"].null_count() == 0
    assert 0 < kept.filter(pl.col("generation") > 0)["mutation"].null_count() < kept.height / 2


def test_stabilising_selection_rejects_what_drift_would_have_accepted(predictor):
    """With a bound that nothing exceeds, all mutations fix; with one that everything exceeds, none."""
    start = starts(predictor)
    wide = evolution.evolve(predictor, start, "stabilising", 10, bound=100.0, seed=SEED)
    narrow = evolution.evolve(predictor, start, "stabilising", 10, bound=1e-3, seed=SEED)
    assert wide["substitutions"].max() == 10
    assert narrow["substitutions"].max() == 0
    assert narrow["predicted_change"].abs().max() == 0


@pytest.mark.parametrize("regime", evolution.REGIMES)
def test_a_trajectory_depends_on_seed_and_promoter_not_on_the_others(predictor, regime):
    start, options = starts(predictor), {"replicates": 2, "bound": 0.3}
    whole = evolution.evolve(predictor, start, regime, 8, seed=SEED, **options)
    assert whole.equals(evolution.evolve(predictor, start, regime, 8, seed=SEED, **options))
    parts = [evolution.evolve(predictor, start.part(i, i + 2), regime, 8, seed=SEED, first=i, **options) for i in (0, 2, 4)]
    assert pl.concat(parts)["sequence"].to_list() == whole["sequence"].to_list()
    other = evolution.evolve(predictor, start, regime, 8, seed=SEED + 1, **options)
    assert (other["sequence"].to_list() != whole["sequence"].to_list()) == (regime in evolution.RANDOM)
    if regime in evolution.RANDOM:
        one, two = (whole.filter(replicate=number)["sequence"].to_list() for number in (1, 2))
        assert one != two


def test_summary_is_that_of_numpy(predictor):
    found = pl.concat([evolution.evolve(predictor, starts(predictor), regime, 4, replicates=5, seed=SEED) for regime in ("up", "drift")])
    summary = evolution.summarise(found)
    assert summary.select("regime", "generation").rows() == [(regime, n) for regime in ("drift", "up") for n in range(5)]
    values = found.filter(regime="drift", generation=3)["predicted_change"].to_numpy().astype(float)
    row = summary.row(3, named=True)
    assert row["trajectories"] == 30
    assert row["fixed"] == 1
    assert row["substitutions"] == 3
    assert row["sd"] == pytest.approx(values.std(ddof=1), rel=1e-4)
    for name, share in evolution.QUANTILES.items():
        assert row[name] == pytest.approx(np.quantile(values, share), abs=1e-5)


@pytest.mark.parametrize(
    ("regime", "options", "message"),
    [
        ("sideways", {}, "regime 'sideways': expected one of drift, up, down, stabilising"),
        ("drift", {"generations": 0}, "generations 0: expected a whole number of at least 1"),
        ("drift", {"replicates": 0}, "replicates 0"),
        ("stabilising", {}, "stabilising selection needs a bound"),
        ("stabilising", {"bound": 0.0}, "bound 0.0: expected a number above 0"),
        ("stabilising", {"bound": float("nan")}, "bound nan"),
    ],
)
def test_options_out_of_range_are_errors(predictor, regime, options, message):
    with pytest.raises(ConfigError, match=message):
        evolution.evolve(predictor, starts(predictor), regime, **{"generations": 2} | options)


# Robustness


def test_robustness_and_evolvability_of_all_single_mutants(predictor):
    epsilon = 0.15  # 4 / 40 is below, 8 / 40 is not
    found = evolution.landscape(predictor, starts(predictor), epsilon)
    for number, insert in enumerate(INSERTS):
        whole = toy.FIVE + insert + toy.THREE
        effects = {mutation: toy.said(mutant) - toy.said(whole) for mutation, mutant in single_mutants(whole)}
        vector = found.vectors.filter(name=f"p{number}")
        assert vector["effect"].to_list() == pytest.approx(sorted(effects.values()), abs=1e-5)
        assert vector["rank"].to_list() == list(range(1, 3 * 26 + 1))
        assert [effects[mutation] for mutation in vector["mutation"]] == pytest.approx(vector["effect"].to_list(), abs=1e-5)
        assert vector["mutation"].n_unique() == 3 * 26
        row = found.robustness.row(number, named=True)
        assert row["robustness"] == pytest.approx(np.mean([abs(effect) < epsilon for effect in effects.values()]))
        assert (row["largest_decrease"], row["largest_increase"]) == pytest.approx((min(effects.values()), max(effects.values())), abs=1e-5)
        assert (row["mutants"], row["sequence"]) == (78, whole)
    assert found.sorted_effects.shape == (6, 3 * toy.LENGTH)
    assert np.isnan(found.sorted_effects[:, 78:]).all()


def test_robustness_by_hand():
    effects = np.array([[-1.0, -0.1, 0.0, 0.2, np.nan], [0.1, 0.1, 0.1, 0.1, 0.1]])
    assert evolution.mutational_robustness(effects, 0.2).tolist() == [0.5, 1]  # 0.2 itself is a change
    assert evolution.mutational_robustness(effects, 0.1).tolist() == [0.25, 0]
    with pytest.raises(InputError, match="promoter 1: it has no single mutants"):
        evolution.mutational_robustness(np.full((1, 3), np.nan), 0.1)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_above_0(predictor, epsilon):
    with pytest.raises(ConfigError, match="epsilon"):
        evolution.landscape(predictor, starts(predictor), epsilon)
    with pytest.raises(ConfigError, match="epsilon"):
        evolution.mutational_robustness(np.ones((1, 3)), epsilon)


# Conservation


def test_coefficient_by_hand():
    # Expression 1, 1, 3: sample variance ((2/3)^2 x 2 + (4/3)^2) / 2 = 4/3. Random mutants 0 and 4 in two isolates each: variance 16/3.
    sd = evolution.weighted_sd(np.array([1.0, 3.0]), np.array([2, 1]))
    null = evolution.weighted_sd(np.array([0.0, 4.0]), np.array([2, 2]))
    assert sd**2 == pytest.approx(4 / 3)
    assert sd == pytest.approx(np.std([1, 1, 3], ddof=1))
    assert null**2 == pytest.approx(16 / 3)
    assert evolution.conservation_coefficient(null, sd) == pytest.approx(1)  # log2 of 2
    assert evolution.conservation_coefficient(sd, null, 0.25) == pytest.approx(-1.25)


def test_a_coefficient_without_variance_or_orthologs_is_an_error():
    with pytest.raises(InputError, match="1 ortholog: at least 2"):
        evolution.weighted_sd(np.array([3.0]), np.array([1]))
    with pytest.raises(InputError, match=r"expression among orthologs is 0\.0"):
        evolution.conservation_coefficient(1.0, 0.0)
    with pytest.raises(InputError, match="expression among random mutants is nan"):
        evolution.conservation_coefficient(float("nan"), 1.0)


def test_consensus_counts_isolates():
    tokens = np.array([[0, 1, 2], [0, 3, 3], [1, 3, 2]], np.uint8)
    assert evolution.consensus(tokens, np.array([1, 1, 1])).tolist() == [0, 3, 2]
    assert evolution.consensus(tokens, np.array([5, 1, 1])).tolist() == [0, 1, 2]
    assert evolution.consensus(tokens, np.array([1, 1, 2])).tolist() == [0, 3, 2]  # A and C twice each: the first


def test_random_mutants_have_the_edits_of_their_orthologs_within_the_insert():
    parent, edits = np.repeat(np.arange(4, dtype=np.uint8), 10), np.array([0, 1, 3, 20] * 100)
    mutable = (np.arange(40) >= 10) & (np.arange(40) < 30)
    mutants = evolution.random_mutants(parent, edits, mutable, np.random.default_rng(SEED))
    assert ((mutants != parent).sum(axis=1) == edits).all()
    assert (mutants[:, ~mutable] == parent[~mutable]).all()
    of_a = mutants[edits == 20][:, :20][:, 10:]  # C at 10 .. 19: each other base in a third
    assert stats.chisquare(np.bincount(of_a.ravel(), minlength=4)[[0, 2, 3]]).pvalue > 1e-3
    places = (mutants != parent)[edits == 1].sum(axis=0)[mutable]
    assert stats.chisquare(places).pvalue > 1e-3


def orthologs_of(parent, changes, isolates, name):
    """Rows of a set: each ortholog is the parent with the insert's bases at some places changed."""
    rows = []
    for change, count in zip(changes, isolates, strict=True):
        insert = list(parent)
        for place, base in change.items():
            insert[place] = base
        rows.append({"row": len(rows) + 2, "set": name, "sequence": toy.FIVE + "".join(insert) + toy.THREE, "isolates": count})
    return pl.DataFrame(rows)


def test_conservation_of_sets_by_a_naive_loop(predictor):
    """T to A and back changes expression by 4 / 40, C to G too: conserved sets; T to G by 8 / 40: diverged ones."""
    parent = "T" * 26
    sets = [orthologs_of(parent, [{}, {3: "A"}, {5: "C"}, {7: "C", 9: "A"}], [4, 2, 1, 3], "kept")]
    sets += [orthologs_of(parent, [{}, {3: "G", 4: "G", 5: "G", 6: "G"}], [6, 5], "diverged")]
    rows = pl.concat(sets)
    found = evolution.conservation(predictor, rows, "orthologs.tsv", seed=SEED, draws=3)
    assert found.columns == list(evolution.CONSERVATION)
    corrections = []
    for name, part in zip(("kept", "diverged"), sets, strict=True):
        row = found.row(by_predicate=pl.col("set") == name, named=True)
        of_isolates = [toy.said(sequence) for sequence, count in part.select("sequence", "isolates").rows() for _ in range(count)]
        assert row["sd_orthologs"] == pytest.approx(np.std(of_isolates, ddof=1), rel=1e-4)
        assert (row["orthologs"], row["isolates"], row["reason"]) == (part.height, part["isolates"].sum(), "")
        edits = [[0, 1, 1, 2], [0, 4]][name == "diverged"]
        assert row["mean_edits"] == pytest.approx(np.average(edits, weights=part["isolates"]))
        tokens = starts(predictor, [toy.FIVE + parent + toy.THREE])
        logs = []
        for draw in range(3):
            rng = evolution.randomness.generator(SEED, "ecc", name, draw)
            each = evolution.random_mutants(tokens.tokens[0], np.repeat(edits, part["isolates"]), tokens.mutable[0], rng)
            shared = evolution.random_mutants(tokens.tokens[0], np.array(edits), tokens.mutable[0], rng)
            said = [[toy.said("".join("ACGTN"[t] for t in row)) for row in rows] for rows in (each, np.repeat(shared, part["isolates"], 0))]
            logs.append([np.log2(np.std(values, ddof=1)) for values in said])
        null, null_shared = np.mean(logs, axis=0)
        assert row["ecc_uncorrected"] == pytest.approx(null - np.log2(np.std(of_isolates, ddof=1)), abs=1e-3)
        corrections.append(null - null_shared)
    assert found["ecc"].to_list() == pytest.approx([value - np.median(corrections) for value in found["ecc_uncorrected"]], abs=1e-3)
    assert found["ecc_uncorrected"][0] > found["ecc_uncorrected"][1]
    assert found.equals(evolution.conservation(predictor, rows, "orthologs.tsv", seed=SEED, draws=3))
    assert not found.equals(evolution.conservation(predictor, rows, "orthologs.tsv", seed=SEED + 1, draws=3))


def test_neutral_orthologs_have_a_coefficient_about_0(predictor):
    """Orthologs that are themselves random mutants of their consensus: no selection."""
    rng, sets = np.random.default_rng(3), []
    for number in range(60):
        start = starts(predictor, toy.inserts(1, 100 + number))
        mutants = evolution.random_mutants(start.tokens[0], np.array([0, 0, 0, *[2] * 9]), start.mutable[0], rng)
        sequences = ["".join("ACGT"[t] for t in row) for row in mutants]
        sets.append(pl.DataFrame({"row": range(12), "set": f"s{number}", "sequence": sequences, "isolates": [1] * 12}))
    found = evolution.conservation(predictor, pl.concat(sets), "orthologs.tsv", seed=SEED)["ecc"].to_numpy()
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert 0.2 < (found > 0).mean() < 0.8


def test_sets_without_a_coefficient_have_the_reason(predictor):
    rows = pl.concat(
        [
            orthologs_of("T" * 26, [{}, {3: "A"}, {4: "C"}], [1, 1, 1], "fine"),
            orthologs_of("T" * 26, [{}, {}], [3, 2], "alone"),
            orthologs_of("TACG" * 6 + "TA", [{0: "C", 5: "C"}, {0: "C", 5: "C", 2: "A", 1: "C"}], [1, 1], "even"),
        ]
    )
    rows = rows.with_columns(
        sequence=pl.when(pl.col("set") == "even").then(pl.col("sequence").str.replace("TTACATC", "TTACATC")).otherwise("sequence")
    )
    even = rows.filter(set="even")["sequence"]
    assert toy.said(even[0]) == toy.said(even[1])
    found = evolution.conservation(predictor, rows, "orthologs.tsv")
    assert found["reason"].to_list() == ["", "fewer than two distinct orthologs", "no variance of predicted expression among orthologs"]
    assert found["ecc"].is_null().to_list() == [False, True, True]
    with pytest.raises(InputError, match=r"no set has an expression conservation coefficient \(set 'alone': fewer than two distinct orth"):
        evolution.conservation(predictor, rows.filter(set="alone"), "orthologs.tsv")
    with pytest.raises(ConfigError, match="draws 0"):
        evolution.conservation(predictor, rows, "orthologs.tsv", draws=0)


# Measured trajectories


def test_chains_of_single_edits():
    sequences = ["AATT", "CCCC", "AAAA", "AAAT", "GATT", "CCCG", "TTTT", "CCCA"]
    edges = {(a, b) for a in range(8) for b in range(a + 1, 8) if sum(x != y for x, y in zip(sequences[a], sequences[b], strict=True)) == 1}
    assert set(evolution.single_edits(sequences)) == edges
    # CCCC, CCCG and CCCA are a ring, TTTT is alone.
    assert evolution.chains(sequences) == [[2, 3, 0, 4]]
    assert evolution.chains([*sequences, "AACT"]) == []  # AATT now branches
    assert evolution.chains([]) == []


# The commands


@pytest.fixture
def promoters(tmp_path):
    path = tmp_path / "promoters.fa"
    path.write_text("".join(f">p{number}\n{insert}\n" for number, insert in enumerate(INSERTS)))
    return path


ALL = ("--mode", *evolution.REGIMES, "robustness", "--bound", 0.3, "--epsilon", 0.15)


def test_the_command_writes_tables_and_figures(folder, promoters, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("evolve", folder, promoters, "-o", out, *ALL, "--generations", 3, "--replicates", 2, "--seed", SEED) == cli.DONE
    names = {"trajectories.tsv.gz", "trajectories.png", "trajectories.svg", "summary.tsv"}
    assert {path.name for path in out.iterdir()} == names | {"robustness.tsv", "robustness.png", "robustness.svg", "evolvability.tsv.gz"}
    found = pl.read_csv(out / "trajectories.tsv.gz", separator="\t")
    assert found.columns == list(evolution.TRAJECTORIES)
    assert found["regime"].unique(maintain_order=True).to_list() == list(evolution.REGIMES)
    assert found.height == 6 * 4 * (2 + 1 + 1 + 2)
    predictor = prediction_predictor.Predictor(folder)
    expected = evolution.evolve(predictor, starts(predictor), "drift", 3, replicates=2, seed=SEED)
    assert found.filter(regime="drift")["sequence"].to_list() == expected["sequence"].to_list()
    summary = pl.read_csv(out / "summary.tsv", separator="\t")
    assert summary.filter(regime="up", generation=3)["median"][0] == pytest.approx(
        found.filter(regime="up", generation=3)["predicted_change"].median(), abs=1e-5
    )
    assert pl.read_csv(out / "robustness.tsv", separator="\t")["mutants"].to_list() == [78] * 6
    assert pl.read_csv(out / "evolvability.tsv.gz", separator="\t").height == 6 * 78
    said = capsys.readouterr().err
    assert "gpraflow: 6 promoters; 6 insert only, flanks added" in said
    (before,) = [(out / "trajectories.tsv.gz").read_bytes()[10:]]
    assert run("evolve", folder, promoters, "-o", out, "--generations", 3, "--format", "parquet", "--quiet") == cli.DONE
    assert {path.name for path in out.iterdir()} == {"trajectories.parquet", "trajectories.png", "trajectories.svg", "summary.tsv"}
    assert capsys.readouterr().err == ""
    assert run("evolve", folder, promoters, "-o", out, *ALL, "--generations", 3, "--replicates", 2, "--seed", SEED) == cli.DONE
    assert (out / "trajectories.tsv.gz").read_bytes()[10:] == before  # the header of gzip has the time


def test_the_example_of_the_documentation(folder, promoters, tmp_path, monkeypatch):
    text = (ROOT / "docs/evolution.md").read_text()
    shell, python = (re.search(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[1] for kind in ("bash", "python"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/sample").mkdir(parents=True)
    (tmp_path / "results/sample/model").symlink_to(folder)
    assert run(*shlex.split(shell.replace("\\\n", " "))[1:]) == cli.DONE
    exec(compile(python, "docs/evolution.md", "exec"), {})


def table_of_orthologs(path):
    rows = [
        f"{insert[:place]}{base}{insert[place + 1 :]}\tg{gene}\t{1 + place}"
        for gene, insert in enumerate(INSERTS)
        for place, base in ((0, "A"), (3, "C"), (9, "G"), (12, "T"))
    ]
    path.write_text("sequence\tgene\tstrains\n" + "\n".join(dict.fromkeys(rows)) + "\n")
    return path


def test_the_command_ecc(folder, tmp_path, capsys):
    table, out = table_of_orthologs(tmp_path / "orthologs.tsv"), tmp_path / "out"
    options = ("--set-column", "gene", "--isolates-column", "strains", "--draws", 2)
    assert run("ecc", folder, table, "-o", out, *options) == cli.DONE
    found = pl.read_csv(out / "ecc.tsv", separator="\t")
    assert found["set"].to_list() == [f"g{gene}" for gene in range(6)]
    assert (out / "ecc.png").stat().st_size > 5000
    assert "6 sets" in capsys.readouterr().err
    before = (out / "ecc.tsv").read_bytes()
    assert run("ecc", folder, table, "-o", out, *options, "--quiet") == cli.DONE
    assert (out / "ecc.tsv").read_bytes() == before


OTHER = "ACGTACGTGG" * 3
BAD = [
    ("a protein", ">p\nMKVLAAGIVPLL\n", "looks like a protein"),
    ("letters", f">p\n{INSERTS[0][:-1]}R\n", "'R'"),
    ("unknown bases", f">p\n{INSERTS[0][:-1]}N\n", "contains N"),
    ("another scaffold", f">p\n{OTHER[:7]}{INSERTS[0]}{OTHER[:7]}\n", "the promoter has 54 bp with flanks"),
    ("a short insert", f">p\n{INSERTS[0]}\n>q\n{INSERTS[1][:20]}\n", "row 2 ('q'): the promoter has 34 bp with flanks, but the model was"),
    (
        "damaged flanks",
        f">p\n{toy.FIVE[:-1]}A{INSERTS[0]}{toy.THREE}\n",
        "the flanks are TTACATA...GGTTACG, but the model's scaffold has TTAC",
    ),
    ("an empty file", "", "the file is empty"),
    ("blanks", "\n\n", "no FASTA record found"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_promoters_that_cannot_be_used_are_one_message_and_no_output(folder, tmp_path, capsys, content, message):
    (tmp_path / "promoters.fa").write_text(content)
    assert run("evolve", folder, tmp_path / "promoters.fa", "-o", tmp_path / "out") == cli.REFUSED
    said = capsys.readouterr().err
    assert message in said
    assert str(tmp_path / "promoters.fa") in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (f"sequence\tset\n{INSERTS[0]}\ta\n", (), "no set has an expression conservation coefficient"),
        (f"sequence\tset\n{INSERTS[0]}\ta\n{INSERTS[0]}\ta\n", (), "fewer than two distinct orthologs"),
        (f"sequence\n{INSERTS[0]}\n", (), "no column 'set'"),
        (f"sequence\tset\n{INSERTS[0]}\ta\n{INSERTS[1]}\t\n", (), "row 3: the set is empty"),
        (f"sequence\tset\tisolates\n{INSERTS[0]}\ta\t0\n", (), "row 2: 0 isolates"),
        (f"sequence\tset\tisolates\n{INSERTS[0]}\ta\t1.5\n", (), "isolates"),
        (f"sequence\tset\n{INSERTS[0][:-1]}N\ta\n", (), "all orthologs contain N"),
        (f"sequence\tset\n{INSERTS[0]}\ta\n{INSERTS[1][:-2]}\ta\n", (), "with flanks"),
        (f"sequence\tset\n{INSERTS[0]}\ta\n", ("--set-column", "gene"), "no column 'gene' for set"),
        ("", (), "the file is empty"),
    ],
)
def test_orthologs_that_cannot_be_used_are_one_message_and_no_output(folder, tmp_path, capsys, content, options, message):
    (tmp_path / "orthologs.tsv").write_text(content)
    assert run("ecc", folder, tmp_path / "orthologs.tsv", "-o", tmp_path / "out", *options) == cli.REFUSED
    said = capsys.readouterr().err
    assert message in said
    assert str(tmp_path / "orthologs.tsv") in said
    assert not (tmp_path / "out").exists()


def test_orthologs_in_fasta_are_refused(folder, promoters, capsys):
    assert run("ecc", folder, promoters, "-o", promoters.parent / "out") == cli.REFUSED
    assert "does not say which promoters are orthologs" in capsys.readouterr().err


def test_options_that_cannot_be_used(folder, promoters, tmp_path, capsys):
    out = tmp_path / "out"
    for options, message in [
        (("--generations", 0), "expected a whole number of at least 1, found '0'"),
        (("--mode", "robustness", "--epsilon", 0), "expected a number above 0, found '0'"),
        (("--mode", "robustness", "--epsilon", "nan"), "expected a number above 0, found 'nan'"),
        (("--mode", "sideways"), "invalid choice: 'sideways'"),
    ]:
        with pytest.raises(SystemExit) as stop:
            run("evolve", folder, promoters, "-o", out, *options)
        assert stop.value.code == cli.REFUSED
        assert message in capsys.readouterr().err
    for options, message in [
        (("--mode", "robustness"), "--epsilon and --mode robustness belong together"),
        (("--epsilon", 1), "--epsilon and --mode robustness belong together"),
        (("--mode", "stabilising"), "stabilising selection needs a bound"),
        (("--bound", 1), "--bound and --mode stabilising belong together"),
        (("--condition", "galactose"), "the model has no condition 'galactose'"),
    ]:
        assert run("evolve", folder, promoters, "-o", out, *options) == cli.REFUSED
        assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_model_without_calibration_is_refused(folder, promoters, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model/calibration.json").unlink()
    assert run("evolve", tmp_path / "model", promoters, "-o", tmp_path / "out") == cli.REFUSED
    assert "calibration.json: this file does not exist; it holds flanks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("function", ["evolve", "landscape", "summarise"])
def test_an_interrupted_command_leaves_nothing_half_written(folder, promoters, tmp_path, monkeypatch, capsys, function):
    """Ctrl-C in the second part, after the first was written."""
    kept, calls = getattr(evolution, function), []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2 or function == "summarise":
            raise KeyboardInterrupt
        return kept(*arguments, **options)

    monkeypatch.setattr(evolution, function, interrupted)
    monkeypatch.setattr(evolve_commands, "_AT_A_TIME", 4)
    assert run("evolve", folder, promoters, "-o", tmp_path / "out", *ALL, "--generations", 2) == cli.INTERRUPTED
    assert "gpraflow: interrupted" in capsys.readouterr().err
    whole = {"evolve": set(), "summarise": {"trajectories.tsv.gz"}}
    whole["landscape"] = {"trajectories.tsv.gz", "trajectories.png", "trajectories.svg", "summary.tsv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == whole[function]


# Several conditions


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A model of two conditions: the first has the toy's expression, the second its negative."""
    folder = tmp_path_factory.mktemp("two") / "model"
    backend.select_backend("jax")
    toy.write_model(folder)
    import keras

    tokens = keras.Input((toy.LENGTH,), dtype="int32", name="tokens")
    base = keras.layers.Embedding(5, 2, name="values")
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(base(tokens)), name="toy")
    base.set_weights([np.array([[value, -value] for value in toy.VALUES.values()], np.float32)])
    model.save(folder / "model.keras")
    about = json.loads((folder / "model.json").read_text()) | {"conditions": ["glucose", "galactose"], "parameters": model.count_params()}
    (folder / "model.json").write_text(json.dumps(about))
    return folder


def test_a_condition_and_a_difference_are_selected_for(two, monkeypatch):
    from gpraflow.prediction import calibration

    known = {}
    monkeypatch.setattr(calibration, "read", lambda directory, readouts: known)
    predictor = prediction_predictor.Predictor(two)
    tokens = evolution.tokenize(pl.Series(toy.promoters(3, 5)), **predictor.window)
    everywhere = np.ones_like(tokens, bool)
    for readout, sign in (("glucose", 1), ("galactose", -1), ("galactose-glucose", -2)):
        of = predictor.of(readout)
        _, base, better = evolution._best_mutants(of, tokens, everywhere, 1)
        assert (base == (2 if sign > 0 else 0)).all()  # G is high in glucose, A in galactose
        assert better.all()
