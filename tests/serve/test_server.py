"""The page's server: its answers are those of the library, and it refuses what does not come from the page."""

import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import requests

from gpraflow.app import serve_commands
from gpraflow.core.errors import ConfigError
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs
from gpraflow.serve import answers, jobs, model, page, server
from tests import command, toy
from tests.conftest import ROOT
from tests.serve import serving

WHOLE = toy.promoters(4, 7)
DESIGN = {"objective": "maximize", "number": 2, "budget": 60, "start": WHOLE[0], "max_edits": 4, "protect": [], "forbid_sites": []}


@pytest.fixture(scope="module")
def pages(folder):
    return serving.pages(folder)


@pytest.fixture(scope="module")
def address(pages):
    with serving.serving(server.application(pages, "127.0.0.1")) as found:
        yield found


def ask(address, path, content, **headers):
    answer = requests.post(f"{address}/api/{path}", json=content, headers=headers, timeout=120)
    return answer.status_code, answer.json()


def asked(address, path, content):
    status, found = ask(address, path, content)
    assert status == 200, found
    return found


# Answers


@pytest.mark.parametrize("form", ["fasta", "table", "lines", "inserts"])
def test_predictions_are_those_of_the_command(folder, address, tmp_path, form):
    sequences = [one[len(toy.FIVE) : -len(toy.THREE)] for one in WHOLE] if form == "inserts" else WHOLE
    text = {
        "fasta": "".join(f">p{at}\n{one[:20]}\n{one[20:]}\n" for at, one in enumerate(sequences)),
        "table": "name\tsequence\n" + "".join(f"p{at}\t{one}\n" for at, one in enumerate(sequences)),
    }.get(form, "\n".join(sequences))
    found = asked(address, "predict", {"text": text, "file": "mine.fa"})["promoters"]
    (tmp_path / "in.tsv").write_text("name\tsequence\n" + "".join(f"p{at}\t{one}\n" for at, one in enumerate(sequences)))
    assert command.run("predict", folder, tmp_path / "in.tsv", "-o", tmp_path / "out.tsv", "--quiet") == 0
    expected = pl.read_csv(tmp_path / "out.tsv", separator="\t")
    assert [one["sequence"] for one in found] == expected["sequence"].to_list() == WHOLE
    assert [one["name"] for one in found] == [f"p{at}" if form in ("fasta", "table") else f"{at + 1}" for at in range(4)]
    for key, column in {"expression": "expression", "low": "expression_low", "high": "expression_high"}.items():
        assert [one["expression"][0][key] for one in found] == pytest.approx(expected[column].to_list(), abs=2e-6)
    assert [one["expression"][0]["expression"] for one in found] == pytest.approx([toy.said(one) for one in WHOLE], abs=1e-5)


def test_effects_are_known_differences_and_null_in_flanks(address):
    found = asked(address, "explain", {"sequence": WHOLE[0], "readout": ""})
    begin, end = len(toy.FIVE), len(WHOLE[0]) - len(toy.THREE)
    assert [row is None for row in found["effects"]] == [not begin <= place < end for place in range(len(WHOLE[0]))]
    for base, row in zip(WHOLE[0][begin:end], found["effects"][begin:end], strict=True):
        assert row == pytest.approx([(toy.VALUES[other] - toy.VALUES[base]) / toy.LENGTH for other in "ACGT"], abs=1e-5)


def test_effects_of_a_promoter_beyond_the_window_are_null_where_the_model_does_not_see_it(address):
    sequence = toy.FIVE + "ACGT" * 10 + toy.THREE  # 54 bp, of which the model sees the last 40
    found = asked(address, "explain", {"sequence": sequence, "readout": ""})
    assert found["sequence"] == sequence
    assert [row is None for row in found["effects"]] == [not 14 <= place < 47 for place in range(54)]
    assert found["reasons"][0] == "It has 54 bp, but training promoters had 40 bp."


