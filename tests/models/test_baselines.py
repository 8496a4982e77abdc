"""The baselines: what they count and scan, what they fit, and that the saved model needs neither scikit-learn nor our code."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from gpraflow.core.errors import InputError, TrainingError
from gpraflow.models import backend as models_backend
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import PADDING, detokenize, reverse_complement, tokenize

models_backend.select_backend("jax")
import keras  # noqa: E402

from gpraflow.models.zoo import baseline_kmer, baseline_motif  # noqa: E402

COMMON = {"upstream": "GATTACA", "seed": 1}
SIZES = baseline_motif.PRESETS["small"] | {"trees": 30}
MOTIFS = """\
>M1.1 WIDE
A [ 90 5 0 5 90 1 1 80 ]
C [ 5 90 0 0 5 1 1 10 ]
G [ 5 0 100 5 0 97 1 5 ]
T [ 0 5 0 90 5 1 97 5 ]
>M2.1 NARROW
A [ 80 5 10 5 ]
C [ 10 85 10 0 ]
G [ 5 5 75 5 ]
T [ 5 5 5 90 ]
>M3.1 OTHER
A [ 3 5 60 70 90 ]
C [ 10 5 30 0 3 ]
G [ 82 5 5 15 3 ]
T [ 5 85 5 15 4 ]
"""


@pytest.fixture(scope="module")
def jaspar(tmp_path_factory):
    path = tmp_path_factory.mktemp("motifs") / "three.jaspar"
    path.write_text(MOTIFS)
    return str(path)


def promoters(rows, seed=0, length=30, unknown=0.0):
    """Tokens, and an expression that depends on both strands' GACGT and on the share of G and C."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 4, (rows, length)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < unknown] = PADDING
    texts = ["".join("ACGTN"[base] for base in promoter) for promoter in tokens]
    sites = np.array([text.count("GACGT") + text.count("ACGTC") + 0.5 * text.count("GACG") for text in texts])
    strong = ((tokens == 1) | (tokens == 2)).sum(axis=1)
    return tokens, (3 * sites + 0.2 * strong + rng.normal(0, 0.3, rows)).astype(np.float32)


def predicted(model, tokens):
    return model.predict(tokens, batch_size=512, verbose=0)[:, 0]


@pytest.fixture(scope="module")
def kmer_model():
    return baseline_kmer.fit(*promoters(600, unknown=0.02), None, **COMMON, **baseline_kmer.PRESETS["small"])


@pytest.fixture(scope="module")
def motif_model(jaspar):
    return baseline_motif.fit(*promoters(600, unknown=0.02), None, **COMMON, motifs=jaspar, **SIZES)


@pytest.mark.parametrize("kmer", [1, 3, 4, 6])
def test_counts_are_those_of_a_plain_loop(kmer):
    tokens, _ = promoters(40, unknown=0.05)
    column = baseline_kmer.canonical(kmer)
    counts = baseline_kmer.count(tokens, kmer)
    assert counts.shape == (40, column[-1])
    assert counts.dtype == np.float32
    if kmer == 6:
        assert column[-1] == 2080
    turn = str.maketrans("ACGTN", "TGCAN")
    for promoter, found in zip(tokens, counts, strict=True):
        text = "".join("ACGTN"[base] for base in promoter)
        expected = np.zeros(column[-1])
        for start in range(len(text) - kmer + 1):
            word = text[start : start + kmer]
            if "N" not in word:
                word = min(word, word.translate(turn)[::-1])
                expected[column[int("".join(str("ACGT".index(base)) for base in word), 4)]] += 1
        assert (found == expected).all()
    assert (baseline_kmer.count(reverse_complement(tokens), kmer) == counts).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_scikit_learns(weighted):
    tokens, expression = promoters(5000, unknown=0.02)  # more than one block
    weights = np.random.default_rng(3).uniform(0.1, 4, len(tokens)).astype(np.float32) if weighted else None
    model = baseline_kmer.fit(tokens, expression, weights, **COMMON, kmer=4, penalties=[7.0])
    reference = Ridge(alpha=7.0).fit(baseline_kmer.count(tokens, 4).astype("f8"), expression.astype("f8"), sample_weight=weights)
    new, _ = promoters(200, seed=5, unknown=0.02)
    assert np.abs(predicted(model, new) - reference.predict(baseline_kmer.count(new, 4))).max() < 1e-4


