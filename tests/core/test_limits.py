"""Messages about memory and disks: the rule, the limit, and a config key that is there."""

import io
import re
import resource
import subprocess
import sys

import pytest

from gpraflow.core import limits
from gpraflow.core import schema as schemas
from tests.conftest import ROOT


def keys_of(schema, prefix=""):
    for name, part in schema.get("properties", {}).items():
        yield prefix + name
        yield from keys_of(part, f"{prefix}{name}.")


def test_rules_and_config_keys_of_the_advice_are_there():
    keys = set(keys_of(schemas.load("config")))
    for rule, advice in (limits.MEMORY_KEYS | limits.DISK_KEYS).items():
        assert (ROOT / f"scripts/{rule}.py").is_file()
        named = re.findall(r"\b[a-z]+\.[a-z_]+\b", advice) or [advice]
        assert set(named) <= keys, rule
    assert {"count_reads", "merge_counts", "group_neighbours", "train_model"} <= limits.MEMORY_KEYS.keys()


@pytest.mark.parametrize("rule", ["train_model", "plot_cost"])
def test_the_message_names_rule_limit_and_key(rule):
    code = f"from gpraflow.core import limits; print(limits.out_of_memory({rule!r}, 'MemoryError: no details'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "scripts")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000, 2_500_000_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{rule}: not enough memory (MemoryError: no details). Limits: 2.5 GB per process (ulimit -v), ")
    assert re.search(r" [\d,.]+ GB in this machine\.", done.stdout)
    assert ("training.batch_size" in done.stdout) == (rule == "train_model")


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/a/b", {"memory.max": "max", "a/memory.max": "3000000000", "a/b/memory.max": "4000000000"}, (3_000_000_000, "a/memory.max")),
        ("0::/a/b", {"a/b/memory.max": "max"}, None),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "500000000"}, (500_000_000, "memory/job/memory.limit_in_bytes")),
        ("4:memory:/job", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("4:cpu,cpuacct:/job", {"memory.max": "1"}, None),
        ("4:memory:/outside/the/container", {"memory/memory.limit_in_bytes": "700000000"}, (700_000_000, "memory/memory.limit_in_bytes")),
    ],
)
def test_limits_of_control_groups(tmp_path, line, files, expected):
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (tmp_path / "cgroup").write_text(f"9:devices:/\n{line}\n")
    found = limits._of_cgroup(tmp_path / "cgroup", tmp_path / "groups")
    assert found == (expected and (expected[0], tmp_path / "groups" / expected[1]))


def test_what_does_not_fit_is_a_warning_before_it_begins(monkeypatch, capsys):
    terminal = io.StringIO()
    monkeypatch.setattr(limits, "_limits", lambda: [(16_000_000_000, "16.0 GB per process"), (9_000_000_000, "9.0 GB in a container")])
    monkeypatch.setattr(limits, "MEMORY_NEEDED", {"group_neighbours": (500, 200), "split_promoters": (100, 50)})
    assert limits.needed("group_neighbours", 30_000_000) == 6_500_000_000
    limits.expect("group_neighbours", 30_000_000, "promoters", terminal)
    assert capsys.readouterr().out == "memory: about 6.5 GB for 30,000,000 promoters; at most 9.0 GB in a container\n"
    assert terminal.getvalue() == ""
    limits.expect("group_neighbours", 50_000_000, "promoters", terminal)
    assert terminal.getvalue() == (
        "warning: group_neighbours needs about 10.5 GB of memory, but the limit is 9.0 GB in a container, so that it will probably be "
        "ended; take a larger machine or raise the limit, or lower neighbours.max_edits, or set neighbours.kmer: 0\n"
    )
    assert limits.too_large("split_promoters", 9_000_000_001).endswith("take a larger machine or raise the limit")


ENDED = """\
RuleException:
CalledProcessError in file "workflow/rules/assay.smk", line 100:
Command 'set -euo pipefail;  python .snakemake/scripts/tmpx.{rule}.py' {how}.
[Mon Jan  5 10:00:00 2026]
Error in rule {prefix}{rule}:
    message: None
    jobid: 3
    output: results/x/{rule}.txt
    log: {log} (check log file(s) for error details)
"""


@pytest.mark.parametrize(
    ("words", "how", "message"),
    [
        ("memory allocation of 512 bytes failed\n", "died with <Signals.SIGABRT: 6>", r"\(memory allocation of 512 bytes failed\)"),
        ("epoch 1\n", "died with <Signals.SIGKILL: 9>", r"\(killed by SIGKILL, as the kernel [^)]*\)"),
        ("epoch 1\n", "returned non-zero exit status 137", r"\(killed by SIGKILL, as the kernel [^)]*\)"),
        ("Traceback (most recent call last):\nMemoryError\n", "returned non-zero exit status 1", None),
        ("epoch 1\n", "returned non-zero exit status 1", None),
    ],
)
@pytest.mark.parametrize("prefix", ["", "gpra_"])  # of a workflow that imports this one
def test_jobs_that_ended_without_a_message(tmp_path, words, how, message, prefix):
    log = tmp_path / "train_model.log"
    log.write_text(words)
    other = ENDED.format(rule="plot_cost", log="plot_cost.log", how="returned non-zero exit status 1", prefix=prefix)
    ended = ENDED.format(rule="train_model", log=log, how=how, prefix=prefix)
    (tmp_path / "snakemake.log").write_text("Building DAG\n" + other + ended + other + ended)
    found = list(limits.ended([tmp_path / "snakemake.log", tmp_path / "none.log"]))
    assert len(found) == (message is not None)
    if message:
        assert re.match(rf"train_model: not enough memory {message}\. Limits: .*lower training\.batch_size.*Log: {log}$", found[0])