def test_sites_are_those_of_the_library(pages, address, monkeypatch):
    known = motifs.load(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")[:60]
    monkeypatch.setattr(pages, "_motifs", None)
    assert asked(address, "sites", {"sequence": WHOLE[1], "readout": ""}) == {"ready": False, "sites": []}
    monkeypatch.setattr(pages, "_motifs", known)
    found = asked(address, "sites", {"sequence": WHOLE[1], "readout": ""})["sites"]
    from gpraflow.explanation import mutagenesis, sites

    predictor, whole = pages.predictor, pl.Series([WHOLE[1]])
    tokens, effects, _, begin = mutagenesis.explain(predictor, whole)
    expected = sites.find_sites(predictor, pl.Series(["x"]), tokens, effects, begin, known)
    assert len(found) == expected.height > 0
    for site, row in zip(found, expected.iter_rows(named=True), strict=True):
        for key in ("factor", "matrix", "strand", "start", "end"):
            assert site[key] == row[key]
        assert site["effect"] == pytest.approx(row["effect"], abs=1e-5)


def test_the_survey_finds_motifs_by_their_effects(pages):
    """A model whose expression is a sum over bases uses no motif that only a combination of bases makes; none is known without motifs."""
    assert model.survey(pages.predictor, []) == []
    drawn = model.random_promoters(pages.predictor, 3)
    assert drawn.str.len_bytes().to_list() == [toy.LENGTH] * 3
    assert drawn.str.starts_with(toy.FIVE).all()
    assert drawn.n_unique() == 3


def test_comparison_is_that_of_gpraflow_variants(folder, address):
    alt = WHOLE[0][:12] + ("A" if WHOLE[0][12] != "A" else "C") + WHOLE[0][13:]
    (found,) = asked(address, "compare", {"ref": WHOLE[0], "alt": alt})["effects"]
    row = prediction_predictor.Predictor(folder).effects(pl.Series([WHOLE[0]]), pl.Series([alt])).row(0, named=True)
    assert found["effect"] == pytest.approx(row["effect_alt_minus_ref"], abs=1e-6)
    assert (found["low"], found["high"]) == pytest.approx((row["effect_low"], row["effect_high"]), abs=1e-6)
    assert found["interval"] == row["effect_interval"]


def test_reasons_say_in_words_what_is_unusual(address):
    def reasons(sequence):
        (one,) = asked(address, "predict", {"text": sequence})["promoters"]
        return one["reasons"]

    assert reasons(WHOLE[0]) == []
    assert reasons(toy.FIVE + "ACGT" * 5 + toy.THREE)[0] == "It has 34 bp, but training promoters had 40 bp."
    assert "3 of its bases are unknown (N), but training promoters had none." in reasons(WHOLE[0][:15] + "NNN" + WHOLE[0][18:])
    (unusual,) = reasons(toy.FIVE + "A" * 26 + toy.THREE)
    assert re.fullmatch(r"Its composition is unlike that of training promoters: its 3-mers are \d+\.\d times as far .*", unusual)


def test_each_condition_and_difference_has_its_numbers(tmp_path):
    folder = serving.two_conditions(tmp_path / "two")
    own = serving.pages(folder)
    described = answers.describe(own.predictor, "two")
    assert [one["name"] for one in described["readouts"]] == ["glucose", "galactose", "galactose-glucose"]
    assert [one["difference"] for one in described["readouts"]] == [False, False, True]
    (one,) = answers.predict(own.predictor, WHOLE[0])["promoters"]
    said = toy.said(WHOLE[0])
    assert [part["expression"] for part in one["expression"]] == pytest.approx([said, said + 2, 2.0], abs=1e-5)
    explained = answers.explain(own.predictor, own._effects, WHOLE[0], "galactose-glucose")
    assert np.abs(np.array([row for row in explained["effects"] if row])).max() < 1e-5
    with pytest.raises(ConfigError, match=r"the model has no condition 'x'"):
        answers.explain(own.predictor, own._effects, WHOLE[0], "x")


def test_fifty_requests_side_by_side_give_what_each_gives_alone(address):
    sequences = toy.promoters(50, 11)
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda one: asked(address, "explain", {"sequence": one, "readout": ""}), sequences))
    for sequence, one in zip(sequences, found, strict=True):
        assert one["sequence"] == sequence
        assert one["expression"][0]["expression"] == pytest.approx(toy.said(sequence), abs=1e-5)


