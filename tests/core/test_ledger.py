import pytest

from gpraflow.core import ledger
from gpraflow.core.ledger import Ledger
from gpraflow.report import accounting


def of(rule, dataset, rows_in, out, **dropped):
    made = Ledger(rule, dataset)
    made.read(rows_in)
    for what, rows in dropped.items():
        made.drop(what, rows)
    return made, out


def written(tmp_path, *ledgers):
    paths = []
    for made, out in ledgers:
        paths.append(tmp_path / f"{made.rule}.{made.dataset}.tsv")
        made.write(paths[-1], out)
    return paths


def test_ledgers_are_collected_in_their_order(tmp_path):
    paths = written(
        tmp_path,
        of("merge_pairs", "1", 10, 9, lost=1),
        of("count_reads", "1", 9, 7, flank=2),
        of("count_reads", "2", 5, 5),
        of("ingest_table", "library", 3, 3),
    )
    ledger.write_all(
        tmp_path / "m.tsv", [of("merge_counts", "1", 7, 7), of("merge_counts", "2", 5, 5), of("merge_counts", "library", 4, 3, x=1)]
    )
    accounting.collect([*paths, tmp_path / "m.tsv"], tmp_path / "ledger.tsv")
    lines = (tmp_path / "ledger.tsv").read_text().splitlines()
    assert lines[0] == "rule\tdataset\tkind\twhat\trows"
    assert lines[1:4] == ["merge_pairs\t1\tin\trows\t10", "merge_pairs\t1\tdropped\tlost\t1", "merge_pairs\t1\tout\trows\t9"]
    assert lines[-1] == "merge_counts\tlibrary\tout\trows\t3"
    assert len(lines) == 1 + 3 + 3 + 2 + 2 + 2 + 2 + 3


def test_rows_that_do_not_add_up_are_a_fault(tmp_path):
    made, _ = of("count_reads", "1", 10, 0, flank=2)
    with pytest.raises(AssertionError, match="10 rows in, but 7 out and 2 dropped"):
        made.write(tmp_path / "a.tsv", 7)
    assert not (tmp_path / "a.tsv").exists()
    paths = written(tmp_path, of("count_reads", "1", 9, 7, flank=2))
    paths[0].write_text(paths[0].read_text().replace("flank\t2", "flank\t1"))
    with pytest.raises(AssertionError, match="rows in differ from rows out plus rows dropped"):
        accounting.collect(paths, tmp_path / "ledger.tsv")


@pytest.mark.parametrize("taken", [6, 8])
def test_reads_lost_between_steps_are_a_fault(tmp_path, taken):
    paths = written(tmp_path, of("count_reads", "1", 9, 7, flank=2), of("merge_counts", "1", taken, taken))
    with pytest.raises(AssertionError, match=f"1: count_reads passed on 7 reads, merge_counts took {taken}"):
        accounting.collect(paths, tmp_path / "ledger.tsv")
