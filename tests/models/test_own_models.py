"""`compact` and `biochemical`: they build, learn and are saved; binding and the table of parameters are what they say."""

import numpy as np
import polars as pl
import pytest

from gpraflow.models import backend, registry
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import PADDING, one_hot, reverse_complement

backend.select_backend("jax")
import keras  # noqa: E402

from gpraflow.models.layers import scanning  # noqa: E402
from gpraflow.models.zoo import biochemical, compact  # noqa: E402

LENGTH = 30
TINY = {
    "biochemical": {
        "motif_width": 8,
        "unknown_factors": 2,
        "bin_width": 4,
        "initial_concentration": 1.0,
        "activity_l1": 1e-4,
        "position_l2": 1e-4,
    },
    "compact": {
        "motif_width": 8,
        "learned_motifs": 3,
        "bin_width": 4,
        "initial_concentration": 2.0,
        "channels": 6,
        "mix_size": 3,
        "residual_blocks": 1,
        "kernel_size": 3,
        "narrow_channels": 2,
        "dense_units": 5,
        "norm_momentum": 0.9,
        "dropout": 0.1,
        "head_dropout": 0.1,
    },
}
JASPAR = """>MA0001.1	LEFT
A [ 98 1 1 1 98 ]
C [ 1 97 1 1 1 ]
G [ 1 1 97 1 1 ]
T [ 0 1 1 97 0 ]
>MA0002.1	WIDE::SECOND
A [ 25 25 90 1 1 1 1 90 90 1 25 ]
C [ 25 25 4 97 97 1 1 4 4 1 25 ]
G [ 25 25 3 1 1 1 97 3 3 97 25 ]
T [ 25 25 3 1 1 97 1 3 3 1 25 ]
"""


@pytest.fixture(scope="module")
def jaspar(tmp_path_factory):
    path = tmp_path_factory.mktemp("motifs") / "two.jaspar"
    path.write_text(JASPAR)
    return str(path)


def build(name, jaspar, outputs=1, **sizes):
    keras.utils.set_random_seed(1)
    module = {"biochemical": biochemical, "compact": compact}[name]
    return module.build(LENGTH, outputs=outputs, upstream="", motifs=jaspar, **(TINY[name] | sizes))


def promoters(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (rows, LENGTH)).astype(np.int32)


@pytest.mark.parametrize("name", sorted(TINY))
def test_presets_build_with_the_real_motifs(name, root):
    module = {"biochemical": biochemical, "compact": compact}[name]
    for sizes in module.PRESETS.values():
        model = module.build(110, outputs=1, upstream="", motifs=str(root / "resources/motifs/jaspar2026_yeast.jaspar"), **sizes)
        predicted = model.predict(np.random.default_rng(0).integers(0, 5, (4, 110)).astype(np.int32), verbose=0)
        assert predicted.shape == (4, 1)
        assert np.isfinite(predicted).all()
        assert module.INPUTS == ("tokens",)


@pytest.mark.parametrize("name", sorted(TINY))
def test_one_step_changes_all_that_is_trainable(name, jaspar):
    model = build(name, jaspar)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = [np.array(weight) for weight in model.trainable_weights]
    model.train_on_batch(promoters(16), np.random.default_rng(1).normal(size=(16, 1)))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.abs(np.array(weight) - old).max() > 0, weight.path


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_saved_model_gives_the_same_numbers_without_the_motif_file(name, jaspar, tmp_path):
    model = build(name, jaspar)
    model.save(tmp_path / "model.keras")
    (tmp_path / "elsewhere").mkdir()
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model.predict(promoters(9), verbose=0), again.predict(promoters(9), verbose=0))
    assert not any(type(layer).__module__.startswith("gpraflow") for layer in again.layers)
    if name == "biochemical":
        assert biochemical.parameters(again).equals(biochemical.parameters(model))


def test_outputs(jaspar):
    assert build("compact", jaspar, outputs=18).output_shape == (None, 18)
    with pytest.raises(ValueError, match="one output"):
        build("biochemical", jaspar, outputs=18)


@pytest.mark.parametrize("name", ["compact", "biochemical"])
def test_models_without_known_motifs_have_only_those_that_they_learn(name, jaspar, tmp_path):
    size = {"compact": "learned_motifs", "biochemical": "unknown_factors"}[name]
    model = build(name, "")
    assert registry.describe(name).learned == size
    assert model.get_layer("motifs").get_weights()[0].shape == (4 * TINY[name]["motif_width"], TINY[name][size])
    predicted = model.predict(promoters(50), verbose=0)
    assert np.isfinite(predicted).all()
    assert predicted.std() > 0
    with pytest.raises(ValueError, match=f"without a motif file, {size} must be above 0"):
        build(name, "", **{size: 0})
    if name == "biochemical":
        table = biochemical.parameters(model)
        assert table.select("factor", "matrix_id").rows() == [("unknown_1", "-"), ("unknown_2", "-")]
        assert table["consensus"].str.contains("^[ACGTN]*$").all()


