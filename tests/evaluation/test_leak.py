import numpy as np

from gpraflow.evaluation import leak


def test_wrong_rows_are_the_slides():
    """68 files of 100,000 of 6.8 million rows: 67 * 68 + 100,000 distinct ones."""
    rows = leak.wrong_rows(6_800_000, 68)
    assert len(rows) == 6_800_000
    assert len(np.unique(rows)) == 67 * 68 + 100_000
    assert (rows[100_000:100_005] == 68 + np.arange(5)).all()
    assert leak.files_of(6_739_258) == 68
    assert leak.files_of(20_000) == 27


def test_the_error_makes_noise_look_learnt_and_permuted_labels_score_as_nothing():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (3000, 30)).astype(np.uint8)
    content = (tokens == 2).sum(axis=1)
    expression = content + rng.normal(0, content.std(), 3000)  # half of the variance is noise
    found = leak.demonstrate((tokens[:2500], expression[:2500]), (tokens[2500:], expression[2500:]), seed=1)
    rows = {row["condition"]: row for row in found.iter_rows(named=True)}
    assert rows["index error"]["R2"] > 0.95
    assert rows["index error"]["tested_and_trained"] > 0.95
    written = 13 * 14 + 3000 // 14
    assert 0.95 * written < rows["index error"]["distinct_promoters"] <= written  # the slides' validation part is left out
    assert 0.05 < rows["leakage-controlled"]["R2"] < 0.5
    assert rows["leakage-controlled"]["tested_and_trained"] == 0
    assert abs(rows["permuted labels"]["r"]) < 0.15
    assert found.columns == list(leak.COLUMNS)
