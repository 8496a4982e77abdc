"""Adapters are thin, and what they share with rules, envs and modules holds."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gpraflow.core import dependencies
from gpraflow.models import registry

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
WITHOUT_CODE = {"fetch_dataset"}  # what it brings is decided by the checksum
MODEL_RULES = {
    "calibrate_model",
    "check_tpu",
    "design_promoters",
    "explain_model",
    "find_learning_rate",
    "predict_promoters",
    "tabulate_factors",
    "train_model",
    "train_permuted",
    "tune_trial",
}
DISTRIBUTION = {
    "Bio": "biopython",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "google": "google-cloud-storage",
    "google_crc32c": "google-crc32c",
    "tensorflow": "tensorflow-cpu",
    "sklearn": "scikit-learn",
}


def rules():
    """Return rule -> (text of the rule)."""
    found = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name, body in re.findall(r"^rule (\w+):\n((?:(?:    .*)?\n)+)", path.read_text(), flags=re.MULTILINE):
            found[name] = body
    return found


RULES = rules()


def third_party(path):
    """Return the third-party modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"gpraflow"}


def code_behind(script):
    """Return the files behind a script, for the architectures that it may build or load too."""
    models = [registry.describe(name).module for name in registry.REGISTRY] if script.stem in MODEL_RULES else []
    models += ["gpraflow.models.zoo.baseline_kmer"] if script.stem == "demonstrate_leak" else []
    return [script, *(ROOT / "scripts" / f"{module.replace('.', '/')}.py" for module in dependencies.closure(script, *models))]


def test_every_rule_has_its_script_log_benchmark_and_env():
    assert {path.stem for path in SCRIPTS} == set(RULES), "every rule has a script of its name, and every script a rule"
    for rule, body in RULES.items():
        assert body.lstrip().startswith('"""'), f"{rule}: docstring"
        for path in (f"../../scripts/{rule}.py", f"results/{{run}}/logs/{rule}", f"results/{{run}}/benchmarks/{rule}"):
            assert f'"{path}' in body, f"{rule}: no path {path}"
        assert re.search(r'"\.\./\.\./envs/\w+\.yaml"', body), f"{rule}: conda"
        for directive in ("threads:", "resources:"):
            assert directive in body, f"{rule}: {directive}"
        code = "" if rule in WITHOUT_CODE else f'code_with_model("{rule}")' if rule in MODEL_RULES else f'code_of("{rule}"'
        assert code in body, f"{rule}: params needs code={code.removesuffix(')')}); MODEL_RULES are those that build or load the model"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_adapters_are_thin(script):
    lines = len(script.read_text().splitlines())
    assert lines <= 32, f"{script.name} has {lines} lines, more than 32: move code into the library"
    tree = ast.parse(script.read_text())
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["main"]
    first = tree.body[[type(n) for n in tree.body].index(ast.FunctionDef)].body[0]
    assert "logs.log_to" in ast.unparse(first)


# The machine that environments are compared for.
TARGET = default_environment() | {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}


def lock_pins(name="gpraflow"):
    pins = {}
    for text in re.findall(r"^([A-Za-z0-9_.-]+==[^\\\n]*)", (ROOT / f"requirements/{name}.lock").read_text(), flags=re.MULTILINE):
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(TARGET):
            pins[requirement.name.lower()] = str(requirement.specifier)
    return pins


def test_the_lock_file_for_gpus_is_the_other_one_and_cuda():
    pins, more = lock_pins(), lock_pins("gpraflow-cuda")
    assert pins == {name: more[name] for name in pins}
    added = set(more) - set(pins)
    assert {"jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cudnn-cu12"} <= added
    assert all(name.startswith(("jax-cuda12-", "nvidia-")) for name in added), added
    assert more["jax-cuda12-plugin"] == pins["jax"]


def env(path):
    content = yaml.safe_load(path.read_text())
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return content, conda, [Requirement(entry) for entry in pip]


def listed(path):
    """Return the packages that `make lock` is asked to pin."""
    lines = path.with_suffix(".in").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def closure(requirements):
    """Return the names of packages and of all that they need on Linux, x86_64, as the metadata of what is installed says."""
    found, queue = set(), [(requirement, "") for requirement in requirements]
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate(TARGET | {"extra": extra}):
            continue
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in found:
                found.add((name, wanted))
                queue += [(Requirement(text), wanted) for text in metadata.requires(name) or []]
    return {name for name, _ in found}