def test_positions_in_the_table_are_those_at_which_a_site_has_the_activity(jaspar):
    """With one position-specific activity other than 0, only a site of this factor, strand and bin changes the prediction by it."""
    model = build("biochemical", jaspar)
    layer = model.get_layer("position_activities")
    (weights,) = layer.get_weights()
    table = biochemical.position_parameters(model, TINY["biochemical"]["bin_width"])
    assert table.height == weights.size
    assert table.filter(factor="LEFT", strand="+").select("first", "last").rows() == [
        *((first, first + 3) for first in range(1, 29, 4)),
        (29, 30),
    ]
    row = table.with_row_index().filter(matrix_id="MA0001.1", strand="-", first=13)
    weights[row["index"].item()] = 2.0
    layer.set_weights([weights])
    changed = biochemical.position_parameters(model, TINY["biochemical"]["bin_width"])
    (base,) = table.filter(matrix_id="MA0001.1")["activity"].unique()
    assert changed.filter(pl.col("activity") != table["activity"]).rows() == [("LEFT", "MA0001.1", "-", 13, 16, pytest.approx(base + 2))]

    site = reverse_complement(np.array([0, 1, 2, 3, 0], np.uint8))  # ACGTA, motif of 5 bp centred in a kernel of 8
    tokens = np.full((26, LENGTH), 0, np.uint8)
    for start, line in enumerate(tokens):
        line[start : start + 5] = site
    after = model.predict(tokens, verbose=0)[:, 0]
    layer.set_weights([0 * weights])
    effect = np.abs(after - model.predict(tokens, verbose=0)[:, 0])
    inside = np.isin(np.arange(26) + 2, range(13, 17))  # positions of the site's second base, from 1, which the kernel centres
    assert effect[inside].min() > 3 * effect[~inside].max()


def test_a_long_name_of_a_factor_is_kept(tmp_path):
    name = "ZNF547.H12CORE.0.PSGIB.A_of_a_collection_with_long_names"
    text = [">MA1", "A [7]", "C [1]", "G [1]", "T [1]"]
    (tmp_path / "long.jaspar").write_text("\n".join(text).replace("MA1", name))
    table = biochemical.parameters(build("biochemical", str(tmp_path / "long.jaspar")))
    assert table["factor"].to_list() == [name, "unknown_1", "unknown_2"]
    assert table["matrix_id"].to_list() == [name, "-", "-"]


def test_windows_of_the_other_strand_are_its_own_windows():
    tokens = promoters(5)
    tokens[:, 7] = PADDING
    forward, reverse = (np.asarray(strand) for strand in scanning.windows(tokens, 5))
    np.testing.assert_array_equal(forward[:, 2].reshape(5, 5, 4), one_hot(tokens[:, :5]))
    turned = np.asarray(scanning.windows(reverse_complement(tokens), 5)[0])
    np.testing.assert_array_equal(reverse, turned[:, ::-1])


def test_a_wide_motif_keeps_its_most_informative_part(jaspar):
    kernel, found = scanning.motif_kernel(jaspar, 8)
    np.testing.assert_array_equal(kernel[:, 1].reshape(8, 4), found[1].log_odds[2:10])
    np.testing.assert_array_equal(kernel[:, 0].reshape(8, 4)[1:6], found[0].log_odds)
    np.testing.assert_allclose(scanning.best_scores(kernel)[0], found[0].log_odds.max(axis=1).sum(), rtol=1e-6)


