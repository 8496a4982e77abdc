"""Architectures of other groups: sizes as published, the plasmid around the promoter, strands, stock layers that stand for theirs."""

import importlib

import numpy as np
import polars as pl
import pytest

from gpraflow.models import backend
from gpraflow.sequences import scaffold
from gpraflow.training import network as training_network
from gpraflow.training import objectives

backend.select_backend("jax")
import jax  # noqa: E402
import keras  # noqa: E402

from gpraflow.models import cpu  # noqa: E402
from gpraflow.models.layers import blocks, scanning  # noqa: E402
from gpraflow.models.zoo import dream_rnn  # noqa: E402

UPSTREAM = "GATC" * 6
TINY = {
    "dream_cnn": {
        "window": 24,
        "first_filters": 8,
        "first_kernel_sizes": [3, 5],
        "first_dropout": 0.1,
        "block_filters": [8],
        "kernel_size": 3,
        "expansion": 2,
        "filters_per_group": 2,
        "squeeze_reduction": 2,
        "norm_momentum": 0.9,
    },
    "dream_rnn": {
        "window": 24,
        "first_filters": 8,
        "first_kernel_sizes": [3, 5],
        "first_dropout": 0.1,
        "lstm_units": 3,
        "core_filters": 8,
        "core_kernel_sizes": [3, 5],
        "core_convolution_dropout": 0.1,
        "core_dropout": 0.1,
    },
    "dream_attn": {
        "window": 24,
        "filters": 8,
        "first_kernel_size": 3,
        "conformer_blocks": 1,
        "attention_heads": 2,
        "feed_forward_factor": 2,
        "kernel_size": 5,
        "dropout": 0.1,
        "norm_momentum": 0.9,
    },
    "legnet": {
        "window": 24,
        "first_filters": 8,
        "block_filters": [8],
        "kernel_size": 3,
        "expansion": 2,
        "filters_per_group": 2,
        "squeeze_reduction": 2,
        "bilinear_fraction": 0.5,
        "norm_momentum": 0.9,
    },
    "vaishnav_transformer": {
        "strand_filters": 8,
        "filters": 8,
        "kernel_size": 4,
        "convolutions": 1,
        "attention_blocks": 1,
        "attention_heads": 2,
        "attention_dropout": 0.1,
        "feed_forward_units": 3,
        "lstm_units": 3,
        "dense_units": 6,
        "dropout": 0.1,
        "norm_momentum": 0.9,
        "l2": 1e-4,
    },
    "vaishnav_cnn": {"filters": 8, "kernel_size": 5, "deep_kernel_size": 1, "dense_units": 6, "dropout": 0.1},
}
# Of the paper's preset with 110 bp and 18 outputs. DREAM: as published. LegNet: the public code has 692 more, scales of the bilinear
# form's components, which its factors hold already.
COUNTS = {
    "dream_cnn": 1_933_970,
    "dream_rnn": 4_130_578,
    "dream_attn": 4_539_410,
    "legnet": 1_852_846 - 692,
    "vaishnav_transformer": 3_372_130,
    "vaishnav_cnn": 7_670_290,
}
NAMES = sorted(TINY)
SIX_CHANNELS = [name for name in NAMES if name not in ("vaishnav_cnn", "vaishnav_transformer")]


def module(name):
    return importlib.import_module(f"gpraflow.models.zoo.{name}")


def build(name, outputs=2, **sizes):
    return module(name).build(20, outputs=outputs, upstream=UPSTREAM, **(TINY[name] | sizes))


def examples(name, rows=6, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 5, (rows, 20)).astype("int32")
    tokens[::2, :4] = scaffold.PADDING
    extra = [rng.integers(0, 2, (rows, 1)).astype("float32") for _ in module(name).INPUTS[1:]]
    return [tokens, *extra] if extra else tokens


