"""Search for near-duplicates in files and buckets, against all pairs and against the search in memory."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy.sparse.csgraph import connected_components

from gpraflow.formats import promoters
from gpraflow.sequences import neighbours, scaffold, stored
from gpraflow.sequences.components import Components
from tests.sequences.test_neighbours import PTPA, brute_force, edited, random_inserts, turned

REPOSITORY = Path(__file__).parents[2]


def library(rng, lengths, count=240):
    """Return random inserts with repeated sequences, near-duplicates and reverse complements, and few predefined groups."""
    sequences = random_inserts(count // 4, rng, lengths)
    sequences += [edited(sequences[rng.integers(count // 4)], rng.integers(0, 5), rng) for _ in range(3 * count // 4)]
    sequences = [turned(text) if rng.random() < 0.5 else text for text in sequences]
    return sequences, [f"g{rng.integers(8)}" if rng.random() < 0.05 else None for _ in sequences]


def text_of(sequences, folder=None):
    text = stored.Text(folder)
    canonical = scaffold.canonical_sequences(pl.Series(sequences, dtype=pl.String))
    for begin in range(0, len(canonical), 50):
        text.append(canonical[begin : begin + 50])
    return text


def expected_clusters(sequences, given, max_edits):
    """Return first row and name of each sequence's cluster, from all pairs and a loop over the clusters."""
    links, of = [*enumerate(brute_force(sequences, max_edits))], {}
    links += [(row, of.setdefault(name, row)) for row, name in enumerate(given) if name]
    near = np.zeros((len(sequences),) * 2, bool)
    near[tuple(np.transpose(links))] = True
    number, component = connected_components(near, directed=False)
    rows = [np.flatnonzero(component == each) for each in range(number)]
    first, names = {}, {}
    for members in rows:
        own = [given[row] for row in members if given[row]] or [min(sequences[row], turned(sequences[row])) for row in members]
        first |= dict.fromkeys(members.tolist(), int(members[0]))
        names |= dict.fromkeys(members.tolist(), min(own))
    return [first[row] for row in range(len(sequences))], [names[row] for row in range(len(sequences))]


@pytest.fixture
def tiny(monkeypatch):
    """Blocks and buckets of a few rows."""

    def set_to(rows):
        for name in ("_BLOCK_ROWS", "_BUCKET_ROWS", "_GROUPED", "_PAIRS", "_KMERS", "_ROWS", "IN_MEMORY"):
            monkeypatch.setattr(neighbours, name, rows)

    return set_to


@pytest.mark.parametrize("rows", [13, 100])
@pytest.mark.parametrize("lengths", [(80,), (60, 61, 80), (5, 6, 7, 8, 12)], ids=str)
@pytest.mark.parametrize("max_edits", [0, 1, 3])
def test_clusters_in_files_are_those_of_all_pairs(tmp_path, tiny, rows, lengths, max_edits):
    sequences, given = library(np.random.default_rng(rows + max_edits), lengths)
    tiny(rows)
    for group in (given, [None] * len(given)):
        found = neighbours.find_clusters(text_of(sequences, tmp_path), pl.Series(group, dtype=pl.String), max_edits, 0, 2, tmp_path)
        table = found.table(tmp_path).collect()
        first, names = expected_clusters(sequences, group, max_edits)
        assert table.schema == {"cluster": pl.String, "first": pl.UInt32}
        assert table["first"].to_list() == first
        assert table["cluster"].to_list() == names
        assert found.sizes.tolist() == np.bincount(first, minlength=len(first)).tolist()
        assert {path.name for path in tmp_path.iterdir() if path.suffix != ".parquet"} == {"codes", "bounds"}


def test_mutants_in_buckets_are_those_of_all_pairs(tmp_path, tiny):
    """Every mutant shares segments with many others, on either strand."""
    rng = np.random.default_rng(1)
    sequences = [edited(text, rng.integers(1, 5), rng) for text in random_inserts(4, rng) for _ in range(100)]
    sequences = [turned(text) if rng.random() < 0.5 else text for text in sequences]
    tiny(37)
    found = neighbours.find_clusters(text_of(sequences, tmp_path), None, 3, 0, 2, tmp_path)
    assert found.first.tolist() == brute_force(sequences, 3).tolist()