def test_the_penalty_is_the_best_of_generalised_cross_validation(capsys):
    """Written out with the hat matrix of the centred counts."""
    tokens, expression = promoters(150)
    penalties = [0.1, 1, 10, 100, 1000]
    baseline_kmer.fit(tokens, expression, None, **COMMON, kmer=3, penalties=penalties)
    counts = baseline_kmer.count(tokens, 3).astype("f8")
    counts -= counts.mean(axis=0)
    errors = []
    for penalty in penalties:
        hat = counts @ np.linalg.solve(counts.T @ counts + penalty * np.eye(counts.shape[1]), counts.T) + 1 / len(tokens)
        residual = expression - hat @ expression.astype("f8")
        errors.append(np.mean(residual**2) / (1 - np.trace(hat) / len(tokens)) ** 2)
    chosen = penalties[int(np.argmin(errors))]
    assert f"penalty {chosen:g} of [0.1, 1, 10, 100, 1000], cross-validated mean squared error {min(errors):.4f}" in capsys.readouterr().out


def test_scan_is_that_of_a_plain_loop(jaspar):
    matrices = motifs.load(jaspar)
    tokens, _ = promoters(20, unknown=0.03)
    found = baseline_motif.scan(30, matrices, 6.0).predict(tokens, verbose=0)
    known = (tokens < PADDING).sum(axis=1)
    assert np.allclose(found[:, -1], ((tokens == 1) | (tokens == 2)).sum(axis=1) / known)
    for place, matrix in enumerate(sorted(matrices, key=lambda motif: len(motif.log_odds))):
        width, perfect = len(matrix.log_odds), matrix.log_odds.max(axis=1).sum()
        for row, promoter in enumerate(tokens):
            scores = [
                sum(matrix.log_odds[place, base] for place, base in enumerate(strand[start : start + width])) - perfect
                for strand in (promoter, reverse_complement(promoter))
                for start in range(30 - width + 1)
                if PADDING not in strand[start : start + width]
            ]
            assert found[row, place] == pytest.approx(max(scores), abs=3e-3)  # log-odds are rounded to 2^-12
            assert found[row, len(matrices) + place] == pytest.approx(sum(max(0, score + 6) for score in scores), abs=0.02)


def test_trees_are_scikit_learns(jaspar, root):
    """With real motifs, weights and features on both sides of every threshold; no batch size matters."""
    tokens, expression = promoters(1024, length=40, unknown=0.01)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(tokens))
    scan = baseline_motif.scan(40, motifs.load(root / "resources/motifs/jaspar2026_yeast.jaspar")[:12], 8.0)
    features = scan.predict(tokens, batch_size=512, verbose=0)
    boosting = HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=31, random_state=1).fit(
        features, expression, sample_weight=weights
    )
    model = baseline_motif.with_trees(scan, boosting)
    assert np.abs(predicted(model, tokens) - boosting.predict(features)).max() < 1e-4
    new, _ = promoters(512, seed=9, length=40, unknown=0.01)
    assert np.abs(predicted(model, new) - boosting.predict(scan.predict(new, batch_size=128, verbose=0))).max() < 1e-4


def test_thresholds_between_two_float32_route_as_in_float64():
    """A float32 feature that float32 rounding of the threshold would send to the other side."""
    low, high = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    nodes = np.zeros(
        3, [("value", "f8"), ("is_leaf", "?"), ("feature_idx", "i4"), ("num_threshold", "f8"), ("left", "i4"), ("right", "i4")]
    )
    nodes["is_leaf"] = [False, True, True]
    nodes["left"][0], nodes["right"][0] = 1, 2
    for share in (0.1, 0.9):
        nodes["num_threshold"][0] = threshold = float(low) + share * (float(high) - float(low))
        questions, _ = baseline_motif._table([nodes])
        assert (
            [value > questions[0, 1] for value in (low, high)]
            == [value > threshold for value in (float(low), float(high))]
            == [False, True]
        )


@pytest.mark.parametrize("name", ["kmer_model", "motif_model"])
def test_it_learns_and_both_strands_are_one(name, request):
    model = request.getfixturevalue(name)
    tokens, expression = promoters(512, seed=4)
    assert np.corrcoef(predicted(model, tokens), expression)[0, 1] > 0.6
    turned = predicted(model, reverse_complement(tokens))
    assert np.abs(turned - predicted(model, tokens)).max() < 1e-5
    assert not model.trainable_weights
    assert model.name == {"kmer_model": "baseline_kmer", "motif_model": "baseline_motif"}[name]


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_saved_model_gives_the_same_in_a_fresh_process_without_our_code(kmer_model, motif_model, tmp_path, backend):
    tokens, _ = promoters(512, seed=6, unknown=0.02)
    np.save(tmp_path / "tokens.npy", tokens)
    built = {"kmer": kmer_model, "motif": motif_model}
    for name, model in built.items():
        model.save(tmp_path / f"{name}.keras")
    code = (
        "import sys\nsys.modules |= {'sklearn': None, 'gpraflow': None}\n"  # as if they were not installed; Keras imports scikit-learn
        "import numpy as np, keras\n"
        "for name in ('kmer', 'motif'):\n"
        "    model = keras.saving.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    out = model.predict(np.load(f'{sys.argv[1]}/tokens.npy'), batch_size=256, verbose=0)\n"
        "    np.save(f'{sys.argv[1]}/{name}.npy', out)\n"
        "assert keras.backend.backend() == sys.argv[2]\n"
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), backend], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, model in built.items():
        ours = predicted(model, tokens)
        assert np.abs(np.load(tmp_path / f"{name}.npy")[:, 0] - ours).max() < 1e-5 * np.abs(ours).max()


