"""Models and checkpoints of others run no code."""

import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from gpraflow.core.errors import InputError
from gpraflow.models import directory
from gpraflow.training import run
from tests import toy


class Touch:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('touched').touch()",))


def rewritten(path, change):
    """Change the config in a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_lambda(config):
    import keras

    layer = keras.layers.Lambda(lambda x: exec("import pathlib; pathlib.Path('touched').touch()") or x, name="mean")
    config["config"]["layers"][-1]["config"] = layer.get_config()
    config["config"]["layers"][-1] |= {"class_name": "Lambda", "module": "keras.layers", "registered_name": None}


def with_function(config):
    config["config"]["layers"][-1] |= {
        "class_name": "system",
        "module": "os",
        "config": {"command": "touch touched"},
        "registered_name": None,
    }


@pytest.mark.parametrize("change", [with_lambda, with_function])
def test_code_in_a_model(tmp_path, monkeypatch, change):
    folder = toy.write_model(tmp_path / "model")
    directory.load(folder)
    rewritten(folder / "model.keras", change)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model\.keras: not a readable Keras model"):
        directory.load(folder)
    assert not (tmp_path / "touched").exists()


def test_pickles_in_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "state.npz", about=np.array([Touch()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        run.MemberTraining._read(SimpleNamespace(work=tmp_path), "state.npz")
    assert not (tmp_path / "touched").exists()
