"""Speed of a grouped convolution: as Keras's Conv1D with groups, and as the matrix products of tiles that stand in for it.

python benchmarks/grouped_convolution.py [--backend jax|tensorflow] [--channels 512] [--filters-per-group 2] [--rows 256]
The last line is JSON: ratio is the training speed of the products over that of Conv1D, measured in turns in the same run.
"""

import common
import contenders
import numpy as np

from gpraflow.models import backend

LENGTH, KERNEL = 150, 7


def main():
    """Train both layers in turns."""
    parser = common.parser(__doc__)
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--filters-per-group", type=int, default=2)
    parser.add_argument("--rows", type=int, default=256)
    arguments = common.parse(parser, channels=64, rows=64)
    backend.select_backend(arguments.backend)
    import keras

    from gpraflow.models.layers import blocks

    x = np.random.default_rng(0).normal(size=(arguments.rows, LENGTH, arguments.channels)).astype("float32")
    groups = arguments.channels // arguments.filters_per_group

    def layer(stock):
        given = keras.Input((LENGTH, arguments.channels))
        if stock:
            y = keras.layers.Conv1D(arguments.channels, KERNEL, groups=groups, padding="same", use_bias=False)(given)
        else:
            y = blocks.grouped_convolution(given, KERNEL, arguments.filters_per_group, keras.initializers.RandomUniform(-1, 1), "grouped")
        return keras.Model(given, y)

    seconds = contenders.in_turns({"conv1d": layer(True), "products": layer(False)}, x, x, batch_size=64, rounds=2)
    ratio = round(seconds["conv1d"] / seconds["products"], 2)
    common.finish(arguments, "Keras's Conv1D with groups", ratio=ratio, **contenders.rates(seconds, 2 * arguments.rows))


if __name__ == "__main__":
    main()
