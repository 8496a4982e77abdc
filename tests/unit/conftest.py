import os

os.environ["KERAS_BACKEND"] = "jax"  # before TensorFlow, which imports Keras
import tensorflow  # noqa: F401 (on JAX, models.select_backend hides it from whoever imports it later)
