"""`gpraflow variants --annotate`, VCF output and maps; `gpraflow explain` with motifs found de novo, inserted motifs and epistasis."""

import gzip
import json

import numpy as np
import polars as pl
import pytest

from gpraflow.app import cli
from gpraflow.explanation import context, discovery, grammar
from gpraflow.models import backend
from gpraflow.prediction import background
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import tokenize
from tests import toy

MEME = "MEME version 4\n\nALPHABET= ACGT\n\n"
INSERT = toy.inserts(1, 40)[0]


def meme(name, site):
    rows = "\n".join(" ".join("0.97" if base == letter else "0.01" for letter in "ACGT") for base in site)
    return f"MOTIF {name}\nletter-probability matrix: alength= 4 w= {len(site)}\n{rows}\n\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = toy.write_whole(tmp_path_factory.mktemp("model") / "model")
    background.write({"variants": 200, "effects": {"": list(np.linspace(-0.3, 0.3, 61))}}, path / background.FILE)
    return path


@pytest.fixture
def variants(tmp_path):
    (tmp_path / "ref.fa").write_text(f">p1\n{INSERT}\n>p2\n{INSERT[::-1]}\n")
    other = "ACGT".replace(INSERT[4], "")[0]
    lines = [f"p1\t5\t.\t{INSERT[4]}\t{other}", f"p1\t10\tdel\t{INSERT[9:11]}\t{INSERT[9]}", f"p2\t3\t.\t{INSERT[::-1][2]}\tN"]
    (tmp_path / "in.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(f"{line}\n" for line in lines))
    return [str(tmp_path / "ref.fa"), str(tmp_path / "in.vcf")], other


def test_variants_are_annotated(folder, variants, tmp_path):
    files, other = variants
    out = tmp_path / "out.tsv"
    (tmp_path / "motifs.meme").write_text(MEME + meme("own", INSERT[1:8]) + meme("absent", "ACACACACACAC"))
    command = ["variants", str(folder), *files, "--annotate", "--motifs", str(tmp_path / "motifs.meme"), "-o", str(out)]
    assert cli.main(command) == cli.DONE
    table = pl.read_csv(out, separator="\t")
    plain = tmp_path / "plain.tsv"
    assert cli.main(["variants", str(folder), *files, "-o", str(plain)]) == cli.DONE
    assert table.select(pl.read_csv(plain, separator="\t").columns).equals(pl.read_csv(plain, separator="\t"))
    assert table["hgvs"].to_list()[0] == f"p1:n.5{INSERT[4]}>{other}"
    assert table["hgvs"].to_list()[1].endswith("del")
    values = np.array([[toy.VALUES[new] - toy.VALUES[old] for new in "ACGT" if new != old] for old in INSERT]).ravel() / toy.LENGTH
    own = (toy.VALUES[other] - toy.VALUES[INSERT[4]]) / toy.LENGTH
    low, high = (values < own - 1e-6).mean(), (values <= own + 1e-6).mean()
    assert 100 * low - 1 <= table["percentile_in_promoter"][0] <= 100 * high + 1
    assert table["percentile_in_library"][0] == pytest.approx(100 * (own + 0.3) / 0.6, abs=0.5)
    assert table["motif_lost"][0] == "own"
    assert table["motif_gained"].null_count() == 3


def test_motifs_are_gained_and_lost(folder):
    site = "ACGTTGCA"
    motif = Motif("m", "FACTOR", np.array([np.where(np.arange(4) == "ACGT".index(base), 1.3, -3.0) for base in site], np.float32))
    window = prediction_predictor.Predictor(folder).window
    without = "T" * 40
    texts = pl.Series([without[:10] + site + without[18:], without, without[:10] + "TGCAACGT" + without[18:]])  # the last: reverse strand
    tokens = tokenize(texts, **window)
    lost, gained = context.motif_changes(tokens[[0, 1, 0]], tokens[[1, 2, 2]], [motif])
    assert lost == ["FACTOR", None, None]
    assert gained == [None, "FACTOR", None]


def test_a_vcf_goes_in_and_out(folder, variants, tmp_path):
    files, other = variants
    out = tmp_path / "effects.vcf.gz"
    assert cli.main(["variants", str(folder), *files, "--annotate", "-o", str(out), "--map", str(tmp_path / "maps")]) == cli.DONE
    lines = gzip.decompress(out.read_bytes()).decode().splitlines()
    records = [line.split("\t") for line in lines if not line.startswith("#")]
    assert records[0][:5] == ["p1", "5", f"p1:5:{INSERT[4]}>{other}", INSERT[4], other]
    assert records[1][2] == "del"
    assert len(records[1][3]) == len(records[1][4]) + 1
    info = dict(field.split("=") for field in records[0][7].split(";"))
    expected = (toy.VALUES[other] - toy.VALUES[INSERT[4]]) / toy.LENGTH
    assert float(info["effect_alt_minus_ref"]) == pytest.approx(expected, abs=1e-5)
    assert {"effect_low", "effect_high", "percentile_in_promoter", "percentile_in_library", "hgvs"} <= set(info)
    assert [line for line in lines if line.startswith("##contig")] == ["##contig=<ID=p1>", "##contig=<ID=p2>"]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        f"{n}_p{n}.{kind}" for n in (1, 2) for kind in ("png", "svg", "tsv")
    ]
    effects = pl.read_csv(tmp_path / "maps/1_p1.tsv", separator="\t")
    assert effects.height == 3 * len(INSERT)
    (tmp_path / "again.fa").write_text(f">p1\n{toy.FIVE}{INSERT}{toy.THREE}\n>p2\n{INSERT[::-1]}\n")