@pytest.mark.parametrize("kmer", [24, 30])
def test_kmers_in_files_link_tiles(tmp_path, tiny, kmer):
    rng = np.random.default_rng(4)
    (genome,) = random_inserts(1, rng, (600,))
    tiles = [genome[start : start + 80] for start in range(0, 500, 50)]  # 30 bp in common
    sequences = [turned(tile) if i % 2 else tile for i, tile in enumerate(tiles)] + random_inserts(20, rng)
    tiny(101)
    found = neighbours.find_clusters(text_of(sequences, tmp_path), None, 0, kmer, 1, tmp_path)
    assert found.first.tolist() == [0] * 10 + list(range(10, 30))


@pytest.mark.parametrize("sequences", [[], ["ACGT"], [""], ["", "", "A"]], ids=str)
def test_libraries_of_few_rows(tmp_path, sequences):
    for folder in (None, tmp_path):
        found = neighbours.find_clusters(text_of(sequences, folder), None, 3, 12, 1, folder)
        expected = [0] * len(sequences)  # within three edits of each other
        assert found.table(folder).collect()["first"].to_list() == expected
        assert found.sizes.tolist() == [len(sequences), 0, 0][: len(sequences)]


def test_text_holds_sequences_and_their_parts(tmp_path):
    sequences = ["ACGTN", "TTTT", "", "GATTACA", "ACGTN"]
    for folder in (None, tmp_path):
        text = stored.Text(folder)
        text.append(pl.Series(sequences[:2]))
        text.append(pl.Series(sequences[2:]))
        rows = np.array([4, 2, 3, 1, 0, 3])
        chosen = [sequences[row] for row in rows]
        assert len(text) == 5
        assert text.lengths(slice(1, 4)).tolist() == [4, 0, 7]
        assert text.series(rows).to_list() == chosen
        assert text.take(rows).tolist() == [each.encode() for each in chosen]
        assert text.take(rows, reverse_complemented=True).tolist() == [turned(each).encode() for each in chosen]
        whole = text.whole_hashes(np.arange(5))
        assert whole[0] == whole[4]
        assert len(set(whole.tolist())) == 4
        long = np.array([0, 3])  # windows of the sequence, and of its reverse complement
        for offset in (1, -4):
            own = [sequences[row][offset:][:3] for row in long], [turned(sequences[row])[offset:][:3] for row in long]
            for reverse, pieces in enumerate(own):
                alone = stored.Text.of(pl.Series(pieces))
                assert text.hashes(long, offset, 3, bool(reverse)).tolist() == alone.hashes(np.arange(2), 0, 3).tolist()


def test_hashes_of_many_segments_differ():
    pieces = pl.Series([f"{number:020b}".replace("0", "A").replace("1", "T") for number in range(1 << 16)])
    hashes = stored.Text.of(pieces).whole_hashes(np.arange(len(pieces)))
    assert len(np.unique(hashes)) == len(pieces)
    counts = np.bincount((hashes >> np.uint64(32)) * np.uint64(16) >> np.uint64(32))
    assert (np.abs(counts - 4096) < 400).all()  # buckets of about equal size


def test_components_are_those_of_the_graph():
    rng = np.random.default_rng(2)
    links, graph = Components(500), np.zeros((500, 500), bool)
    for _ in range(30):
        a, b = rng.integers(0, 500, (2, 12))
        links.link(a, b)
        graph[a, b] = True
        _, of = connected_components(graph, directed=False)
        first = np.unique(of, return_index=True)[1][of]
        rows = rng.integers(0, 500, 20)
        assert links.of(rows).tolist() == first[rows].tolist()
    assert links.are_first().tolist() == (first == np.arange(500)).tolist()
    assert links.first().tolist() == first.tolist()


def test_the_nearest_in_parts_is_the_nearest_of_all(tmp_path):
    rng = np.random.default_rng(3)
    training = random_inserts(90, rng)
    training[70] = training[10]  # equally near: the first is taken
    scored = pl.Series(
        [turned(edited(training[place], edits, rng, ["substitute"])) for place, edits in ((10, 2), (40, 1), (80, 0), (85, 7))]
    )
    path = tmp_path / "train.parquet"
    promoters.write(pl.DataFrame({"sequence": training, "expression": [0.0] * 90}), path)
    parts = promoters.SequenceParts(path, 20)
    assert [len(part) for part in parts] == [20, 20, 20, 20, 10]
    whole = neighbours.find_nearest([pl.Series(training)], {"a": scored}, lambda s: s, 3)
    found = neighbours.find_nearest(parts, {"a": scored}, lambda s: s, 3)
    assert found.equals(whole)
    assert found["nearest"].to_list() == [training[place] for place in (10, 40, 80, 85)]


