"""``model.json``: read as written, and as version 0.1 wrote it."""

import json

import pytest

from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError
from gpraflow.models import about, directory

BASE = {
    "architecture": "slides",
    "parameters": 7,
    "members": 1,
    "input": {"alphabet": "ACGTN", "length": 110, "scaffold": "pTpA", "keep": "right", "pad": "left"},
}


def test_training_options_of_version_0_1_appear_under_their_present_names(tmp_path):
    content = BASE | {"training": {"average": 0.99, "average_strands": True, "reverse_complement": False, "guard": 4.0}}
    (tmp_path / "model.json").write_text(json.dumps(content | {"restarts": 1}))
    assert about.read(tmp_path / "model.json") == BASE | {
        "conditions": [],
        "restarts": 1,
        "training": {"ema": 0.99, "rc_averaging": True, "rc_augmentation": False, "divergence_factor": 4.0},
    }
    present = BASE | {"training": {"ema": 0.9, "epochs": 3}}
    (tmp_path / "model.json").write_text(json.dumps(present))
    assert about.read(tmp_path / "model.json") == present | {"conditions": []}


def test_the_renamed_options_are_those_of_the_config():
    assert schemas.load("config")["properties"]["training"]["x-renamed"] == about.RENAMED


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json: damaged \(.*\); train the model again"):
        about.read(tmp_path / "model.json")


def test_a_model_of_version_0_1_predicts(folder, tmp_path):
    for name in ("model.keras", "model.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"training": {"average": 0.5}}))
    model, description = directory.load(tmp_path)
    assert description["training"] == {"ema": 0.5}
    assert model.count_params() == content["parameters"]
