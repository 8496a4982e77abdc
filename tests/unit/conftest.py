import os

os.environ["KERAS_BACKEND"] = "jax"  # before TensorFlow, which imports Keras
import pytest
import tensorflow  # noqa: F401 (on JAX, models.select_backend hides it from whoever imports it later)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model directory of which it is known what the model says (`toy`)."""
    from tests.unit import toy

    return toy.write_whole(tmp_path_factory.mktemp("model") / "single")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """The same of an ensemble of three."""
    from tests.unit import toy

    return toy.write_whole(tmp_path_factory.mktemp("model") / "ensemble", spread=(-1.0, 0.0, 1.0))