def test_same_seed_same_model(jaspar, motif_model):
    tokens, expression = promoters(600, unknown=0.02)
    again = baseline_motif.fit(tokens, expression, None, **COMMON, motifs=jaspar, **SIZES)
    other = baseline_motif.fit(tokens, expression, None, **(COMMON | {"seed": 2}), motifs=jaspar, **SIZES)
    assert (predicted(again, tokens) == predicted(motif_model, tokens)).all()
    assert (predicted(other, tokens) != predicted(motif_model, tokens)).any()


def test_no_more_promoters_than_asked_for_are_used(jaspar):
    tokens, expression = promoters(600)
    few = {"motifs": jaspar} | SIZES | {"promoters": 100}
    model = baseline_motif.fit(tokens, expression, np.ones(600), **COMMON, **few)
    assert model.get_layer("tree_nodes").embeddings.shape[0] <= SIZES["trees"] * 7  # 90 promoters, 20 in a leaf


def test_padding_changes_nothing_but_length(kmer_model, jaspar):
    tokens, _ = promoters(30, length=20)
    padded = tokenize(pl.Series(detokenize(tokens)), 30)
    coefficients = kmer_model.get_layer("kmer_coefficients").embeddings.numpy()[:-1, 0]
    intercept = kmer_model.get_layer("expression").bias.numpy()[0]
    column = baseline_kmer.canonical(4)[:-1]
    by_column = np.zeros(column.max() + 1)
    by_column[column] = coefficients
    assert np.abs(predicted(kmer_model, padded) - (baseline_kmer.count(tokens, 4) @ by_column + intercept)).max() < 1e-4
    matrices = motifs.load(jaspar)
    short, long = (baseline_motif.scan(tokens.shape[1], matrices, 8.0)(tokens) for tokens in (tokens, padded))
    assert (np.asarray(short) == np.asarray(long)).all()


def test_what_cannot_be_fitted_is_refused(jaspar):
    tokens, expression = promoters(600)
    fits = [
        lambda *data: baseline_kmer.fit(*data, None, **COMMON, **baseline_kmer.PRESETS["small"]),
        lambda *data: baseline_motif.fit(*data, None, **COMMON, motifs=jaspar, **SIZES),
    ]
    for fit in fits:
        with pytest.raises(TrainingError, match="all 600 training promoters have expression 3: there is nothing to learn; use a table"):
            fit(tokens, np.full(600, 3, np.float32))
        with pytest.raises(
            TrainingError, match=r"9 training promoters are too few for this model, which needs at least \d+; use a larger table"
        ):
            fit(tokens[:9], expression[:9])
        with pytest.raises(TrainingError, match="training promoter 1 has expression nan; remove such rows"):
            fit(tokens, np.where(np.arange(600) == 0, np.nan, expression))
    with pytest.raises(InputError, match="promoters of 3 bp contain no 4-mer; set a smaller kmer or a longer window"):
        fits[0](tokens[:, :3], expression)
    with pytest.raises(InputError, match=r"the narrowest of 3 motifs has 4 bp, more than the window \(3 bp\); use narrower motifs"):
        fits[1](tokens[:, :3], expression)
    with pytest.raises(InputError, match="this motif file does not exist"):
        baseline_motif.fit(tokens, expression, None, **COMMON, motifs=jaspar + "x", **SIZES)


def test_motifs_wider_than_the_window_are_left_out(jaspar):
    assert baseline_motif.scan(5, motifs.load(jaspar), 8.0).output_shape == (None, 2 * 2 + 1)


@pytest.mark.parametrize("module", [baseline_kmer, baseline_motif])
def test_every_size_is_in_every_preset(module):
    sizes = set(module.fit.__kwdefaults__ or {}) | set(module.fit.__annotations__)
    sizes -= {"tokens", "expression", "weights", "upstream", "seed", "motifs", "return"}
    assert set(module.PRESETS) == {"default", "small"}
    assert all(set(preset) == sizes for preset in module.PRESETS.values())
    assert isinstance(module.INPUTS, tuple)
    assert keras.backend.backend() == "jax"