def test_motifs_are_inserted_from_the_command_line(folder, tmp_path, capsys):
    (tmp_path / "motifs.meme").write_text(MEME + meme("up", "GGGGGG") + meme("down", "AAAAAA"))
    command = ["explain", str(folder), "random", "-o", str(tmp_path / "out"), "--marginalize", str(tmp_path / "motifs.meme")]
    assert cli.main([*command, "--length", "26", "--spacings", "0-5"]) == cli.DONE
    positions = pl.read_csv(tmp_path / "out/positions.tsv", separator="\t")
    mean = np.mean(list(toy.VALUES.values())[:4])
    of_up = positions.filter(motif="up", strand="+")
    assert of_up.height == 21
    assert of_up["effect"].mean() == pytest.approx(6 * (12 - mean) / toy.LENGTH, abs=0.1)
    pairs = pl.read_csv(tmp_path / "out/pairs.tsv", separator="\t")
    assert sorted(pairs["spacing"].unique()) == list(range(6))
    assert pairs["interaction"].abs().max() < 1e-4  # the model is additive
    summary = pl.read_csv(tmp_path / "out/summary.tsv", separator="\t")
    assert summary.select("motif", "strand").rows() == [("up", "+"), ("up", "-"), ("down", "+"), ("down", "-")]
    assert summary["mean_effect"][0] == pytest.approx(of_up["effect"].mean(), abs=1e-5)
    assert summary["wave_share"].is_between(0, 1).all()
    assert (tmp_path / "out/positions.png").exists()
    assert (tmp_path / "out/pairs.svg").exists()
    capsys.readouterr()
    assert cli.main([*command, "--length", "5"]) == cli.REFUSED
    assert "the motif up of 6 bp does not fit into backgrounds of 5 bp" in capsys.readouterr().err
    assert cli.main([*command, "--spacings", "x"]) == cli.REFUSED
    assert "--spacings x: expected the first and the last spacing" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["marginalize", "de-novo", "annotate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no motif found; the file is empty"),
        ("#MATRIX homer\n0.1 0.2 0.3 0.4\n", "begins no motif in a known format"),
        ("MEME version 4\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n", "motifs of DNA"),
        (MEME + "".join(meme(f"m{number}", "ACGTAC") for number in range(5000)), "5,000 motifs; at most MOST are used at once"),
    ],
    ids=["empty", "homer", "protein", "5000"],
)
def test_wrong_motif_files_are_refused(folder, variants, tmp_path, capsys, kind, content, message):
    (tmp_path / "wrong.meme").write_text(content)
    wrong, output = str(tmp_path / "wrong.meme"), ["-o", str(tmp_path / "out")]
    command = {
        "marginalize": ["explain", str(folder), "random", *output, "--marginalize", wrong],
        "de-novo": ["explain", str(folder), variants[0][0], *output, "--de-novo", "2", "--motifs", wrong],
        "annotate": ["variants", str(folder), *variants[0], *output, "--annotate", "--motifs", wrong],
    }[kind]
    assert cli.main(command) == cli.REFUSED
    found = capsys.readouterr().err
    assert "wrong.meme" in found
    assert message.replace("MOST", "200" if kind == "marginalize" else "2,000") in found
    assert not (tmp_path / "out").exists()


def test_backgrounds_of_a_file_that_do_not_fit_are_refused(folder, tmp_path, capsys):
    (tmp_path / "motifs.meme").write_text(MEME + meme("up", "GGGGGG") + meme("down", "AAAAAA"))
    command = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(tmp_path / "out"), "--marginalize", str(tmp_path / "motifs.meme")]
    for content, message in [
        (">p1\nACGTA\n>p2\nCCGTA\n", "the motif up of 6 bp does not fit into backgrounds of 5 bp"),
        (">p1\nACGTACGTAC\n>p2\nCCGTAC\n", "give backgrounds of one length"),
        ("", "in.fa"),
    ]:
        (tmp_path / "in.fa").write_text(content)
        assert cli.main(command) == cli.REFUSED
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    (tmp_path / "in.fa").write_text(">p1\nACGTACGTAC\n")  # one background, into which no pair fits
    assert cli.main(command) == cli.DONE
    assert "gpraflow: 22 sequences to predict" in capsys.readouterr().err
    assert pl.read_csv(tmp_path / "out/positions.tsv", separator="\t").height == 20
    assert pl.read_csv(tmp_path / "out/pairs.tsv", separator="\t").height == 0
    assert pl.read_csv(tmp_path / "out/summary.tsv", separator="\t")["wave_share"].null_count() == 4  # too short for a wave