ENVS = sorted((ROOT / "envs").glob("*.yaml"))


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_an_environment_holds_its_packages_and_all_that_they_need_with_the_pins_of_the_lock_file(path):
    content, conda, pip = env(path)
    programs = [entry for entry in conda[2:] if not entry.startswith("fastp=")]
    assert not programs
    # Not nodefaults: newer versions of conda ask for a channel of that name.
    assert content["channels"] == (["conda-forge", "bioconda"] if conda[2:] else ["conda-forge"])
    assert conda[0] == "python=3.12"
    assert conda[1].startswith("pip=")
    assert all(str(requirement.marker or "").count(" and ") == 0 for requirement in pip)
    pins = lock_pins()
    here = {r.name: str(r.specifier) for r in pip if r.marker is None or r.marker.evaluate(TARGET)}
    assert here == {name: pins[name] for name in closure(listed(path))}


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_an_environment_can_be_made_on_other_processors(path):
    # tensorflow-cpu has wheels for x86_64 only.
    for machine, system, tensorflow in (("aarch64", "linux", "tensorflow"), ("arm64", "darwin", "tensorflow")):
        there = TARGET | {"platform_machine": machine, "sys_platform": system}
        names = {r.name for r in env(path)[2] if r.marker is None or r.marker.evaluate(there)}
        assert names & {"tensorflow", "tensorflow-cpu"} == ({tensorflow} if path.stem == "train" else set())
        assert {canonicalize_name(r.name) for r in listed(path)} - names <= {"tensorflow", "tensorflow-cpu"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_import_of_a_script_is_listed_for_its_environment(script):
    (name,) = re.findall(r'"\.\./\.\./envs/(\w+)\.yaml"', RULES[script.stem])
    installed = {requirement.name.lower() for requirement in listed(ROOT / f"envs/{name}.yaml")}
    others = set().union(*(third_party(path) for path in code_behind(script) if path.is_file()))
    missing = {DISTRIBUTION.get(module, module).lower() for module in others} - installed
    assert not missing, (
        f"envs/{name}.in lacks {missing}, which {script.name} or the library behind it imports; add them and run `make lock`"
    )


def test_the_snakefile_needs_only_what_snakemake_installs():
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    imports = [line for path in files for line in path.read_text().splitlines() if line.startswith("from gpraflow")]
    assert len(imports) >= 6
    code = "\n".join([*imports, "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "scripts")}
    )
    installed = metadata.packages_distributions()
    loaded = {canonicalize_name(name) for module in done.stdout.split() for name in installed.get(module, [])}
    assert loaded - {"gpraflow", "setuptools"} <= closure([Requirement("snakemake")])


def test_no_script_imports_keras_jax_or_tensorflow_before_it_needs_them():
    for name in (
        "fetch_dataset",
        "simulate_assay",
        "ingest_table",
        "split_promoters",
        "shard_tfrecords",
        "upload_shards",
        "evaluate_model",
        "plot_training",
    ):
        code = f"import runpy, sys; runpy.run_path('scripts/{name}.py', run_name='x')\n"
        code += "assert not {'keras', 'jax', 'tensorflow'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": "scripts"}, check=True)


def test_log_takes_everything_and_the_terminal_one_message(tmp_path):
    code = """
import os, sys
from gpraflow.core import logs
from gpraflow.core.errors import InputError
terminal = logs.log_to(sys.argv[1])
print("from python")
os.system("echo from a child; echo and its errors >&2")
os.write(2, b"from C\\n")
terminal.write("progress\\n")
raise (InputError("a.tsv, row 3: wrong") if sys.argv[2] == "ours" else KeyError("x"))
"""
    for kind, said in (("ours", "gpraflow: a.tsv, row 3: wrong"), ("other", "gpraflow: KeyError: 'x' (a bug in gpraflow; traceback in")):
        log = tmp_path / "logs" / f"{kind}.log"
        done = subprocess.run(
            [sys.executable, "-c", code, str(log), kind],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("progress\n")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        text = log.read_text()
        for part in ("from python", "from a child", "and its errors", "from C", "Traceback"):
            assert part in text
