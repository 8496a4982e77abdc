"""The command `gpraflow propose`, and the example of docs/proposals.md."""

import re
import shlex

import polars as pl
import pytest

from gpraflow.app import cli
from tests import toy
from tests.command import refused, run
from tests.conftest import ROOT


@pytest.fixture
def pool(tmp_path):
    rows = zip(range(200), toy.inserts(200, 30), strict=True)
    (tmp_path / "pool.tsv").write_text("name\tsequence\n" + "".join(f"p{number}\t{insert}\n" for number, insert in rows))
    return tmp_path / "pool.tsv"


def test_table_and_fasta(ensemble, pool, tmp_path, capsys):
    measured = tmp_path / "measured.fa"
    measured.write_text("".join(f">m\n{insert}\n" for insert in toy.inserts(200, 30)[:50]))
    for name in ("a", "b"):
        outputs = ("-o", tmp_path / f"{name}.csv", "--fasta", tmp_path / f"{name}.fa")
        assert run("propose", ensemble, pool, "-n", 30, "--acquisition", "mixture", "--measured", measured, *outputs) == cli.DONE
    assert "gpraflow: 30 of 200 promoters chosen; 50 measured promoters; " in capsys.readouterr().err
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    found = pl.read_csv(tmp_path / "a.csv")
    columns = ["rank", "name", "sequence", "expression", "expression_low", "expression_high", "expression_sd", "out_of_distribution"]
    assert found.columns == [*columns, "acquisition", "acquisition_value", "reason"]
    assert not set(found["name"]) & {f"p{number}" for number in range(50)}
    lines = (tmp_path / "a.fa").read_text().splitlines()
    assert lines[1::2] == found["sequence"].to_list()
    assert [line.split()[0][1:] for line in lines[::2]] == found["name"].to_list()


def test_promoters_of_the_run_are_excluded(tmp_path, capsys):
    from gpraflow.formats import promoters

    toy.write_whole(tmp_path / "results/mine/model")
    (tmp_path / "results/mine/splits").mkdir()
    for name, seed in (("train", 40), ("val", 41)):
        promoters.write(toy.table(60, seed), tmp_path / f"results/mine/splits/{name}.parquet")
    (tmp_path / "pool.fa").write_text("".join(f">p\n{each}\n" for each in toy.promoters(60, 40) + toy.promoters(60, 42)))
    assert run("propose", tmp_path / "results/mine/model", tmp_path / "pool.fa", "-n", 60, "-o", tmp_path / "out.tsv") == cli.DONE
    said = capsys.readouterr().err
    assert f"120 measured promoters in {tmp_path}/results/mine/splits; " in said
    assert "60 measured already" in said
    assert set(pl.read_csv(tmp_path / "out.tsv", separator="\t")["sequence"]) == set(toy.promoters(60, 42))


def test_a_random_pool_on_standard_output(folder, capsys):
    assert run("propose", folder, "--random", 300, "-n", 5, "--quiet") == cli.DONE
    said = capsys.readouterr()
    assert not said.err
    lines = [line.split("\t") for line in said.out.splitlines()]
    assert len(lines) == 6
    assert all(line[1].startswith("random_") and len(line[2]) == toy.LENGTH for line in lines[1:])


def test_input_that_cannot_be_used(folder, pool, tmp_path, capsys):
    (tmp_path / "empty.fa").write_text("")
    (tmp_path / "header.tsv").write_text("sequence\n")
    toy.write_model(tmp_path / "bare")
    output = ("-o", tmp_path / "out" / "out.tsv")
    for arguments, message in (
        ((folder, tmp_path / "empty.fa", "-n", 5), "empty.fa: the file is empty"),
        ((folder, tmp_path / "header.tsv", "-n", 5), "header.tsv: the table has no rows"),
        ((folder, pool, "-n", 201), "200 promoters are left to choose from, fewer than -n 201 (pool: 200)"),
        ((folder, pool, "-n", 5, "--acquisition", "variance"), "one network, but variance needs the spread"),
        ((tmp_path / "bare", pool, "-n", 5), "calibration.json: this file does not exist; it holds flanks and intervals"),
        ((tmp_path / "bare", "--random", 50, "-n", 5), "calibration.json: this file does not exist; it holds flanks and intervals"),
        ((folder, "-n", 5), "give either a POOL or --random N"),
        ((folder, pool, "--random", 5, "-n", 5), "give either a POOL or --random N"),
        ((folder, pool, "--insert-length", 26, "-n", 5), "--insert-length: the inserts of POOL have their own lengths"),
        ((folder, pool, "-n", 5, "--condition", "glucose"), "the model has no condition 'glucose'"),
        ((folder, pool, "-n", 5, "--measured", tmp_path / "none.fa"), "none.fa: this file does not exist"),
    ):
        assert message in refused(capsys, "propose", *arguments, *output)
    assert not list((tmp_path / "out").glob("*"))
    for wrong in (("-n", "0"), ("-n", "-3"), ("-n", "2.5"), (), ("-n", "5", "--best", "nan")):
        with pytest.raises(SystemExit) as stopped:
            run("propose", folder, pool, *wrong)
        assert stopped.value.code == cli.REFUSED


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/proposals.md").read_text()
    toy.write_whole(tmp_path / "results/ensemble/model", spread=(-1.0, 0.0, 1.0))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.fa").write_text("".join(f">p{number}\n{insert}\n" for number, insert in enumerate(toy.inserts(3000, 50))))
    (tmp_path / "library.tsv").write_text("sequence\n" + "".join(f"{insert}\n" for insert in toy.inserts(100, 50)))
    (block,) = re.findall(r"^```bash\n(gpraflow propose.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 2
    assert [cli.main(command) for command in commands] == [cli.DONE, cli.DONE]
    capsys.readouterr()
    names = {}
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/proposals.md", "exec"), names)
    assert names["chosen"].height == 2000
    assert not set(names["chosen"]["name"]) & {f"p{number}" for number in range(100)}
    assert (tmp_path / "next_library.fa").read_text().count(">") == 2000
    assert capsys.readouterr().out