@pytest.mark.parametrize("name", NAMES)
def test_trainable_parameters_of_the_paper_s_sizes(name):
    """By shapes alone: drawing millions of numbers would cost a minute."""

    def count(preset):
        def weights():
            model = module(name).build(110, outputs=18, upstream=UPSTREAM, **presets[preset])
            return [weight.value for weight in model.trainable_weights]

        return sum(int(np.prod(weight.shape)) for weight in jax.eval_shape(weights))

    presets = module(name).PRESETS
    assert count("paper") == COUNTS[name]
    assert count("small") < COUNTS[name] / 5
    assert set(presets["paper"]) == set(presets["small"]) == set(TINY[name])


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    """Each architecture after one step: name, model, whether each weight moved, and what it was trained on."""
    name = request.param
    model, x = build(name, outputs=2), examples(name)
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    model.compile(keras.optimizers.Adam(epsilon=1e-30), "mse")  # LegNet's bilinear form has tiny gradients at the beginning
    assert np.isfinite(model.train_on_batch(x, np.random.default_rng(1).normal(size=(6, 2)).astype("float32")))
    moved = {w.path: (w.numpy() != old).any() for w, old in zip(model.trainable_weights, before, strict=True)}
    return name, model, moved, x


def test_one_step_changes_every_weight(trained):
    _, _, moved, _ = trained
    assert all(moved.values()), [path for path, change in moved.items() if not change]


def test_inputs_and_outputs(trained):
    name, model, _, _ = trained
    assert model.name == name
    assert tuple(tensor.name for tensor in model.inputs) == module(name).INPUTS
    assert tuple(tensor.dtype for tensor in model.inputs) == ("int32", "float32", "float32")[: len(model.inputs)]
    assert model.input_shape == ((None, 20) if len(model.inputs) == 1 else [(None, 20), (None, 1), (None, 1)])
    assert model.output_shape == (None, 2)


def test_saved_and_loaded_it_gives_the_same_numbers(trained, tmp_path):
    _, model, _, x = trained
    own = {type(layer) for layer in model.layers if not type(layer).__module__.startswith("keras.src.")}
    assert not own  # stock layers only, so that the file loads without this code
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))


def test_padding_and_channels(trained):
    """With six channels padding becomes plasmid, and singleton and reverse matter; without, N is 0000 like a token that no base has."""
    name, model, _, x = trained
    if name not in SIX_CHANNELS:
        unknown = np.where(x == scaffold.PADDING, 9, x)
        assert (unknown == 9).any()
        np.testing.assert_array_equal(model.predict_on_batch(unknown), model.predict_on_batch(x))
        return
    tokens, singleton, reverse = x
    written_out = tokens.copy()
    written_out[::2, :4] = [scaffold.ALPHABET.index(base) for base in UPSTREAM[-4:]]  # the plasmid repeats itself every 4 bp
    plain = model.predict_on_batch(x)
    np.testing.assert_array_equal(model.predict_on_batch([written_out, singleton, reverse]), plain)
    for other in ([tokens, 1 - singleton, reverse], [tokens, singleton, 1 - reverse]):
        assert np.abs(model.predict_on_batch(other) - plain).max() > 1e-7


def naive_context(tokens, window, upstream):
    extended = []
    for row in tokens:
        text = "".join(scaffold.ALPHABET[token] for token in row)
        promoter = text.lstrip("N")
        extended.append((("N" * window) + upstream + promoter)[-window:])
    return scaffold.tokenize(pl.Series(extended), window)


@pytest.mark.parametrize("upstream", ["", "ACG", "from the file"])
def test_plasmid_context(upstream, root):
    if upstream == "from the file":
        upstream = scaffold.load(root / "resources/scaffolds.yaml", "pTpA").upstream
        assert len(upstream) == 150 - 17
        assert upstream.endswith("GCTAGCAGGAATGATGCAAAAGGTTCCCGATTCGAAC")
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (8, 110)).astype("uint8")
    for row, bases in enumerate((110, 109, 90, 78, 1, 0, 110, 90)):
        tokens[row, : 110 - bases] = scaffold.PADDING
    tokens[6:, [60, 61, 109]] = scaffold.PADDING  # unknown bases, not padding
    for window in (110, 111, 150):
        context = np.asarray(blocks.plasmid_context(tokens, 110, window, upstream))
        np.testing.assert_array_equal(context, naive_context(tokens, window, upstream))
        assert (context[6, window - 110 :][[60, 61, 109]] == scaffold.PADDING).all()
    with pytest.raises(ValueError, match=r"window \(100 bp\) is shorter than the promoter window \(110 bp\)"):
        blocks.plasmid_context(tokens, 110, 100, upstream)