def test_bins_hold_every_position_once():
    values = np.random.default_rng(0).normal(size=(2, 10, 3)).astype("f4")
    binned = np.asarray(scanning.bins(10, 3, 4)(values))
    np.testing.assert_allclose(binned[:, 2], values[:, 8:].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(binned.sum(axis=1), values.sum(axis=1), rtol=1e-5)


def naive_bound(tokens, motif, width, concentration):
    """de Boer et al.: one minus the product over sites of 1 / (1 + [factor] / Kd), one site after the other."""
    log_odds = np.zeros((width, 4))
    left = (width - len(motif.log_odds)) // 2
    log_odds[left : left + len(motif.log_odds)] = motif.log_odds
    free = 1.0
    for strand in (tokens, reverse_complement(tokens)):
        padded = np.pad(strand, width, constant_values=PADDING)
        # The window of position i begins (width - 1) // 2 bases before it, on the forward strand; its mirror image is the other strand's.
        for start in (
            range(width - (width - 1) // 2, width - (width - 1) // 2 + LENGTH)
            if strand is tokens
            else [2 * width + LENGTH - begin - width for begin in range(width - (width - 1) // 2, width - (width - 1) // 2 + LENGTH)]
        ):
            score = sum(log_odds[i, padded[start + i]] for i in range(width) if padded[start + i] != PADDING)
            free /= 1 + concentration * np.exp(score - motif.log_odds.max(axis=1).sum())
    return 1 - free


@pytest.mark.parametrize("other_strand", [False, True])
def test_occupancy_of_a_planted_site_is_that_of_a_naive_sum(jaspar, other_strand):
    width = TINY["biochemical"]["motif_width"]
    model = build("biochemical", jaspar, bin_width=1, unknown_factors=0, initial_concentration=3.0)
    motif = motifs.load(jaspar)[0]
    tokens = promoters(2, seed=4)
    site = motif.log_odds.argmax(axis=1)
    tokens[0, 12 : 12 + len(site)] = reverse_complement(site.astype(np.uint8)) if other_strand else site
    bound = keras.Model(model.input, model.get_layer("potentiation").input)(tokens)
    for row, found in zip(tokens, np.asarray(bound)[:, 0], strict=True):
        assert found == pytest.approx(naive_bound(row.astype(np.uint8), motif, width, 3.0), rel=1e-4)
    assert bound[0, 0] > 0.75 > 0.2 > bound[1, 0]


def test_sites_of_one_bin_exclude_each_other(jaspar):
    """Occupancies of a factor within a bin, both strands together, never reach one."""
    model = build("biochemical", jaspar, initial_concentration=1e4)
    occupancy = np.asarray(keras.Model(model.input, model.get_layer("occupancy").output)(promoters(20)))
    factors = occupancy.shape[-1] // 2
    both = occupancy[..., :factors] + occupancy[..., factors:]
    assert 0.99 < both.max() < 1 + 1e-5


def test_table_of_parameters(jaspar):
    model = build("biochemical", jaspar, initial_concentration=2.5)
    table = biochemical.parameters(model)
    assert table["factor"].to_list() == ["LEFT", "WIDE::SECOND", "unknown_1", "unknown_2"]
    assert table["matrix_id"].to_list() == ["MA0001.1", "MA0002.1", "-", "-"]
    np.testing.assert_allclose(table["concentration"], 2.5, rtol=1e-5)
    assert table["consensus"][0] == "ACGTA"
    assert table["position_activity_max"].abs().max() == 0
    np.testing.assert_array_equal(table["activity"], model.get_layer("activities").get_weights()[0][:, 0])


def test_stages_name_layers_and_end_with_all(jaspar):
    model = build("biochemical", jaspar)
    free = {layer.name for layer in model.layers if layer.trainable_weights}
    trained = set()
    for _, prefixes, _ in biochemical.STAGES:
        assert trained < set(prefixes) <= free
        trained = set(prefixes)
    assert trained == free


def test_progressive_fitting_recovers_an_activator(jaspar):
    """Promoters whose expression comes from one factor's sites: its activity ends up largest, and nothing diverges."""
    tokens = promoters(600, seed=7)
    motif = motifs.load(jaspar)[0]
    site = motif.log_odds.argmax(axis=1)
    bound = np.random.default_rng(8).random(600) < 0.5
    tokens[bound, 10 : 10 + len(site)] = site
    expression = (bound - 0.5) * 2 + np.random.default_rng(9).normal(0, 0.1, 600)
    model = build("biochemical", jaspar)
    for _, prefixes, _ in biochemical.STAGES:
        for layer in model.layers:
            layer.trainable = layer.name.startswith(tuple(prefixes))
        model.compile(keras.optimizers.Adam(0.02), "mse")
        model.fit(tokens, expression[:, None], batch_size=50, epochs=4, verbose=0)
    predicted = model.predict(tokens, verbose=0)[:, 0]
    assert np.corrcoef(predicted, expression)[0, 1] > 0.9
    table = biochemical.parameters(model)
    effect = table["activity"].to_numpy() + table["potentiation"].to_numpy()
    assert effect[0] > 0
    assert effect.argmax() == 0
