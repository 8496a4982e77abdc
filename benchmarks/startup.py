"""Start of jobs and commands that use a model: import of Keras and reading the model, beside Keras's own ways; gpraflow predict.

python benchmarks/startup.py [--architecture compact] [--rounds 5]
Each round starts fresh processes on JAX in turn: `import keras` as jobs have it (GPRAFLOW_LIGHT_KERAS=1) and as it is, then
`models.directory.load` and `keras.saving.load_model` of the same untrained model; and the commands `gpraflow --help` and `gpraflow
predict yeast-ypd` of one promoter, as it is and with `--backend jax`. The last line is JSON: the least seconds of each, and the ratios of
Keras's to ours.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common


def import_keras(light):
    """Return the seconds that the import of Keras takes."""
    os.environ |= {"KERAS_BACKEND": "jax", "GPRAFLOW_LIGHT_KERAS": light}
    from gpraflow.core import startup

    started = time.perf_counter()
    startup.import_keras()
    return {"seconds": time.perf_counter() - started}


def write_model(path, architecture):
    """Write an untrained network as `.keras`."""
    from gpraflow.models import backend, build, registry

    backend.select_backend("jax")
    preset, sizes = registry.choose_sizes(architecture, "auto", {})
    build.build(architecture, 110, sizes).save(path)
    return {"preset": preset}


def read_model(path, ours):
    """Return the seconds that reading a model takes once Keras is there."""
    from gpraflow.models import backend, directory

    backend.select_backend("jax")
    import keras

    started = time.perf_counter()
    if ours:
        directory.read_model(Path(path))
    else:
        keras.saving.load_model(path, compile=False)
    return {"seconds": time.perf_counter() - started}


def command(*arguments):
    """Return the seconds that a command takes on the clock, from its start to its end, and those of the processor."""
    environment = os.environ | {"PYTHONPATH": str(common.ROOT / "scripts")}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "gpraflow.app.cli", *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    """Measure in turns, in fresh processes."""
    parser = common.parser(__doc__)
    parser.add_argument("--architecture", default="compact")
    parser.add_argument("--rounds", type=int, default=5)
    options = common.parse(parser, architecture="vaishnav_cnn", rounds=1)
    processor = {"help": [], "predict": [], "predict_keras": []}
    seconds = {"light_import": [], "import": [], "read": [], "keras_read": [], "help": [], "predict": [], "predict_keras": []}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        common.call("startup", "write_model", path, options.architecture)
        promoter = Path(folder) / "one.fa"
        promoter.write_text(">one\n" + "GATTACAGAT" * 8 + "\n")
        predict = ("predict", "yeast-ypd", str(promoter), "--quiet")
        for _ in range(options.rounds):
            seconds["light_import"].append(common.call("startup", "import_keras", "1")["seconds"])
            seconds["import"].append(common.call("startup", "import_keras", "0")["seconds"])
            seconds["read"].append(common.call("startup", "read_model", path, True)["seconds"])
            seconds["keras_read"].append(common.call("startup", "read_model", path, False)["seconds"])
            for name, arguments in (("help", ("--help",)), ("predict", predict), ("predict_keras", (*predict, "--backend", "jax"))):
                for found, value in zip((seconds, processor), command(*arguments), strict=True):
                    found[name].append(value)
    least = {name: min(values) for name, values in seconds.items()}
    common.finish(
        options,
        "import keras as it is, and keras.saving.load_model",
        **{f"{name}_s": round(value, 2) for name, value in least.items()},
        **{f"{name}_cpu_s": round(min(values), 2) for name, values in processor.items()},
        ratio_import=round(least["import"] / least["light_import"], 2),
        ratio_read=round(least["keras_read"] / least["read"], 2),
        ratio_predict=round(least["predict_keras"] / least["predict"], 2),
    )


if __name__ == "__main__":
    main()
