import runpy
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from matplotlib.patches import StepPatch
from scipy import stats

from gpraflow.assay import expression, figures
from gpraflow.assay.replicates import Replicate
from gpraflow.core import drawing, logs
from gpraflow.sequences.scaffold import Scaffold

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHEET = [{"bin": "low"}, {"bin": "mid"}, {"bin": "high"}]
TWICE = [{"replicate": name, **row} for name in ("A", "B") for row in SHEET]


@pytest.fixture(autouse=True)
def closed():
    yield
    drawing.plt.close("all")


def ledger(*lines):
    return pl.DataFrame(lines, schema=["rule", "dataset", "kind", "what", "rows"], orient="row")


LEDGER = ledger(
    ("count_reads", "1", "in", "rows", 200),
    ("count_reads", "1", "dropped", "no flank found", 20),
    ("count_reads", "1", "dropped", "N in the insert", 30),
    ("count_reads", "1", "dropped", "mean quality below 20", 0),
    ("count_reads", "1", "noted", "with one edit in a flank", 7),
    ("count_reads", "1", "out", "rows", 150),
    ("count_reads", "2", "in", "rows", 0),
    ("count_reads", "2", "out", "rows", 0),
    ("count_reads", "3", "in", "rows", 1000),
    ("count_reads", "3", "dropped", "no flank found", 100),
    ("count_reads", "3", "out", "rows", 900),
    ("merge_pairs", "3", "in", "rows", 2000),
    ("merge_pairs", "3", "dropped", "mates do not overlap", 1000),
    ("merge_pairs", "3", "out", "rows", 1000),
    ("merge_counts", "3", "dropped", "of another step", 5),
)


