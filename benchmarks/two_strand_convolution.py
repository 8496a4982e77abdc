"""Speed of the slides' two-strand convolution: as Conv2D of kernel (2, k), and as the Conv1D over joined channels that stands in for it.

python benchmarks/two_strand_convolution.py [--backend jax|tensorflow] [--channels 64] [--filters 64]
The last line is JSON: ratio is the training speed of the Conv1D over that of the Conv2D, measured in turns in the same run.
"""

import common
import contenders
import numpy as np

from gpraflow.models import backend


def main():
    """Train both layers in turns."""
    parser = common.parser(__doc__)
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--rows", type=int, default=2048)
    arguments = common.parse(parser, channels=8, filters=8, rows=256)
    backend.select_backend(arguments.backend)
    import keras

    strands = np.random.default_rng(0).normal(size=(arguments.rows, 2, 110, arguments.channels)).astype("float32")
    label = np.zeros((arguments.rows, 110, arguments.filters), "float32")

    def layer(two_dimensional):
        given = keras.Input((2, 110, arguments.channels))
        if two_dimensional:
            x = keras.layers.ZeroPadding2D(((0, 0), (3, 3)))(given)
            x = keras.ops.squeeze(keras.layers.Conv2D(arguments.filters, (2, 7), use_bias=False)(x), axis=1)
        else:
            x = keras.ops.concatenate([given[:, 0], given[:, 1]], axis=-1)
            x = keras.layers.Conv1D(arguments.filters, 7, padding="same", use_bias=False)(x)
        return keras.Model(given, x)

    seconds = contenders.in_turns({"conv2d": layer(True), "conv1d": layer(False)}, strands, label, batch_size=256, rounds=3)
    ratio = round(seconds["conv2d"] / seconds["conv1d"], 2)
    common.finish(arguments, "Keras's Conv2D of kernel (2, 7)", ratio=ratio, **contenders.rates(seconds, 3 * arguments.rows))


if __name__ == "__main__":
    main()