def test_turns_are_given_in_the_order_of_requests():
    turns, order, waiting = model.Turns(), [], []
    with turns.turn():
        for number in range(5):

            def work(number=number):
                with turns.turn():
                    order.append(number)

            waiting.append(threading.Thread(target=work))
            waiting[-1].start()
            while turns._next < number + 2:
                time.sleep(0.001)
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="x"), turns.turn():
        raise ValueError("x")
    with turns.turn():  # the lock was given back
        pass


# Input that cannot be used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"There is no sequence yet: paste a promoter"),
        ("  \n ", r"There is no sequence yet"),
        ("hello there", r"text, line 1: letter 'E' at position 2 of 'HELLOTHERE'; this looks like a protein"),
        ("ACGT\n/etc/passwd", r"text, line 2: letter '/' at position 1 of '/ETC/PASSWD'"),
        ("<script>alert(1)</script>", r"text, line 1: letter '<' at position 1"),
        ("name\tseq\na\tACGT\n", r"text, row 1: no column 'sequence' .*; call the column of sequences 'sequence'$"),
        (">a\n>b\nACGT\n", r"text, record 1 \('a'\): the sequence is empty"),
        ("ACGU" * 10, r"text, line 1: the sequence is RNA \(U at position 4\)"),
        ("ACGT" * 501, r"text, promoter 1: 2,004 bp, more than the 2,000 bp that the page shows"),
        ("ACGTACGTACGT\n" * 1001, r"text: 1,001 promoters, more than the 1,000 that the page shows; use gpraflow predict for more"),
        ("A" * (1 << 20), r"text, promoter 1: 1,048,576 bp, more than the 2,000 bp"),
    ],
)
def test_text_that_cannot_be_used_is_a_sentence(address, text, message):
    status, found = ask(address, "predict", {"text": text})
    assert status == 400
    assert re.match(message, found["error"]), found
    assert "/tmp" not in found["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request is no JSON."),
        (b"{", "The request is no JSON."),
        (b"[" * 100_000, "The request is no JSON."),
        (b"\xff\xfe", "The request is no JSON."),
        (b"[1]", "The request is no JSON object."),
        (b"{}", "The request lacks the text 'text'."),
        (b'{"text": 5}', "The request lacks the text 'text'."),
        (b'{"text": ["ACGT"]}', "The request lacks the text 'text'."),
    ],
)
def test_a_request_that_is_none_is_refused(address, body, message):
    answer = requests.post(f"{address}/api/predict", data=body, headers={"Content-Type": "application/json"}, timeout=60)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_more_than_a_megabyte_is_refused_without_reading_all(address):
    answer = requests.post(
        f"{address}/api/predict", data=b'{"text": "' + b"A" * (3 << 20) + b'"}', headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("The text has more than 1 MB (3.0 MB). Give fewer promoters, or use gpraflow predict")

    def endless():
        for _ in range(64):
            yield b"A" * (1 << 16)

    answer = requests.post(f"{address}/api/predict", data=endless(), headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == 413
    assert asked(address, "predict", {"text": WHOLE[0]})["promoters"]


# Who is let in


def raw(address, request):
    """Send bytes, as no browser does; return the status."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("192.168.1.5", 421),
        ("0.0.0.0", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_the_host_header_must_be_this_machine(address, host, status):
    assert raw(address, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()) == status


def test_other_origins_and_other_content_types_are_refused(address):
    content = {"text": WHOLE[0]}
    assert ask(address, "predict", content, Origin="http://evil.example")[0] == 403
    assert ask(address, "predict", content, Origin="null")[0] == 403
    assert ask(address, "predict", content, Origin=address)[0] == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = requests.post(f"{address}/api/predict", data=json.dumps(content), headers={"Content-Type": kind}, timeout=60)
        assert answer.status_code == 415
    assert requests.options(f"{address}/api/predict", headers={"Origin": "http://evil.example"}, timeout=60).status_code == 403


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/../../etc/passwd", "/page.css", "/api/predict/x"]
)
def test_no_path_names_a_file(address, path):
    assert raw(address, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()) in (404, 405)


def test_a_token_is_needed_where_others_can_reach_the_server(pages):
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: others can reach this address, which needs a token"):
        server.application(pages, "0.0.0.0")
    with serving.serving(server.application(pages, "0.0.0.0", "secret")) as address:
        assert requests.get(address, timeout=60).status_code == 403
        assert requests.get(f"{address}/?token=secre", timeout=60).status_code == 403
        assert requests.get(f"{address}/?token=%C3%BC", timeout=60).status_code == 403
        assert requests.get(f"{address}/?token=secret", timeout=60).status_code == 200
        assert ask(address, "predict", {"text": WHOLE[0]})[0] == 403
        assert ask(address, "predict", {"text": WHOLE[0]}, **{server.TOKEN: "secret"})[0] == 200
        for host, status in (("192.168.1.5:8000", 200), (socket.gethostname(), 200), ("evil.example", 421)):
            assert raw(address, f"GET /?token=secret HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()) == status


def test_the_page_may_load_nothing_and_talk_to_its_server_only(address):
    answer = requests.get(address, timeout=60)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', answer.text)[1].replace("&#39;", "'")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", answer.text)


def test_a_name_of_a_model_cannot_become_part_of_the_page(folder):
    own = server.Pages(prediction_predictor.Predictor(folder), "</script><script>alert(1)</script>")
    assert "<script>alert" not in own._html
    assert own._html.count("</script>") == 2


# Designs


def finished(address, job):
    for _ in range(3000):
        found = requests.get(f"{address}/api/designs/{job}", timeout=60).json()
        if found["state"] != jobs.RUNNING:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_designs_keep_the_constraints_and_are_better_than_their_start(address):
    request = DESIGN | {"protect": ["1-6", "20"], "forbid_sites": ["BsaI", "GGG"]}
    found = finished(address, asked(address, "designs", request)["job"])
    assert found["state"] == jobs.DONE, found
    assert len(found["designs"]) == 2
    start = WHOLE[0][len(toy.FIVE) : -len(toy.THREE)]
    for design in found["designs"]:
        edited = [at for at, (a, b) in enumerate(zip(start, design["insert"], strict=True), start=1) if a != b]
        assert len(edited) == design["edits"] <= 4
        assert not {*range(1, 7), 20} & set(edited)
        assert design["sequence"] == toy.FIVE + design["insert"] + toy.THREE
        assert not re.search("GGG|CCC|GGTCTC|GAGACC", design["sequence"])
        assert design["expression"][0]["expression"] == pytest.approx(toy.said(design["sequence"]), abs=1e-5)
        assert design["expression"][0]["expression"] > toy.said(WHOLE[0]) + 0.2


def test_random_starts_and_a_target(address):
    request = DESIGN | {"objective": "target", "target": 7.0, "start": "", "budget": 100}
    found = finished(address, asked(address, "designs", request)["job"])
    assert [design["expression"][0]["expression"] for design in found["designs"]] == pytest.approx([7, 7], abs=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "best"}, "objective: choose maximize, minimize or target"),
        ({"objective": "target", "target": None}, "Target: give the expression that designs should have, as a number."),
        ({"objective": "target", "target": True}, "Target: give the expression"),
        ({"number": 51}, "Designs: give a whole number from 1 to 50."),
        ({"number": "5.5"}, "Designs: give a whole number"),
        ({"budget": 10**9}, "Predictions per design: give a whole number from 1 to 2,000."),
        ({"max_edits": -1}, "Substitutions: give a whole number"),
        ({"protect": "5-20"}, "protect: give a list of texts"),
        ({"forbid_sites": ["Bsa1"]}, "Bsa1"),
        ({"readout": "x"}, "the model has no condition 'x'"),
        ({"start": "ACGT!"}, "letter '!'"),
    ],
)
def test_a_design_that_cannot_be_asked_for_is_a_sentence(address, change, message):
    status, found = ask(address, "designs", DESIGN | change)
    assert status == 400
    assert message in found["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protect": ["1-99"]}, "segment 1-99 ends beyond the insert of 26 bp"),
        ({"objective": "target", "target": 1e6}, "1e+06 cannot be reached"),
        ({"forbid_sites": [toy.THREE]}, "it lies in fixed bases"),
    ],
)
def test_a_search_that_cannot_be_met_says_why(address, change, message):
    found = finished(address, asked(address, "designs", DESIGN | change)["job"])
    assert found["state"] == jobs.FAILED
    assert message in found["error"]


def test_a_search_is_cancelled_and_others_wait_for_it(pages, address):
    long = DESIGN | {"number": 50, "budget": 2000, "start": "", "objective": "minimize"}
    first = asked(address, "designs", long)["job"]
    status, found = ask(address, "designs", DESIGN)
    assert (status, found["error"][:43]) == (400, "A search for designs is running already; wa")
    assert asked(address, "explain", {"sequence": WHOLE[0], "readout": ""})["effects"]  # the page works meanwhile
    asked(address, f"designs/{first}/cancel", {})
    found = finished(address, first)
    assert found["state"] == jobs.CANCELLED
    assert found["calls"] < found["total"]
    assert finished(address, asked(address, "designs", DESIGN)["job"])["state"] == jobs.DONE
    assert requests.get(f"{address}/api/designs/none", timeout=60).status_code == 404


def test_a_fault_of_ours_is_said_and_the_server_lives_on(pages, address, monkeypatch, capfd):
    monkeypatch.setattr(answers, "predict", lambda *arguments: 1 / 0)
    assert ask(address, "predict", {"text": WHOLE[0]}) == (500, {"error": "ZeroDivisionError: division by zero (a bug in gpraflow)"})
    assert "ZeroDivisionError" in capfd.readouterr().err
    monkeypatch.undo()
    assert asked(address, "predict", {"text": WHOLE[0]})


# The command and the page's parts


def test_addresses_and_ports():
    with serve_commands.bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        with pytest.raises(ConfigError, match=rf"--host 127\.0\.0\.1, port {port}: cannot be used \(.*\); choose another with --port"):
            serve_commands.bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"--port 99999: give a number up to 65535"):
        serve_commands.bind("127.0.0.1", 99999)
    with pytest.raises(ConfigError, match=r"--host 203\.0\.113\.7, port 8000: cannot be used"):
        serve_commands.bind("203.0.113.7", 8000)
    assert serve_commands.page_address("127.0.0.1", 8000, "") == "http://127.0.0.1:8000/"
    assert serve_commands.page_address("::1", 8000, "") == "http://[::1]:8000/"
    assert serve_commands.page_address("0.0.0.0", 80, "t") == f"http://{socket.gethostname()}:80/?token=t"
    assert [server.is_loopback(host) for host in ("localhost", "127.8.0.1", "::1", "0.0.0.0", "192.168.0.1", "host")] == [True] * 3 + [
        False
    ] * 3
    assert serve_commands.name_of("results/sample/model") == "sample"
    assert serve_commands.name_of("yeast-ypd") == "yeast-ypd"


def test_what_the_command_cannot_serve_is_refused(folder, tmp_path, capsys):
    def said(*arguments):
        return command.refused(capsys, "serve", *arguments)

    assert "no/model" in said("no/model", "--motifs", "none")
    assert "--motifs: 'yeast' is neither a file nor a built-in name" in said(folder, "--motifs", "yeast")
    assert "promoters.tsv" in said(folder, "--motifs", "none", "--library", tmp_path / "promoters.tsv")
    toy.write_model(tmp_path / "bare")
    assert "calibration.json: this file does not exist" in said(tmp_path / "bare", "--motifs", "none")
    assert "--port 70000: give a number up to 65535" in said(folder, "--motifs", "none", "--port", 70000)


def test_modules_of_the_page_become_one_without_a_name_twice():
    code = page.script("sites", "search", "network")
    assert not re.search(r"^(import|export) ", code, re.MULTILINE)
    names = re.findall(r"^(?:async )?(?:const|let|function|class) (?:\{ ([^}]*) \}|\[([^\]]*)\]|(\w+))", code, re.MULTILINE)
    flat = [name.strip() for groups in names for name in ",".join(filter(None, groups)).split(",")]
    assert len(flat) > 60
    assert sorted(flat) == sorted(set(flat))


def test_imports_of_the_pages_modules_are_exported_where_they_say():
    folder = ROOT / "resources/page"
    for path in folder.glob("*.js"):
        for names, module in re.findall(r'^import \{ ([^}]*) \} from "\./(\w+)\.js";$', path.read_text(), re.MULTILINE):
            exported = re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", (folder / f"{module}.js").read_text(), re.MULTILINE)
            assert set(names.split(", ")) <= set(exported), (path.name, module)
            rest = path.read_text().split("\n\n", 2)[-1]
            for name in names.split(", "):
                assert re.search(rf"\b{name}\b", rest), f"{path.name} imports {name} and does not use it"