def counts(seed=0, bins=3, inserts=60):
    """Tables of counts of bins, of inserts of 8 or (a few) 6 bp."""
    rng = np.random.default_rng(seed)
    pool = ["".join(rng.choice(list("ACGTN"), 6 if i % 10 == 0 else 8, p=[0.3, 0.2, 0.2, 0.25, 0.05])) for i in range(inserts)]
    tables = []
    for _ in range(bins):
        chosen = sorted(set(rng.choice(pool, inserts // 2)))
        tables.append(pl.DataFrame({"insert": chosen, "reads": rng.geometric(0.3, len(chosen))}))
    return tables


def saved(figure, folder):
    drawing.save(figure, folder / "a.png", folder / "a.svg")
    return (folder / "a.png").read_bytes(), (folder / "a.svg").read_bytes()


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bars(axes):
    """Return label -> heights (widths if bars lie), as drawn."""
    return {
        group.get_label(): [bar.get_height() if group.orientation == "vertical" else bar.get_width() for bar in group]
        for group in axes.containers
    }


def test_reads_lost_are_the_ledgers_reasons_the_commonest_first():
    reasons, lost = figures.reads_lost(LEDGER, ["3", "1", "2"])
    assert reasons == ["merge_pairs: mates do not overlap", "no flank found", "N in the insert"]
    assert lost.tolist() == [[1000, 100, 0], [0, 20, 30], [0, 0, 0]]
    assert figures.reads_through(LEDGER, ["3", "1", "2"]) == {
        "reads in": [2000, 200, 0],
        "merged": [1000, None, None],
        "counted": [900, 150, 0],
    }


def test_yield_draws_shares_that_make_a_hundred_and_states_the_reads(tmp_path):
    figure = figures.read_yield(LEDGER, ["3", "1", "2"])
    (axes,) = figure.axes
    drawn = bars(axes)
    assert drawn["counted"] == [45, 75, 0]
    assert drawn["lost: no flank found"] == [5, 10, 0]
    assert drawn["lost: N in the insert"] == [0, 15, 0]
    assert np.sum(list(drawn.values()), axis=0).tolist() == [100, 100, 0]
    ends = np.zeros(3)
    for group in axes.containers:  # each begins where the one before ended
        assert [bar.get_x() for bar in group] == pytest.approx(ends)
        ends += [bar.get_width() for bar in group]
    table = {(round(text.get_position()[0], 2), text.get_position()[1]): text.get_text() for text in axes.texts}
    rows = [[table[x, row] for x in sorted({x for x, _ in table})] for row in (-1, 0, 1, 2)]
    assert rows == [["reads in", "merged", "counted"], ["2,000", "1,000", "900 (45 %)"], ["200", "", "150 (75 %)"], ["0", "", "0 (0 %)"]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "1", "2"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first bin is at the top
    assert b"mates do not overlap" in saved(figure, tmp_path)[1]


@pytest.mark.parametrize(("reasons", "last"), [(8, "lost: reason 7"), (11, "lost: 4 other reasons")])
def test_yield_of_many_reasons_adds_up_the_rarest(reasons, last):
    rows = [("count_reads", "a", "dropped", f"reason {i}", 100 - i) for i in range(reasons)]
    total = sum(row[-1] for row in rows)
    drawn = bars(figures.read_yield(ledger(("count_reads", "a", "in", "rows", total), *rows), ["a"]).axes[0])
    assert list(drawn)[-1] == last
    assert len(drawn) == 9
    assert drawn[last][0] == pytest.approx(100 * sum(range(100 - reasons + 1, 94)) / total)
    assert sum(value for (value,) in drawn.values()) == pytest.approx(100)


def test_yield_grows_with_the_bins():
    columns = [f"bin{i}" for i in range(128)]
    figure = figures.read_yield(ledger(*[("count_reads", column, "in", "rows", 10) for column in columns]), columns)
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 128
    assert all(below.y1 <= above.y0 for above, below in pairwise(labels))


def test_distinct_draws_reads_and_inserts_of_each_replicate():
    reads, distinct = np.array([5, 6, 7, 50, 0, 70]), np.array([1, 2, 3, 4, 0, 6])
    figure = figures.distinct_per_bin(TWICE, reads, distinct)
    top, bottom = figure.axes
    assert bars(top) == {"A": [5, 6, 7], "B": [50, 0, 70]}
    assert bars(bottom) == {"A": [1, 2, 3], "B": [4, 0, 6]}
    middles = [[bar.get_x() + bar.get_width() / 2 for bar in group] for group in bottom.containers]
    assert np.mean(middles, axis=0) == pytest.approx([0, 1, 2])
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["low", "mid", "high"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]
    assert not figures.distinct_per_bin(SHEET, reads[:3], distinct[:3]).legends


def test_survey_counts_what_a_dictionary_counts():
    tables = counts()
    found = figures.survey([table.lazy() for table in tables])
    library, lengths, bases = Counter(), Counter(), [Counter() for _ in range(8)]
    for table, (n, inserts) in zip(tables, found.bins, strict=True):
        assert dict(zip(n, inserts, strict=True)) == Counter(table["reads"])
        library.update(dict(table.iter_rows()))
    for insert, reads in library.items():
        lengths[len(insert)] += reads
        if len(insert) == 8:
            for position, base in zip(bases, insert, strict=True):
                position[base] += 1
    assert dict(zip(*found.library, strict=True)) == Counter(library.values())
    assert found.library[0].tolist() == sorted(found.library[0])
    assert dict(zip(found.lengths, found.length_reads, strict=True)) == lengths
    assert found.composition.tolist() == [[position[base] for base in "ACGTN"] for position in bases]
    assert found.reads.tolist() == [table["reads"].sum() for table in tables]
    assert found.distinct.tolist() == [len(table) for table in tables]


def test_inserts_of_bins_are_what_lies_between_the_flanks():
    table = pl.DataFrame({"sequence": ["AACCGTTT", "AATTT", "AAGTTT"], "x": [3, 0, 1], "y": [0, 2, 0]})
    x, y = figures.inserts_of_bins(table.lazy(), ["x", "y"], Scaffold("s", "AA", "TTT"))
    assert x.collect().rows() == [("CCG", 3), ("G", 1)]
    assert y.collect().rows() == [("", 2)]


def test_composition_does_not_depend_on_blocks():
    inserts = pl.Series(["ACGT", "AANT", "TTTT", "CCGA", "NNNN"])
    whole = figures.base_composition(inserts)
    assert whole[0].tolist() == [2, 1, 0, 1, 1]
    for block in (1, 2, 3):
        assert (figures.base_composition(inserts, block) == whole).all()


def test_rarefaction_is_the_sum_over_inserts_and_what_resampling_gives():
    rng = np.random.default_rng(1)
    reads = rng.negative_binomial(0.5, 0.05, 300) + 1
    histogram = figures.reads_histogram(pl.Series("reads", reads))
    share = np.array([0.0, 1e-9, 0.03, 0.5, 0.999, 1.0])
    expected = [sum(1 - (1 - f) ** int(n) for n in reads) for f in share]
    assert figures.rarefy(histogram, share) == pytest.approx(expected, rel=1e-6)
    assert figures.rarefy(histogram, share)[-1] == 300
    for f, value in ((0.03, expected[2]), (0.5, expected[3])):
        drawn = [(rng.binomial(reads, f) > 0).sum() for _ in range(400)]
        assert np.mean(drawn) == pytest.approx(value, abs=4 * np.std(drawn) / 20)


def test_rarefaction_draws_every_bin_to_its_reads_and_inserts():
    tables = counts(bins=6)
    found = figures.survey([table.lazy() for table in tables])
    left, right, _ = figures.rarefaction(TWICE, found.bins, found.library).axes
    assert [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in right.lines[:6]] == [(t["reads"].sum(), len(t)) for t in tables]
    assert [line.get_linestyle() for line in right.lines[:6]] == ["-"] * 3 + ["--"] * 3
    assert right.lines[0].get_color() == right.lines[3].get_color() != right.lines[1].get_color()
    curve = left.lines[0]
    total, once = found.library[0] @ found.library[1], dict(zip(*found.library, strict=True))[1]
    assert curve.get_ydata() == pytest.approx(figures.rarefy(found.library, curve.get_xdata() / total))
    assert texts(left) == [
        f"{total:,} reads\n{found.library[1].sum()} distinct inserts\n{100 * once / total:.2g} % of further reads\nwould be new inserts"
    ]


@pytest.mark.parametrize(("reads", "scale"), [([50, 90], "linear"), ([3, 900], "log")])
def test_inserts_draws_reads_by_length_and_shares_of_bases(monkeypatch, reads, scale):
    composition = np.array([[2, 1, 0, 1, 0], [2, 0, 1, 1, 0]])
    assert figures.library_kind(composition) == "mixed"
    monkeypatch.setattr(figures, "library_kind", lambda composition: "random")
    left, right = figures.inserts(np.array([1, 2]), np.array(reads), composition).axes
    assert [bar.get_height() for bar in left.patches] == reads
    assert [bar.get_x() + bar.get_width() / 2 for bar in left.patches] == [1, 2]
    assert left.get_yscale() == scale
    assert {line.get_label(): line.get_ydata().tolist() for line in right.lines} == {
        "A": [50, 50],
        "C": [25, 0],
        "G": [0, 25],
        "T": [25, 25],
        "N": [0, 0],
    }
    assert right.lines[0].get_xdata().tolist() == [1, 2]
    assert "4 distinct inserts of 2 bp" in right.get_xlabel()


def composition_of(tokens):
    return figures.base_composition(pl.Series(["".join(row) for row in np.array(list("ACGT"))[tokens]]))


def designed(rng, parents, n, rate):
    """Variants of some parents of 60 bp, each base of which is replaced by another with a probability."""
    origin = rng.integers(0, 4, (parents, 60))[rng.integers(0, parents, n)]
    return np.where(rng.random(origin.shape) < rate, (origin + rng.integers(1, 4, origin.shape)) % 4, origin)


def test_the_kind_of_a_library_is_seen_from_its_bases():
    rng = np.random.default_rng(11)
    assert figures.library_kind(composition_of(rng.integers(0, 4, (2000, 60)))) == "random"
    biased = rng.choice(4, (2000, 60), p=[0.45, 0.25, 0.2, 0.1])
    assert figures.library_kind(composition_of(biased)) == "random"
    biased[:, 10:14] = 3  # a fixed site
    assert figures.library_kind(composition_of(biased)) == "random"
    assert figures.library_kind(composition_of(designed(rng, 1, 2000, 0.1))) == "variants"
    assert figures.library_kind(composition_of(designed(rng, 6, 2000, 0.1))) == "mixed"
    assert figures.library_kind(np.zeros((0, 5), np.int64)) == "random"


def test_variants_of_one_parent_are_drawn_as_mutations(tmp_path):
    """Saturation mutagenesis of ACG: each of the nine single mutants, and the parent."""
    parent, inserts = [0, 1, 2], [[0, 1, 2]]
    for place in range(3):
        inserts += [[*parent[:place], base, *parent[place + 1 :]] for base in range(4) if base != parent[place]]
    figure = figures.inserts(np.array([3]), np.array([10]), composition_of(np.array(inserts)))
    right = figure.axes[1]
    drawn = {bar.get_label(): [patch.get_height() for patch in bar.patches] for bar in right.containers}
    assert drawn == {"A": [0, 10, 10], "C": [10, 0, 10], "G": [10, 10, 0], "T": [10, 10, 10], "N": [0, 0, 0]}
    tops = [max(patch.get_y() + patch.get_height() for bar in right.containers for patch in [bar.patches[i]]) for i in range(3)]
    assert tops == pytest.approx([30, 30, 30])  # mutated in 3 of 10 inserts
    assert right.get_title(loc="left") == "Mutations"
    assert "10 distinct inserts of 3 bp" in right.get_xlabel()
    assert not right.lines
    saved(figure, tmp_path)


def test_libraries_of_several_parents_are_drawn_as_a_heat_map(tmp_path):
    composition = composition_of(designed(np.random.default_rng(12), 5, 500, 0.05))
    figure = figures.inserts(np.array([60]), np.array([10]), composition)
    (image,) = figure.axes[1].images
    assert np.asarray(image.get_array()) == pytest.approx((100 * composition / 500).T)
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == list("ACGTN")
    saved(figure, tmp_path)


def test_depth_counts_octaves_and_marks_the_median():
    reads = np.concatenate([[1] * 30, np.random.default_rng(2).geometric(0.02, 170), [1024, 1023]])
    (axes,) = figures.depth(reads).axes
    naive = Counter(int(np.floor(np.log2(n) + 1e-12)) for n in reads)
    assert [bar.get_height() for bar in axes.patches] == [naive[octave] for octave in range(11)]
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches] == [(2**k, 2 ** (k + 1)) for k in range(11)]
    assert axes.lines[0].get_xdata()[0] == np.median(reads)
    assert texts(axes) == [
        f"n = 202 promoters, {100 * (reads == 1).mean():.3g} % with 1 read\nmedian {np.median(reads):,.4g} reads (dashed)"
    ]


def test_expression_sets_singletons_apart_and_whole_numbers_in_the_middle_of_bars():
    rng = np.random.default_rng(3)
    values, singleton = np.concatenate([rng.normal(8, 3, 500), rng.integers(0, 18, 200), [np.nan]]), np.arange(701) >= 500
    figure = figures.expression(values, singleton, "bin units")
    (axes,) = figure.axes
    several, one = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]
    width = several.edges[1] - several.edges[0]
    assert several.values.sum() == 500
    assert several.edges[0] <= np.nanmin(values)
    assert several.edges[-1] > np.nanmax(values)
    middles = several.edges[:-1] + width / 2
    for number in range(18):
        (bar,) = np.flatnonzero(np.isclose(middles, number))
        assert one.values[bar] == (values[500:] == number).sum()
    for values_drawn, kept in ((several.values, values[:500]), (one.values, values[500:700])):
        assert values_drawn.tolist() == [((low <= kept) & (kept < low + width)).sum() for low in several.edges[:-1]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "reads in two bins or more (n = 500)",
        "singletons: reads in one bin only (n = 200)",
    ]
    assert axes.get_xlabel() == "expression (bin units)"


@pytest.mark.parametrize(("low", "high", "width"), [(0, 17, 0.2), (-3, 5, 0.1), (4, 4, 0.02), (0, 63, 0.5), (0, 1000, 2)])
def test_edges_take_in_all_values(low, high, width):
    edges = figures.expression_edges(np.array([low, high], np.float32))
    assert np.diff(edges) == pytest.approx(width)
    assert edges[0] <= low <= high < edges[-1]
    assert len(edges) <= 502


def test_examples_are_the_most_read_near_each_quantile_and_shallow_ones():
    rng = np.random.default_rng(4)
    values, reads = rng.normal(size=2000), rng.geometric(0.02, 2000)
    chosen = figures.choose_examples(values, reads)
    assert len(set(chosen)) == 8
    ranks = (stats.rankdata(values) - 0.5) / 2000
    for row, goal in zip(chosen[:4], (0.1, 0.35, 0.65, 0.9), strict=True):
        assert reads[row] == reads[np.abs(ranks - goal) <= 0.025].max()
        assert abs(ranks[row] - goal) <= 0.025
    shallow = (reads >= 6) & (reads <= 20)
    for row, goal in zip(chosen[4:], (0.1, 0.35, 0.65, 0.9), strict=True):
        assert shallow[row]
        assert abs(ranks[row] - goal) == pytest.approx(np.abs(ranks - goal)[shallow].min())
    assert (figures.choose_examples(values, reads) == chosen).all()


def test_shallow_is_6_to_20_reads():
    values = np.arange(2000.0)
    assert len(figures.choose_examples(values, np.tile([5, 21], 1000))) == 4  # none of them
    for reads in (6, 20):
        assert len(figures.choose_examples(values, np.tile([reads, 100], 1000))) == 8


def test_an_unsorted_sample_of_all_replicates_stands_in_the_middle_of_its_place():
    sheet = [{"bin": number, "replicate": name} for name in "ab" for number in "01"] + [{"bin": "input", "kind": "unsorted"}]
    figure = figures.distinct_per_bin(sheet, np.arange(1, 6), np.arange(1, 6))
    middles = [bar.get_x() + bar.get_width() / 2 for bars in figure.axes[0].containers for bar in bars]
    assert middles == pytest.approx([-0.2, 0.8, 0.2, 1.2, 2])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "all replicates"]


def test_bars_of_bins_that_overlap_show_through_each_other():
    limits = np.array([[0, 2], [1.5, 3]])
    shares, ones = np.array([[0.4, 0.6]]), np.ones(1)
    figure = figures.profiles(limits, shares, shares, ones, ones - 0.1, ones + 0.1, ones.astype(int), "SD of the population")
    bars = figure.axes[0].containers[0]
    assert [(bar.get_x(), bar.get_width(), bar.get_alpha()) for bar in bars] == [(0, 2, 0.35), (1.5, 1.5, 0.35)]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2.25]