def test_reverse_turns_the_whole_window():
    """The tokens stay those of the forward strand; plasmid and what is left of padding end on the right."""
    tokens, singleton, _ = examples("legnet")
    reverse = np.array([[0], [1], [1], [0], [1], [0]], "float32")
    inputs = blocks.promoter_inputs(20)
    model = keras.Model(inputs, blocks.promoter_channels(inputs, 20, 40, "GATTACAGATTC"))
    channels = model.predict_on_batch([tokens, singleton, reverse])
    window = naive_context(tokens, 40, "GATTACAGATTC")
    turned = np.where(reverse > 0.5, scaffold.reverse_complement(window), window)
    np.testing.assert_array_equal(channels[..., :4], scaffold.one_hot(turned))
    assert (turned[2, -8:] == scaffold.PADDING).all()
    for channel, given in ((4, singleton), (5, reverse)):
        np.testing.assert_array_equal(channels[..., channel], np.repeat(given, 40, axis=1))


def test_both_strands_of_the_transformer_see_the_same_bases():
    """With a kernel of even width, too: the reverse strand's features are those of the turned promoter, turned back."""
    tokens = np.random.default_rng(0).integers(0, 5, (3, 20)).astype("int32")
    for kernel_size in (4, 5):
        model = build("vaishnav_transformer", kernel_size=kernel_size, convolutions=0, attention_blocks=0)
        convolution = model.get_layer("strand_conv1d")
        kernel = convolution.kernel.numpy()
        features = keras.Model(model.input, [node.outputs[0] for node in convolution._inbound_nodes])
        forward, reverse = (np.asarray(x) for x in features.predict_on_batch(tokens))
        padded = np.pad(scaffold.one_hot(tokens), ((0, 0), ((kernel_size - 1) // 2, kernel_size // 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=1)  # (rows, positions, bases, kernel)
        np.testing.assert_allclose(forward, np.einsum("rpbk,kbf->rpf", windows, kernel), atol=1e-5)
        np.testing.assert_allclose(reverse[:, ::-1], np.einsum("rpbk,kbf->rpf", windows, kernel[::-1, ::-1]), atol=1e-5)


def test_lstm_with_a_channel_of_ones_is_pytorch_s_with_two_biases():
    """PyTorch's equations, written out, gates in Keras's order: input, forget, cell, output."""
    units, channels, positions = 3, 4, 7
    inputs = keras.Input((positions, channels))
    model = keras.Model(inputs, dream_rnn.two_bias_lstm(inputs, units, "bilstm"))
    x = np.random.default_rng(0).normal(size=(2, positions, channels)).astype("float32")

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    outputs = []
    for layer, step in ((model.get_layer("bilstm").forward_layer, 1), (model.get_layer("bilstm").backward_layer, -1)):
        kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
        input_kernel, input_bias = kernel[:-1], kernel[-1]
        assert input_bias.shape == bias.shape == (4 * units,)
        assert np.abs(input_bias).max() > 0
        hidden, cell, states = np.zeros((2, units)), np.zeros((2, units)), []
        for position in range(positions)[::step]:
            gates = x[:, position] @ input_kernel + input_bias + hidden @ recurrent + bias
            enter, forget, new, leave = np.split(gates, 4, axis=1)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell)
            states.append(hidden)
        outputs.append(np.stack(states[::step], axis=1))
    np.testing.assert_allclose(model.predict_on_batch(x), np.concatenate(outputs, axis=-1), atol=1e-5)
    assert model.count_params() == 2 * 4 * units * (channels + units + 2)  # PyTorch's count


@pytest.mark.parametrize(("per_group", "kernel_size"), [(1, 4), (2, 3), (3, 2)])
def test_grouped_convolution_is_conv1d_with_groups(per_group, kernel_size):
    channels, groups = 6, 6 // per_group
    x = np.random.default_rng(0).normal(size=(2, 10, channels)).astype("float32")
    inputs = keras.Input((10, channels))
    uniform = keras.initializers.RandomUniform(-1, 1)
    model = keras.Model(inputs, blocks.grouped_convolution(inputs, kernel_size, per_group, uniform, "grouped"))
    (inner,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    ours = inner.get_layer("grouped").embeddings.numpy().reshape(per_group, kernel_size, channels)

    stock = keras.layers.Conv1D(channels, kernel_size, groups=groups, padding="same", use_bias=False)
    order = [group + i * groups for group in range(groups) for i in range(per_group)]  # stock channel -> ours
    stock(x)
    kernel = np.zeros((kernel_size, per_group, channels), "float32")
    for group in range(groups):
        for source in range(per_group):
            for target in range(per_group):
                weights = ours[(source - target) % per_group, :, group + target * groups]
                kernel[:, source, group * per_group + target] = weights
    stock.kernel.assign(kernel)
    assert model.count_params() == stock.count_params()
    expected = np.asarray(stock(x[..., order]))
    np.testing.assert_allclose(model.predict_on_batch(x)[..., order], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("per_group", "kernel_size"), [(1, 4), (2, 7), (3, 2), (1, 1)])
def test_grouped_convolution_on_a_cpu_has_the_gradients_of_the_stock_operations(per_group, kernel_size, dtype, monkeypatch):
    monkeypatch.setattr(cpu, "_SPAN", 4)  # pieces of 4, 4 and 3 positions of the products for 22
    length, channels = 22, 6
    rng = np.random.default_rng(0)
    x, upstream = (rng.normal(size=(5, length, channels)).astype("float32") for _ in range(2))

    def convolution():
        inputs = keras.Input((length, channels))
        uniform = keras.initializers.RandomUniform(-1, 1)
        return keras.Model(inputs, blocks.grouped_convolution(inputs, kernel_size, per_group, uniform, "grouped"))

    model = convolution()
    with training_network.policy(dtype):
        fast = cpu.faster(convolution())
    (weights,) = [variable.value for variable in model.trainable_variables]
    found = {}
    for name, each in {"stock": model, "fast": fast}.items():

        def loss(weights, x, each=each):
            outputs = each.stateless_call([weights], [], x)[0].astype("float32")
            return (outputs * upstream).sum(), outputs

        gradients, outputs = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(weights, x)
        found[name] = [np.asarray(value) for value in (*gradients, outputs)]
    tolerance = {"float32": 1e-5, "mixed_bfloat16": 0.05}[dtype]
    for stock, ours in zip(found["stock"], found["fast"], strict=True):
        np.testing.assert_allclose(ours, stock, rtol=tolerance, atol=2 * tolerance)
    x[0, 0, 0] = np.nan  # decides how often the loop turns
    outputs = np.asarray(fast.stateless_call([weights], [], x)[0].astype("float32"))
    seen = np.isnan(outputs)
    assert seen[0, 0].any()
    assert not seen[0, kernel_size:].any()  # a convolution's own reach, where tiles are wider
    assert not seen[1:].any()


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dense_layers_on_a_cpu_have_the_gradients_of_the_stock_operations(dtype):
    def network():
        inputs = keras.Input((7, 5))
        narrow = keras.layers.Dense(3, use_bias=False, name="narrow")
        x = keras.layers.Concatenate()([narrow(inputs), narrow(-inputs[:, ::-1])])  # one layer, called twice
        x = keras.layers.Dense(9, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.1), name="wide")(x)
        x = keras.layers.Dense(4, activation="tanh", use_bias=False, name="not_linear")(x)
        x = keras.layers.Dense(2, bias_initializer="ones", name="with_bias")(x)
        return keras.Model(inputs, keras.layers.Dense(2, name="of_mean")(keras.layers.GlobalAveragePooling1D()(x)), name="network")

    rng = np.random.default_rng(0)
    x, upstream = rng.normal(size=(6, 7, 5)).astype("float32"), rng.normal(size=(6, 2)).astype("float32")
    model = network()
    weights = [variable.value for variable in model.trainable_variables]
    with training_network.policy(dtype):
        fast = cpu.faster(network())
    assert {layer.name for layer in fast.layers if type(layer) is not keras.layers.Dense} >= {"narrow", "wide", "not_linear", "with_bias"}
    assert [layer.name for layer in fast.layers if type(layer) is keras.layers.Dense] == ["of_mean"]  # nothing to be gained
    found = {}
    for name, each in {"stock": model, "fast": fast}.items():

        def loss(weights, x, each=each):
            outputs, _, losses = each.stateless_call(weights, [], x, return_losses=True)
            return (outputs.astype("float32") * upstream).sum() + sum(losses), outputs.astype("float32")

        (whole, outputs), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(weights, x)
        found[name] = [np.asarray(value) for value in (whole, outputs, *gradients[0], gradients[1])]
    tolerance = {"float32": 1e-5, "mixed_bfloat16": 0.05}[dtype]
    assert len(found["stock"]) == 2 + len(weights) + 1
    for stock, ours in zip(found["stock"], found["fast"], strict=True):
        np.testing.assert_allclose(ours, stock, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("length", "width"), [(11, 4), (12, 4), (3, 5), (6, 1)])
def test_sums_over_bins_on_a_cpu_have_the_values_and_gradients_of_the_stock_operations(length, width, dtype):
    rng = np.random.default_rng(0)
    x, upstream = (rng.normal(size=shape).astype("float32") for shape in ((5, length, 3), (5, -(-length // width), 3)))
    inputs = keras.Input((length, 3))
    with training_network.policy(dtype):
        model = keras.Model(inputs, scanning.bins(length, 3, width)(inputs))
        fast = cpu.faster(model)
    assert fast is not model
    found = []
    for each in (model, fast):

        def loss(x, each=each):
            outputs = each.stateless_call([], [], x)[0].astype("float32")
            return (outputs * upstream).sum(), outputs

        found.append([np.asarray(value) for value in jax.jit(jax.grad(loss, has_aux=True))(x)])
    np.testing.assert_allclose(found[1][1], [[each[i : i + width].sum(axis=0) for i in range(0, length, width)] for each in x], atol=1e-5)
    np.testing.assert_array_equal(found[1][0], np.repeat(upstream, width, axis=1)[:, :length])
    for stock, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, stock, atol=1e-6)


def test_a_network_with_exchanged_layers_has_the_same_variables_and_numbers():
    core = build("legnet")
    length = core.inputs[0].shape[1]
    model = training_network.serving([core], objectives.Objective("mse", 1, 1.0, 0.0), length, True, "legnet")
    fast = cpu.faster(model)
    assert [id(each) for each in fast.variables] == [id(each) for each in model.variables]
    tokens = np.random.default_rng(0).integers(0, 5, (3, length)).astype("int32")
    np.testing.assert_allclose(fast.predict_on_batch(tokens), model.predict_on_batch(tokens), atol=1e-5)
    assert cpu.faster(build("vaishnav_cnn")).name == "vaishnav_cnn"
    for name in ("dream_cnn", "dream_attn"):
        model = build(name)
        assert cpu.faster(model) is not model, name


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("dream_cnn", {"first_kernel_sizes": [3, 5, 7]}, "first: 8 filters cannot be divided evenly among 3 kernel sizes"),
        ("dream_cnn", {"filters_per_group": 3}, r"16 channels cannot be divided into groups of filters_per_group \(3\)"),
        ("legnet", {"kernel_size": 31}, r"kernel_size \(31\) times filters_per_group \(2\) is more than the window \(24 bp\)"),
        ("legnet", {"squeeze_reduction": 8}, r"squeeze_reduction \(8\) leaves no units of the 8 channels before block 1"),
        ("dream_attn", {"attention_heads": 3}, r"filters \(8\) must be a multiple of attention_heads \(3\)"),
        ("dream_attn", {"filters": 7, "attention_heads": 1, "feed_forward_factor": 3}, "must be even: half of these units form the gate"),
        ("vaishnav_transformer", {"attention_heads": 3}, r"filters \(8\) must be a multiple of attention_heads \(3\)"),
        ("dream_rnn", {"window": 19}, r"window \(19 bp\) is shorter"),
    ],
)
def test_sizes_that_do_not_go_together(name, sizes, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: [weight.value for weight in build(name, **sizes).weights])
