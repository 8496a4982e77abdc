"""Models and checkpoints of others run no code."""

import json
import re
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


def repacked(path, change, compression=zipfile.ZIP_STORED):
    """Change the members of a .keras file: name -> content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members.update({"model.weights.h5": bytes(80 << 20)}), r"model\.weights\.h5 unpacks from .* to 83,886,080 bytes"),
        (lambda members: members.update({"config.json": b" " * (65 << 20)}), r"config\.json unpacks from .* bytes"),
        (lambda members: members.update({"assets/x": b"x"}), r"the archive holds 'assets/x', which Keras does not write"),
        (lambda members: members.pop("config.json"), r"the archive has no config\.json"),
    ],
)
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, change, message):
    folder = toy.write_model(tmp_path / "model")
    repacked(folder / "model.keras", change, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=rf"model\.keras: not a readable Keras model \({message}"):
        directory.load(folder)


def test_weights_that_are_larger_than_those_of_the_model(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    repacked(folder / "model.keras", lambda members: members.update({"model.weights.h5": bytes(65 << 20)}))
    with pytest.raises(InputError, match=r"model\.weights\.h5 has 68,157,440 bytes, more than those of the 5 parameters"):
        directory.load(folder)


def test_layers_that_are_larger_than_any(tmp_path):
    folder = toy.write_model(tmp_path / "model")

    def change(config):
        config["config"]["layers"][1]["config"]["input_dim"] = 10**12

    rewritten(folder / "model.keras", change)
    with pytest.raises(InputError, match=r"a layer has the size 1,000,000,000,000, more than 10,000,000"):
        directory.load(folder)


def test_a_model_of_other_inputs_or_outputs_than_it_says(tmp_path):
    folder = toy.write_model(tmp_path / "model")

    def change(config):
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, 39]

    rewritten(folder / "model.keras", change)
    with pytest.raises(InputError, match=r"model\.keras: a model from \(None, 39\) to \(None, 1\), .* from \(None, 40\) to \(None, 1\)"):
        directory.load(folder)


def test_what_is_no_model(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    layer = {"module": "keras.layers", "class_name": "Dropout", "config": {"rate": 0.5}, "registered_name": None}
    repacked(folder / "model.keras", lambda members: members.update({"config.json": json.dumps(layer).encode()}))
    with pytest.raises(InputError, match=r"model\.keras: not a readable Keras model \(it holds a Dropout, not a model"):
        directory.load(folder)


def test_equal_models_give_equal_bytes(tmp_path):
    """Keras writes the date, and the addresses of objects that several layers share."""
    import keras

    rng, models, shared = np.random.default_rng(0), [], []
    weights = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(3, 3)).astype(np.float32)
    for _ in range(2):
        shared.append(keras.initializers.RandomNormal(seed=1))
        inputs = keras.Input((40,), name="tokens")
        inner = keras.layers.Dense(3, use_bias=False, kernel_initializer=shared[-1], name="a")(inputs)
        models.append(keras.Model(inputs, keras.layers.Dense(3, use_bias=False, kernel_initializer=shared[-1], name="b")(inner), name="m"))
        models[-1].set_weights(weights)
    models[0].save(tmp_path / "own.keras")
    contents = []
    for number, model in enumerate(models):
        directory.save(model, tmp_path / f"{number}.keras")
        contents.append((tmp_path / f"{number}.keras").read_bytes())
    assert contents[0] == contents[1]
    tokens = rng.normal(size=(5, 40)).astype(np.float32)
    found = keras.saving.load_model(tmp_path / "0.keras")
    np.testing.assert_allclose(found(tokens), models[0](tokens), rtol=1e-6)
    numbers = []
    for name in ("own", "0"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            numbers.append(re.findall(r'"shared_object_id": (\d+)', archive.read("config.json").decode()))
            about = json.loads(archive.read("metadata.json"))
    given = dict(zip(numbers[0], numbers[1], strict=True))
    assert [given[number] for number in numbers[0]] == numbers[1]
    assert list(given.values()) == [str(number) for number in range(1, len(given) + 1)]
    assert given
    assert about == {"keras_version": keras.__version__, "date_saved": "1980-01-01@00:00:00"}


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_a_damaged_model_is_not_called_missing(tmp_path, content):
    folder = toy.write_model(tmp_path / "model")
    (folder / "model.keras").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.keras: not a readable Keras model \((?!.*not found)"):
        directory.load(folder)


def test_pickles_in_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "state.npz", about=np.array([Touch()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        run.MemberTraining._read(SimpleNamespace(work=tmp_path), "state.npz")
    assert not (tmp_path / "touched").exists()