def test_examples_of_few_promoters_are_taken_once():
    assert figures.choose_examples(np.array([3.0]), np.array([10])).tolist() == [0]
    assert figures.choose_examples(np.array([1.0, np.nan, 2.0]), np.array([10, 50, 0])).tolist() == [0]
    assert figures.choose_examples(np.array([]), np.array([])).tolist() == []


def test_cell_shares_are_reads_over_reads_per_cell():
    found = figures.cell_shares(np.array([[2, 4, 0], [0, 0, 0]]), np.array([1.0, 4.0, 0.0]))
    assert found.tolist() == [[2 / 3, 1 / 3, 0], [0, 0, 0]]


def test_open_bins_are_drawn_as_wide_as_the_others():
    for gates, edges in (([-np.inf, 1, 2, 4, 30], [-0.5, 1, 2, 4, 5.5]), ([-np.inf, 3, np.inf], [2, 3, 4])):
        assert Replicate("", (), np.array(gates), None).limits.tolist() == np.column_stack([edges[:-1], edges[1:]]).tolist()


@pytest.mark.parametrize("number", [0, 1, 6, 8])
def test_profiles_draw_shares_fit_and_interval(tmp_path, number):
    rng = np.random.default_rng(5)
    edges = np.arange(6) - 0.5
    observed, expected = rng.dirichlet(np.ones(5), number), rng.dirichlet(np.ones(5), number)
    mean = rng.uniform(0, 4, number)
    figure = figures.profiles(
        np.column_stack([edges[:-1], edges[1:]]), observed, expected, mean, mean - 0.5, mean + 0.7, np.arange(number) * 1000, "bins"
    )
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == number
    for i, axes in enumerate(panels):
        assert bars(axes) == {"cells inferred from reads": pytest.approx(100 * observed[i])}
        assert [bar.get_x() for bar in axes.containers[0]] == edges[:-1].tolist()
        assert axes.lines[0].get_ydata() == pytest.approx(100 * expected[i])
        assert axes.lines[0].get_xdata().tolist() == [0, 1, 2, 3, 4]
        (band,) = [patch for patch in axes.patches if "interval" in str(patch.get_label())]
        assert (band.get_x(), band.get_width()) == (pytest.approx(mean[i] - 0.5), pytest.approx(1.2))
        assert axes.get_title(loc="left") == f"{i * 1000:,} reads"
    saved(figure, tmp_path)