def test_labels_are_an_enumeration_in_alphabetical_order(tmp_path):
    path = tmp_path / "a.parquet"
    promoters.write(pl.DataFrame({"sequence": ["A", "C", "G"], "expression": [0.0] * 3, "group": ["z", None, "b"]}), path)
    found = promoters.labels(promoters.scan(path), "group")
    assert found.to_list() == ["z", None, "b"]
    assert found.dtype == pl.Enum(["b", "z"])
    assert promoters.labels(promoters.scan(path), "split") is None


def job_of(folder, sequences, given, name="clusters.parquet"):
    """Return a job of the rule, with a promoter table that it reads."""
    path = folder / "library.parquet"
    whole = [PTPA.five_prime + text + PTPA.three_prime for text in sequences]
    promoters.write(pl.DataFrame({"sequence": whole, "expression": [0.0] * len(whole), "group": given}), path)
    output = SimpleNamespace(clusters=str(folder / "out" / name), ledger=str(folder / "ledger.tsv"))
    (folder / "out").mkdir(exist_ok=True)
    params = SimpleNamespace(scaffold="pTpA", max_flank_edits=4, max_edits=3, kmer=0)
    scaffolds = folder / "scaffolds.yaml"
    scaffolds.write_text(f"pTpA: {{organism: yeast, five_prime: {PTPA.five_prime}, three_prime: {PTPA.three_prime}}}\n")
    inputs = SimpleNamespace(promoters=str(path), scaffolds=str(scaffolds))
    return SimpleNamespace(input=inputs, output=output, params=params, log=[str(folder / "log")], threads=2)


def adapter():
    specification = importlib.util.spec_from_file_location("group_neighbours", REPOSITORY / "scripts/group_neighbours.py")
    module = importlib.util.module_from_spec(specification)
    source = Path(specification.origin).read_text().partition("\nif __name__")[0]
    exec(compile(source, specification.origin, "exec"), module.__dict__)
    return module


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.sequences import test_stored
from gpraflow.sequences import neighbours
for name in ("_BLOCK_ROWS", "_BUCKET_ROWS", "IN_MEMORY"):
    setattr(neighbours, name, {rows})
sequences, given = test_stored.library(test_stored.np.random.default_rng(5), (80,))
{fault}
test_stored.adapter().main(test_stored.job_of(Path({folder!r}), sequences, given))
"""
FAULT = """
def ended(join, linked):
    {act}
neighbours._undecided = ended
"""


def run(folder, rows, act=""):
    fault = FAULT.format(act=act) if act else ""
    code = RUN.format(repository=str(REPOSITORY), rows=rows, fault=fault, folder=str(folder))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_rule_in_files_leaves_no_parts_whatever_ends_it(tmp_path):
    """Killed in the middle of the search it leaves parts, which the next attempt removes."""
    out = tmp_path / "out"
    in_memory = run(tmp_path, 10_000)
    assert in_memory.returncode == 0, in_memory.stderr
    expected = pl.read_parquet(out / "clusters.parquet")
    assert expected["cluster"].n_unique() > 20
    (out / "clusters.parquet").unlink()
    killed = run(tmp_path, 20, "import os; os.kill(os.getpid(), 9)")
    assert killed.returncode == -signal.SIGKILL
    (left,) = out.iterdir()
    assert left.name.startswith(".parts-")
    assert {path.name for path in left.iterdir()} >= {"codes", "bounds", "hashes"}
    failed = run(tmp_path, 20, "raise ValueError('in the middle')")
    assert "in the middle" in failed.stderr + (tmp_path / "log").read_text()
    assert list(out.iterdir()) == []
    again = run(tmp_path, 20)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in out.iterdir()] == ["clusters.parquet"]
    assert pl.read_parquet(out / "clusters.parquet").equals(expected)