@pytest.mark.parametrize("name", ["baseline_kmer", pytest.param("baseline_motif", marks=pytest.mark.slow)])
def test_baselines_are_explained_like_networks(name, variants, tmp_path, capsys):
    """Baselines have no gradient; what needs predictions alone works."""
    from gpraflow.models.zoo import baseline_kmer, baseline_motif

    backend.select_backend("jax")
    (tmp_path / "motifs.meme").write_text(MEME + meme("up", "GGGGGG") + meme("down", "AAAAAA"))
    measured = toy.table(400, 4)
    window = {"length": toy.LENGTH, "keep": "right", "pad": "left"}
    tokens, expression = tokenize(measured["sequence"], **window), measured["expression"].to_numpy()
    if name == "baseline_kmer":
        network = baseline_kmer.fit(tokens, expression, None, upstream="", seed=0, kmer=2, penalties=[1.0])
    else:
        options = {"motifs": str(tmp_path / "motifs.meme")} | baseline_motif.PRESETS["small"]
        network = baseline_motif.fit(tokens, expression, None, upstream="", seed=0, **options)
    folder = tmp_path / "model"
    toy.write_model(folder)
    network.save(folder / "model.keras")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"architecture": name, "parameters": network.count_params()}))
    toy.calibrate(folder, prediction_predictor.predict(folder, toy.table(300, 2)))
    files, _ = variants
    out, known = tmp_path / "out", ["--motifs", str(tmp_path / "motifs.meme")]
    assert (
        cli.main(["variants", str(folder), *files, "--annotate", *known, "--map", str(out / "map"), "-o", str(out / "v.tsv")]) == cli.DONE
    )
    ranks = pl.read_csv(out / "v.tsv", separator="\t")
    assert ranks["percentile_in_promoter"].drop_nulls().is_between(0, 100).all()
    (tmp_path / "in.fa").write_text("".join(f">p{n}\n{insert}\n" for n, insert in enumerate(toy.inserts(4, 46))))
    command = ["explain", str(folder), str(tmp_path / "in.fa"), *known, "-o", str(out / "e")]
    assert cli.main([*command, "--logos", "1", "--epistasis", "--de-novo", "2"]) == cli.DONE
    assert pl.read_csv(out / "e/epistasis/1_p0.tsv", separator="\t")["epistasis"].is_finite().all()
    inserting = ["explain", str(folder), str(tmp_path / "in.fa"), "--marginalize", known[1], "--spacings", "0-1", "-o", str(out / "m")]
    assert cli.main(inserting) == cli.DONE
    effects = pl.read_csv(out / "m/positions.tsv", separator="\t").filter(strand="+").group_by("motif").agg(pl.col("effect").mean())
    assert dict(effects.iter_rows())["up"] > dict(effects.iter_rows())["down"]
    capsys.readouterr()
    assert cli.main([*command, "--gradients"]) == cli.REFUSED
    assert "has no gradient; leave out this option" in capsys.readouterr().err


def test_epistasis_and_de_novo_motifs_of_the_command(folder, tmp_path, capsys):
    (tmp_path / "in.fa").write_text("".join(f">p{n}\n{insert}\n" for n, insert in enumerate(toy.inserts(12, 46))))
    out = tmp_path / "out"
    command = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(out), "--logos", "1", "--epistasis", "--de-novo", "2"]
    assert cli.main(command) == cli.DONE
    table = pl.read_csv(out / "epistasis/1_p0.tsv", separator="\t")
    assert table.height == 26 * 25 // 2
    assert table["epistasis"].abs().max() < 1e-4
    assert table["position_1"].min() == len(toy.FIVE) + 1
    found = pl.read_csv(out / "de_novo.tsv", separator="\t")
    assert found.columns == [*discovery.MOTIFS, "factor", "matrix", "q_value"]
    assert found.height <= 2
    assert (out / "de_novo.png").exists()
    assert grammar.PAIRED == 4
    capsys.readouterr()
    command[command.index("--logos") + 1] = "90000"
    assert cli.main(command) == cli.REFUSED
    assert "all pairs of substitutions in 90,000 promoters of up to" in capsys.readouterr().err
    assert (out / "de_novo.tsv").exists()  # of the earlier call