def test_no_promoters_can_be_drawn(tmp_path):
    saved(figures.depth(np.array([], np.int64)), tmp_path)
    saved(figures.expression(np.array([]), np.array([], bool), "bins"), tmp_path)


def test_correlation_is_pearsons_with_fishers_interval():
    rng = np.random.default_rng(6)
    a = rng.normal(size=50)
    b = a + rng.normal(size=50)
    expected = stats.pearsonr(a, b)
    interval = expected.confidence_interval(0.95)
    assert figures.correlation(a, b) == pytest.approx((expected.statistic, interval.low, interval.high))
    assert np.isnan(figures.correlation(a[:3], b[:3])).all()
    assert np.isnan(figures.correlation(a, np.ones(50))).all()


def test_replicates_are_drawn_in_pairs_with_enough_reads(tmp_path):
    rng = np.random.default_rng(7)
    names = ("a", "b", "c", "d")
    values = {name: rng.normal(size=400) for name in names}
    reads = {name: rng.integers(0, 30, 400) for name in names}
    values["b"][0], reads["a"][0], reads["b"][0] = np.nan, 20, 20
    figure = figures.replicates(values, reads, "bins")
    panels = figure.axes[:3]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels] == [
        ("a (bins)", "b (bins)"),
        ("a (bins)", "c (bins)"),
        ("b (bins)", "c (bins)"),
    ]
    good = (reads["a"] >= 10) & (reads["b"] >= 10) & np.isfinite(values["b"])
    assert panels[0].collections[0].get_array().sum() == good.sum()
    r, low, high = figures.correlation(values["a"][good], values["b"][good])
    assert texts(panels[0]) == [f"n = {good.sum()}\n10 reads or more in both\nr = {r:.3f} [{low:.3f}, {high:.3f}]"]
    assert len({axes.collections[0].get_clim() for axes in panels}) == 1
    saved(figure, tmp_path)


