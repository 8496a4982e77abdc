"""The fuzzer finds what it is for, and finds nothing in the library."""

import itertools
import random
import time
from collections import Counter

import numpy as np
import pytest

from gpraflow.core.errors import InputError
from tests.fuzz import mutations, run, targets


@pytest.fixture(scope="module")
def all_targets(tmp_path_factory):
    return targets.targets(tmp_path_factory.mktemp("shards"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_valid_files_of_every_kind_are_read_right(all_targets, tmp_path):
    for target in all_targets:
        for seed in range(3):
            if target.name != "table.parquet":  # many of these have columns of odd types
                assert run.classify(target, target.example(random.Random(seed)), tmp_path) == (run.RIGHT, "")


def test_no_input_is_a_traceback_hangs_or_is_changed(all_targets, tmp_path):
    """300 inputs; ``make fuzz`` reads more."""
    said = []
    classes = run.fuzz(all_targets, 300, seed=1, folder=tmp_path, say=said.append)
    total = sum(classes.values(), Counter())
    assert said == []
    assert total[run.CLEAN] + total[run.RIGHT] == 300
    assert total[run.RIGHT] > 30


def test_equal_seeds_give_equal_inputs(all_targets):
    for target in all_targets:
        first, again = (target.mutate(target.example(rng), rng) for rng in (random.Random(5), random.Random(5)))
        assert first == again


def planted(read, differs=lambda content, found: ""):
    return targets.Target("x.txt", lambda rng: b"x", mutations.of_bytes, read, differs)


def refuse(path):
    raise InputError(f"{path}: no")


def fail(path):
    raise KeyError(path)


class Panic(BaseException):
    pass


def panic(path):
    raise Panic


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (planted(refuse), run.CLEAN),
        (planted(lambda path: 3), run.RIGHT),
        (planted(lambda path: 3, lambda content, found: "3 became 4"), run.CHANGED),
        (planted(lambda path: 3, lambda content, found: fail(content)), run.CHANGED),
        (planted(fail), run.TRACEBACK),
        (planted(panic), run.TRACEBACK),
        (planted(lambda path: time.sleep(600)), run.HANG),
        (planted(lambda path: sum(1 for _ in itertools.count())), run.HANG),
        (planted(lambda path: np.ones(450 << 20, np.uint8).sum()), run.MEMORY),
    ],
)
def test_faults_are_found(tmp_path, target, kind):
    assert run.classify(target, b"x", tmp_path, seconds=0.05 if kind == run.HANG else 30)[0] == kind
