"""Single mutants predicted by recomputing only what a mutation changes, against predictions of each mutant by itself."""

import json

import numpy as np
import polars as pl
import pytest

from gpraflow.explanation import mutagenesis
from gpraflow.models import backend, registry
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.training import network, objectives
from tests import toy
from tests.models.test_models import TINY

SIZES = {
    "learned_motifs": 6,
    "channels": 8,
    "narrow_channels": 4,
    "dense_units": 8,
    "norm_momentum": 0.9,
    "dropout": 0.1,
    "head_dropout": 0.1,
}
SIZES |= {"initial_concentration": 2.718}
WAYS = {  # sizes, ensemble members, whether both strands are averaged
    "as the default": ({"motif_width": 15, "bin_width": 5, "mix_size": 3, "residual_blocks": 2, "kernel_size": 5}, 1, False),
    "ensemble, even sizes": ({"motif_width": 6, "bin_width": 4, "mix_size": 2, "residual_blocks": 1, "kernel_size": 4}, 2, False),
    "strands, no blocks": ({"motif_width": 1, "bin_width": 1, "mix_size": 1, "residual_blocks": 0, "kernel_size": 1}, 1, True),
    "ensemble, strands, wide": ({"motif_width": 7, "bin_width": 9, "mix_size": 5, "residual_blocks": 3, "kernel_size": 7}, 2, True),
}


def write(folder, sizes, members, both_strands, architecture="compact", **about):
    """A network with random weights, also in its normalisations."""
    backend.select_backend("jax")
    folder.mkdir()
    objective = objectives.Objective("mse", 1, 1.0, 0.0, 1.0)  # expression is standardised
    rng = np.random.default_rng(5)
    cores = []
    for member in range(members):
        core = network.build_core(_Blueprint(architecture, sizes), toy.LENGTH, objective, f"member_{member}")
        weights = [rng.normal(size=each.shape).astype("f4") * 0.3 + each for each in core.get_weights()]
        core.set_weights(
            [np.abs(value) + 0.1 if "variance" in each.path else value for each, value in zip(core.weights, weights, strict=True)]
        )
        cores.append(core)
    model = network.serving(cores, objective, toy.LENGTH, both_strands, architecture)
    model.save(folder / "model.keras")
    about = {"architecture": architecture, "parameters": model.count_params(), "members": members, "sizes": sizes} | about
    about["input"] = {"alphabet": "ACGTN", "length": toy.LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    return prediction_predictor.Predictor(folder)


class _Blueprint:
    motifs = upstream = ""

    def __init__(self, name, sizes):
        self.name, self.sizes = name, sizes


@pytest.mark.parametrize("way", WAYS)
def test_recomputed_mutants_are_those_predicted_by_themselves(tmp_path, monkeypatch, way):
    sizes, members, both_strands = WAYS[way]
    predictor = write(tmp_path / "model", SIZES | sizes, members, both_strands)
    text = pl.Series([*toy.promoters(33, 3), toy.inserts(1, 4, 20)[0] + "N" + toy.inserts(1, 5, 9)[0]])  # more than a block, padding, N
    monkeypatch.setattr(mutagenesis, "_COMPILED", 10**9)
    tokens, plain, *_ = mutagenesis.explain(predictor, text)
    monkeypatch.setattr(mutagenesis, "_COMPILED", 1)
    calls = []
    recomputed = mutagenesis._recomputed
    monkeypatch.setattr(mutagenesis, "_recomputed", lambda *args: calls.append(1) or recomputed(*args))
    _, fast, *_ = mutagenesis.explain(predictor, text)
    assert calls
    assert (np.isfinite(fast) == np.isfinite(plain)).all()
    there = np.isfinite(plain)
    assert np.abs(plain[there]).max() > 0.01
    size = max(1.0, float(np.abs(predictor.promoters(text)["predicted"].to_numpy()).max()))  # float32 of random weights' large numbers
    assert fast[there] == pytest.approx(plain[there], abs=1e-5 * size)
    own = np.take_along_axis(fast, np.minimum(tokens, 3)[:, :, None].astype(int), axis=2)[:, :, 0]
    assert set(own[np.isfinite(own)]) == {0}


def test_other_architectures_predict_all_mutants(tmp_path, monkeypatch):
    _, sizes = registry.choose_sizes("vaishnav_cnn", "small", TINY["vaishnav_cnn"])
    predictor = write(tmp_path / "model", sizes, 1, False, "vaishnav_cnn")
    monkeypatch.setattr(mutagenesis, "_COMPILED", 1)
    text = pl.Series(toy.promoters(2, 3))
    _, effects, *_ = mutagenesis.explain(predictor, text)
    assert mutagenesis._mutants_of(predictor) is None
    changed = text[0][:9] + ("A" if text[0][9] != "A" else "C") + text[0][10:]
    expected = np.diff(predictor.promoters(pl.Series([text[0], changed]))["predicted"])[0]
    assert effects[0, 9, "ACGT".index(changed[9])] == pytest.approx(expected, abs=1e-5)