def test_replicates_without_common_promoters_can_be_drawn(tmp_path):
    one = {"a": np.array([1.0, 2.0]), "b": np.array([1.0, np.nan])}
    for reads in ({"a": np.array([9, 20]), "b": np.array([20, 20])}, {"a": np.array([10, 20]), "b": np.array([20, 20])}):
        figure = figures.replicates(one, reads, "bins")
        assert texts(figure.axes[0]) == [f"n = {int(reads['a'][0] == 10)} with 10 reads or more in both\nr = not defined"]
        saved(figure, tmp_path)


def job(folder, inputs, outputs, **params):
    output = SimpleNamespace(**{f"{name}_{kind}": folder / f"{name}.{kind}" for name in outputs for kind in ("png", "svg")})
    return SimpleNamespace(
        log=[folder / "log"],
        input=SimpleNamespace(**inputs),
        output=output,
        params=SimpleNamespace(**{"condition": "", "conditions": []} | params),
    )


def adapter(name, monkeypatch, job):
    monkeypatch.setattr(logs, "log_to", lambda path: None)
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="adapter")["main"](job)


def test_reads_are_drawn_from_files_also_of_an_empty_bin_the_same_bytes_twice(tmp_path, monkeypatch):
    merged = (
        counts(bins=1)[0].rename({"insert": "sequence", "reads": "1"}).with_columns(pl.col("1").alias("2"), pl.lit(0, pl.Int64).alias("3"))
    )
    merged.write_parquet(tmp_path / "counts.parquet")
    for number in (1, 2, 3):
        LEDGER.filter(dataset=str(number)).write_csv(tmp_path / f"{number}.tsv", separator="\t")
    inputs = {"ledger": [tmp_path / f"{i}.tsv" for i in (1, 2, 3)], "counts": tmp_path / "counts.parquet"}
    inputs["scaffolds"] = SCRIPTS.parent / "resources/scaffolds.yaml"
    params = {"columns": ["1", "2", "3"], "sheet": [{"bin": name} for name in "123"], "scaffold": "none"}
    names = ("yield", "distinct", "rarefaction", "inserts")
    for folder in (tmp_path / "a", tmp_path / "b"):
        adapter("plot_reads", monkeypatch, job(folder, inputs, names, **params))
    for name in names:
        for kind in ("png", "svg"):
            assert (tmp_path / f"a/{name}.{kind}").read_bytes() == (tmp_path / f"b/{name}.{kind}").read_bytes()
    assert b"distinct inserts of 8 bp" in (tmp_path / "a/inserts.svg").read_bytes()


