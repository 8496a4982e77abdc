"""What is said of a program that was compiled for a TPU; the compiler itself is in an environment of its own (make tpu-check)."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import backend
from gpraflow.training import options as training_options
from gpraflow.training import tpu

backend.select_backend("jax")

from tests.models.test_models import OPTIONS, blueprint  # noqa: E402

PROGRAM = """
  %convolution.1 = bf16[128,64]{1,0:T(8,128)(2,1)} convolution(%a, %b), dim_labels=bf_io->bf
  ROOT %convolution.2 = f32[64]{0} convolution(%c, %d)
  %fusion = bf16[128]{0} fusion(%convolution.1), kind=kOutput
  %all-reduce.3 = f32[64]{0} all-reduce(%convolution.2), replica_groups={}
  %all-reduce-start.4 = f32[] all-reduce-start(%x)
  %all-reduce-done.4 = f32[] all-reduce-done(%all-reduce-start.4)
  %while.7 = (s32[], f32[8]) while(%tuple), condition=%c, body=%b
"""
FULL = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used {} of 15.75G hbm. "
    "Exceeded hbm capacity by 437.07G."
)


def test_what_is_in_a_program():
    assert tpu.counts(PROGRAM) == {"convolutions_bfloat16": 1, "convolutions_float32": 1, "all_reduces": 2, "loops": 1}


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        (FULL.format("452.82G"), "452.8 GB of 15.8 GB"),
        ("CompileTimeHbmOom: the program needs 452.52G exceeds available HBM (15.75G)", "452.5 GB of 15.8 GB"),
        ("INTERNAL: Mosaic failed", None),
    ],
)
def test_a_batch_that_is_too_large(text, needs):
    expected = f"training.batch_size: 65536 needs {needs} on each device of a v5e-8; set a smaller batch size" if needs else ""
    assert tpu.too_large(text, "v5e-8", 65536) == expected


def test_estimates():
    chip = tpu.Slice("x", 2, 100.0, 16.0, 1000.0)  # 200 TFLOP/s, 2000 GB/s
    about = tpu.estimate(chip, gflop=4000.0, gbytes=1.0, steps=1000, price=7.2)
    assert about["seconds_per_epoch"] == [50.0, 400.0]  # 20 ms of arithmetic at the peak: 50 ms at 40 %, 400 at 5 %
    assert about["dollars_per_epoch"] == [0.1, 0.8]
    assert tpu.estimate(chip, gflop=0.0, gbytes=40.0, steps=1000, price=0)["seconds_per_epoch"] == [25.0, 200.0]  # 20 ms of memory
    assert tpu.estimate(chip, gflop=0.0, gbytes=40.0, steps=1000, price=0)["dollars_per_epoch"] is None


def check(name="slides", topology="v6e-8", **options):
    given = training_options.Options(**(vars(OPTIONS) | options))
    return tpu.check(blueprint(name), given, 40, topology=topology, promoters=10_000, price=0.0)


def test_what_cannot_be_checked():
    with pytest.raises(ConfigError, match=r"'v6e-9' is not one of v3-8, .*; did you mean 'v6e-8'"):
        check(topology="v6e-9")
    with pytest.raises(ConfigError, match="'baseline_kmer' is not trained by gradient descent"):
        check("baseline_kmer")


try:
    version("libtpu")
    WITH_LIBTPU = True
except PackageNotFoundError:
    WITH_LIBTPU = False


@pytest.mark.skipif(WITH_LIBTPU, reason="libtpu is here")
def test_without_libtpu():
    with pytest.raises(ConfigError, match="libtpu is not installed here; use `make tpu-check`"):
        check()


@pytest.mark.skipif(not WITH_LIBTPU, reason="libtpu is in .venv-tpu only: make test-tpu")
@pytest.mark.parametrize("topology", tpu.SLICES)
def test_a_step_that_is_compiled(topology):
    about = check("vaishnav_cnn", topology, precision="mixed_bfloat16", batch_size=64, ema=0.9)
    assert about["all_reduces"] > 0
    assert about["convolutions_bfloat16"] > 0
    assert about["convolutions_float32"] <= about["convolutions_bfloat16"]
    assert 0 < about["memory_gb"] < about["memory_of_device_gb"]
    assert about["steps_per_epoch"] == 156
    assert "compiles for" in tpu.summary(about)


@pytest.mark.skipif(not WITH_LIBTPU, reason="libtpu is in .venv-tpu only: make test-tpu")
def test_recurrence_shows_as_loops():
    assert check("dream_rnn", precision="mixed_bfloat16", batch_size=64)["loops"] >= 2  # both directions along the promoter
    assert check("slides", precision="mixed_bfloat16", batch_size=64)["loops"] == 0  # its LSTM sees one vector, and has one step


@pytest.mark.skipif(not WITH_LIBTPU, reason="libtpu is in .venv-tpu only: make test-tpu")
def test_a_batch_that_does_not_fit():
    with pytest.raises(TrainingError, match=r"training.batch_size: 134217728 needs [\d.]+ GB of [\d.]+ GB on each device of a v5e-8"):
        check("vaishnav_cnn", "v5e-8", batch_size=1 << 27)