def test_reads_without_any_insert_can_be_drawn(tmp_path):
    found = figures.survey([pl.LazyFrame(schema={"insert": pl.String, "reads": pl.Int64})] * 3)
    assert found.reads.tolist() == found.distinct.tolist() == [0, 0, 0]
    saved(figures.distinct_per_bin(SHEET, found.reads, found.distinct), tmp_path)
    saved(figures.rarefaction(SHEET, found.bins, found.library), tmp_path)
    saved(figures.inserts(found.lengths, found.length_reads, found.composition), tmp_path)


@pytest.mark.parametrize("cells", ["sheet", "reads", "table"])
def test_expression_is_drawn_from_the_table_that_leaves(tmp_path, monkeypatch, cells):
    rng = np.random.default_rng(8)
    sheet = [{"replicate": name, "bin": f"b{i}", **({"cells": 500.0} if cells == "sheet" else {})} for name in "xy" for i in range(4)]
    columns = [expression.column_of(row) for row in sheet]
    reads = {f"reads_{column}": rng.poisson(5, 50) for column in columns}
    mean = rng.uniform(0, 3, 50)
    table = {"expression": mean, "low": mean - 1, "high": mean + 1, "cell_sd": np.full(50, 0.8), "singleton": rng.random(50) < 0.3}
    table |= {f"expression_{name}": mean + rng.normal(0, 0.3, 50) for name in "xy"} | {f"n_reads_{name}": np.full(50, 20) for name in "xy"}
    pl.DataFrame({"n_reads": sum(reads.values()), **table, **reads}).write_parquet(tmp_path / "promoters.parquet")
    path = tmp_path / "cells.tsv"
    path.write_text("replicate\tbin\tcells\n" + "".join(f"{row['replicate']}\t{row['bin']}\t500\n" for row in sheet))
    names = ("depth", "expression", "profiles", "replicates")
    inputs = {"promoters": tmp_path / "promoters.parquet", "cells": str(path) if cells == "table" else []}
    drawn = {}
    monkeypatch.setattr(drawing, "save", lambda figure, png, svg: drawn.update({png.stem: figure}))
    params = {"sheet": sheet, "columns": columns, "sheet_path": "bins.tsv", "scale": "bin", "unit": "bins", "kind": "sorted_bins"} | {
        "overlap": "error"
    }
    adapter("plot_expression", monkeypatch, job(tmp_path, inputs, names, cells=str(path) if cells == "table" else cells, **params))
    assert tuple(drawn) == names
    panel = drawn["profiles"].axes[0]
    own = np.column_stack([reads[f"reads_x.b{i}"] for i in range(4)])
    per_cell = np.ones(4) if cells == "reads" else own.sum(axis=0) / 500
    row = figures.choose_examples(mean, own.sum(axis=1))[0]
    label = "reads" if cells == "reads" else "cells inferred from reads"
    assert drawn["profiles"].get_supylabel() == f"share of {label.partition(' ')[0]} (%)"
    assert bars(panel)[label] == pytest.approx(100 * own[row] / per_cell / (own[row] / per_cell).sum())
    shares = np.diff(stats.norm.cdf([-np.inf, 0.5, 1.5, 2.5, np.inf], mean[row], 0.8))
    assert panel.lines[0].get_ydata() == pytest.approx(100 * shares, abs=0.5)  # the fit allows a few stray cells
    assert texts(drawn["replicates"].axes[0])[0].startswith("n = 50 with 10 reads or more in both\n")
