"""The workflow away from its checkout: as a module, from another folder, as an installed package, under Snakemake alone."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import polars as pl
import pytest
import yaml
from packaging.requirements import Requirement

import gpraflow
from gpraflow.app import plan
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError
from tests import toy
from tests.conftest import ROOT, copy_workflow, snakemake

SAMPLE_SHEET = "sample_sheet"  # the key of section counts
FIVE, THREE = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
# A run from a table of expression, as short as it gets; all other keys are the schema's defaults.
SMALL = {
    "run": "small",
    "input": {"table": "promoters.tsv"},
    "split": {"fractions": {"train": 0.6, "val": 0.2, "test": 0.2}},
    "model": {"name": "baseline_kmer"},
    "evaluation": {"bootstrap": 100},
    "explain": {"dataset": ""},
}
# An importer with rules, wildcards and a config of its own.
IMPORTER = """\
configfile: "config.yaml"


rule all:
    input:
        "summary/cells/first.txt",
        "results/small/report.html",


module gpraflow:
    snakefile:
        "../gpraflow/workflow/Snakefile"
    config:
        config["gpraflow"]


use rule * from gpraflow as gpra_*


rule sequence:
    output:
        "sequenced/{dataset}/{run}.txt",
    shell:
        "echo {wildcards.dataset} {wildcards.run} > {output}"


rule summarize:
    input:
        metrics="results/small/metrics.json",
        reads="sequenced/{dataset}/{run}.txt",
    output:
        "summary/{dataset}/{run}.txt",
    script:
        "scripts/summarize.py"
"""
# A project that is nothing but the workflow, as snakedeploy writes it.
DECLARATION = """\
module gpraflow:
    snakefile:
        {source}
    config:
        config


use rule * from gpraflow
"""
SUMMARIZE = """\
import json
from pathlib import Path

assert snakemake.config["title"] == "the importer's own", snakemake.config
scores = json.loads(Path(snakemake.input.metrics).read_text())["datasets"]
Path(snakemake.output[0]).write_text(Path(snakemake.input.reads).read_text() + f"{scores['test']['n']} promoters\\n")
"""


def write_promoters(path, rows=300):
    """Write a table of promoters whose expression follows from their bases."""
    draw = random.Random(1)
    lines = ["sequence\texpression"]
    for _ in range(rows):
        insert = "".join(draw.choices("ACGT", k=80))
        lines.append(f"{FIVE}{insert}{THREE}\t{8 + 0.3 * (insert.count('G') - insert.count('T')) + draw.gauss(0, 0.5):.3f}")
    path.write_text("\n".join(lines) + "\n")


def project(folder, **changes):
    """Make a folder of a user's: the table, and a config beside it."""
    folder.mkdir()
    write_promoters(folder / "promoters.tsv")
    (folder / "mine.yaml").write_text(yaml.safe_dump(SMALL | changes))
    return folder


def digest(folder):
    """Return path -> digest of all files of a folder, without Python's own cache, which a read-only folder refuses except to root."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(*command, folder, **environment):
    """Run a command outside the checkout, without what the tests' own environment says of it."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")}
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=600, env=inherited | environment)


def jobs(said):
    """Return rule -> number of jobs of a dry run."""
    table = said.split("Job stats:")[1].split("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE) if name != "total"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a read-only checkout in it."""
    folder = tmp_path_factory.mktemp("deployment")
    checkout = copy_workflow(folder / "gpraflow")
    paths = [checkout, *checkout.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


# As a module


@pytest.fixture(scope="module")
def imported(place):
    """A project that imports the workflow as a module with a prefix, and ran it to its end."""
    folder = project(place / "importer")
    (folder / "config.yaml").write_text(yaml.safe_dump({"title": "the importer's own", "gpraflow": SMALL}))
    (folder / "Snakefile").write_text(IMPORTER)
    (folder / "scripts").mkdir()
    (folder / "scripts/summarize.py").write_text(SUMMARIZE)
    before = digest(place / "gpraflow")
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert digest(place / "gpraflow") == before
    (folder / "run.log").write_text(done.stdout + done.stderr)
    return folder


def test_module_runs_beside_rules_that_use_the_same_wildcards(imported):
    assert (imported / "summary/cells/first.txt").read_text().splitlines()[0] == "cells first"
    scores = json.loads((imported / "results/small/metrics.json").read_text())["datasets"]
    assert list(scores) == ["test"]
    assert scores["test"]["n"] == pl.read_parquet(imported / "results/small/splits/test.parquet").height
    assert f"{scores['test']['n']} promoters" in (imported / "summary/cells/first.txt").read_text()
    ran = (imported / "run.log").read_text()
    assert "rule gpra_train_model:" in ran
    assert "rule train_model:" not in ran


def test_report_of_a_module_shows_the_modules_config_and_captions(imported):
    page = (imported / "results/small/report.html").read_text()
    assert "baseline_kmer" in page
    assert "promoters.tsv" in page
    assert "the importer's own" not in page
    caption = (ROOT / "workflow/report/scores.rst").read_text().split("{", 1)[0].split("\n")[0][:40]
    assert caption in page
    done = snakemake(imported, "--report", "report.zip")  # Snakemake's own report, with the same captions
    assert done.returncode == 0, done.stderr[-2000:]
    assert zipfile.ZipFile(imported / "report.zip").testzip() is None


def test_wrong_key_of_a_module_is_named(imported):
    done = snakemake(imported, "-n", "--config", "gpraflow={modle: {}}")
    assert done.returncode != 0
    assert "config: 'modle' is not a key; did you mean 'model'?" in done.stdout + done.stderr


def test_two_configs_are_two_modules(place):
    folder = project(place / "twice")
    other = SMALL | {"run": "other", "split": {"names": ["train", "val"]}, "evaluation": {"splits": ["val"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"one": SMALL, "two": other}))
    part = 'module {name}:\n    snakefile: "../gpraflow/workflow/Snakefile"\n    config: config["{name}"]\n\n'
    part += "use rule * from {name} as {name}_*\n\n"
    (folder / "Snakefile").write_text(
        'configfile: "config.yaml"\n\nrule both:\n    input: "results/small/report.html", "results/other/report.html"\n\n'
        + part.format(name="one")
        + part.format(name="two")
    )
    done = snakemake(folder, "-n", "both")
    assert done.returncode == 0, done.stderr[-2000:]
    found = jobs(done.stdout)
    assert found["one_shard_tfrecords"] == 3
    assert found["two_shard_tfrecords"] == 2
    assert found["one_plot_predictions"] == found["two_plot_predictions"] == 1


# From another folder


def test_read_only_checkout_runs_in_another_folder(place, tmp_path):
    """Also of somebody else, in the locale C, in a folder whose name has an umlaut; root gives up its rights over others' files."""
    folder = project(tmp_path / "Bäckerhefe")
    (folder / "Läufe").mkdir()
    (folder / "promoters.tsv").rename(folder / "Läufe/größe.tsv")
    (folder / "mine.yaml").write_text(yaml.safe_dump(SMALL | {"input": {"table": "Läufe/größe.tsv"}}, allow_unicode=True), "utf-8")
    checkout, unprivileged = place / "gpraflow", []
    if os.geteuid() == 0 and shutil.which("setpriv"):
        unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        for path in [checkout, *checkout.rglob("*")]:
            os.chown(path, 12345, 12345)
        assert subprocess.run([*unprivileged, "touch", str(checkout / "Snakefile")], capture_output=True).returncode
    before = digest(checkout)
    options = ["--snakefile", str(checkout / "workflow/Snakefile"), "--directory", folder.name, "--cores", "2"]
    command = [*unprivileged, sys.executable, "-m", "snakemake", *options, "--configfile", f"{folder.name}/mine.yaml"]
    locale = {name: value for name, value in os.environ.items() if name not in ("LANG", "PYTHONUTF8") and not name.startswith("LC_")}
    locale |= {"LC_ALL": "C", "HOME": str(tmp_path / "none")}

    def start(*arguments):
        return subprocess.run([*command, *arguments], cwd=tmp_path, env=locale, capture_output=True, encoding="utf-8", timeout=600)

    done = start("--", "results/small/upload.json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert digest(checkout) == before
    assert {path.name for path in folder.iterdir()} == {".snakemake", "mine.yaml", "Läufe", "results"}
    splits = [pl.read_parquet(path) for path in (folder / "results/small/splits").glob("*.parquet")]
    assert sum(split.height for split in splits) == 300
    rest = start("-n")
    assert rest.returncode == 0, rest.stderr[-2000:]
    assert not {"ingest_table", "split_promoters", "upload_shards"} & jobs(rest.stdout).keys()
    assert jobs(rest.stdout)["train_model"] == 1


def test_names_are_built_in_resources_and_paths_the_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built_in = plan.Plan(SMALL)
    assert built_in.scaffolds == str(ROOT / "resources/scaffolds.yaml")
    assert built_in.motif_file("explain") == str(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")
    own = plan.Plan(SMALL | {"scaffold": {"file": "mine/scaffolds.yaml"}, "explain": {"dataset": "", "motifs": "mine/motifs.jaspar"}})
    assert own.scaffolds == "mine/scaffolds.yaml"
    assert own.motif_file("explain") == "mine/motifs.jaspar"
    monkeypatch.chdir(ROOT)
    assert plan.Plan(SMALL).scaffolds == "resources/scaffolds.yaml"  # so that a checkout that moves reruns nothing


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("scaffold", "file", "built_in", "scaffold.file: 'built_in' is neither a file nor a built-in name; did you mean 'built-in'?"),
        ("model", "motifs", "jaspar", "model.motifs: 'jaspar' is neither a file nor a built-in name"),
        ("fetch", "registry", "my/datasets.yaml", "fetch.registry: my/datasets.yaml does not exist"),
    ],
)
def test_resource_that_does_not_exist_is_named(tmp_path, monkeypatch, section, key, value, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan.Plan(SMALL | {section: {key: value, **({"name": "compact"} if section == "model" else {})}})


# As an installed package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what it is made of."""
    source = copy_workflow(tmp_path_factory.mktemp("source") / "gpraflow")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = source.parent / "wheels"
    sdist = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"  # the wheel is made of it, as on a release
    packed = run(sys.executable, "-c", sdist, folder=source)
    assert packed.returncode == 0, packed.stderr[-2000:]
    archive = source.parent / packed.stdout.split()[-1]
    command = [sys.executable, "-m", "pip", "wheel", str(archive), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(target)]
    done = run(*command, folder=source.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(target.glob("gpraflow-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A program's folder: an environment with the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--prefix", str(folder), "--ignore-installed", str(wheel)]
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    # Not with site.addsitedir, which would read the editable install's .pth and find the checkout.
    dependencies = next(path for path in sys.path if (Path(path) / "polars").is_dir())
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder


def test_wheel_holds_what_a_checkout_has_beside_the_package(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for source, target in [("resources", "resources"), ("workflow/schemas", "schemas"), ("workflow/report", "report_parts")]:
        files = {str(path.relative_to(ROOT / source)) for path in (ROOT / source).rglob("*") if path.is_file()}
        assert {name.removeprefix(f"gpraflow/{target}/") for name in inside if name.startswith(f"gpraflow/{target}/")} == files
    adapters = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert {name.removeprefix("gpraflow/adapters/") for name in inside if name.startswith("gpraflow/adapters/")} == adapters
    modules = {str(path.relative_to(ROOT / "scripts")) for path in (ROOT / "scripts/gpraflow").rglob("*.py")}
    assert {name for name in inside if name.endswith(".py") and "/adapters/" not in name and "/resources/" not in name} == modules
    assert {name.split("/")[0] for name in inside} == {"gpraflow", f"gpraflow-{gpraflow.__version__}.dist-info"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy.write_whole(tmp_path_factory.mktemp("model") / "toy", rows=100)


def test_command_of_an_installed_package_finds_its_motifs(installed, model, tmp_path):
    promoters = toy.promoters(4, 3)
    (tmp_path / "in.fa").write_text("".join(f">p{row}\n{sequence}\n" for row, sequence in enumerate(promoters)))
    done = run(str(installed / "bin/gpraflow"), "explain", str(model), "in.fa", "-o", "explained", "--logos", "0", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    effects = pl.read_csv(tmp_path / "explained/effects.tsv.gz", separator="\t")
    assert effects["name"].unique(maintain_order=True).to_list() == ["p0", "p1", "p2", "p3"]
    motifs = pl.read_csv(tmp_path / "explained/motifs.tsv", separator="\t")
    known = (ROOT / "resources/motifs/jaspar2026_yeast.jaspar").read_text()
    assert motifs.height > 0
    assert all(f">{matrix}" in known for matrix in motifs["matrix"])


def test_an_installed_package_predicts_with_a_model_of_its_own(installed, tmp_path):
    """The worked example of the README, without a checkout."""
    shutil.copy(ROOT / "config/example_promoters.fa", tmp_path)
    command = [str(installed / "bin/python"), "-m", "gpraflow.app.cli", "predict", "yeast-ypd", "example_promoters.fa", "--quiet"]
    done = run(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    example = re.search(r"^```text\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)[1]
    found, shown = (
        [line.split() if "\t" not in text else line.split("\t") for line in text.splitlines()] for text in (done.stdout, example)
    )
    assert found[0] == ["name", "sequence", "expression", "expression_low", "expression_high", "expression_sd", "out_of_distribution"]
    assert [line[0] for line in found[1:]] == ["random_1", "reb1_and_tata", "random_2"]
    for line, (name, *numbers) in zip(found[1:], shown[1:], strict=True):
        assert line[0] == name
        assert [float(value) for value in line[2:5]] == pytest.approx([float(value) for value in numbers], abs=0.006)


def test_installed_adapters_have_the_fingerprints_of_the_checkouts(installed, tmp_path):
    code = """
from gpraflow.core import dependencies, resources
for rule in ("ingest_table", "train_model", "write_report"):
    print(dependencies.fingerprint(resources.path_of(f"{rule}.py", "adapters"), "gpraflow.models.zoo.legnet"))
"""
    there = run(str(installed / "bin/python"), "-c", code, folder=tmp_path)
    here = run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(ROOT / "scripts"))
    assert there.stdout == here.stdout
    assert len(set(there.stdout.split())) == 3


def test_tensorflow_can_be_imported_after_predictions(installed, model, tmp_path):
    promoters = toy.promoters(4, 3)
    code = f"""
import gpraflow
assert gpraflow.__file__.startswith({str(installed)!r}), gpraflow.__file__
print(*gpraflow.load({str(model)!r}).predict({promoters})["expression"])
import tensorflow, matplotlib, pandas, sklearn
print(tensorflow.constant(3).numpy())
"""
    done = run(str(installed / "bin/python"), "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    predicted, three = done.stdout.splitlines()
    assert [float(value) for value in predicted.split()] == pytest.approx([toy.said(sequence) for sequence in promoters], abs=1e-5)
    assert three == "3"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A Git repository of the workflow: tag `now`, and tag `other` whose rules say that they are of another version."""
    folder = copy_workflow(tmp_path_factory.mktemp("repository") / "gpraflow")
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    snakefile = folder / "workflow/Snakefile"
    subprocess.run([*git, "init", "--quiet"], cwd=folder, check=True)
    for tag in ("now", "other"):
        for command in (["add", "--all"], ["commit", "--quiet", "--message", tag], ["tag", tag]):
            subprocess.run([*git, *command], cwd=folder, check=True)
        snakefile.write_text(snakefile.read_text().replace(f'VERSION = "{gpraflow.__version__}"', 'VERSION = "99.0"'))
    return folder


def fetching(folder, repository, tag):
    """Make a project whose rules Snakemake fetches file by file from a repository, as it does with github(...)."""
    project(folder)
    source = f'gitfile("{repository}", path="workflow/Snakefile", tag="{tag}")'
    (folder / "Snakefile").write_text(DECLARATION.format(source=source))
    return folder


@pytest.mark.skipif(not shutil.which("git"), reason="needs Git")
def test_commit_is_that_of_the_code_and_not_of_a_repository_around_its_environment(installed, repository, tmp_path):
    around = tmp_path / "project"
    shutil.copytree(repository / ".git", around / ".git")
    shutil.copytree(installed / "lib", around / ".venv/lib", symlinks=True)
    site = next((around / ".venv/lib").glob("python3*/site-packages"))
    code = "from gpraflow.core import provenance; print('commit', provenance.commit())"
    assert run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(site)).stdout.split() == ["commit"]
    own = run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(repository / "scripts")).stdout.split()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True).stdout
    assert head.startswith(own[1].removesuffix("-dirty"))
    assert len(own[1].removesuffix("-dirty")) == 12


@pytest.mark.skipif(not shutil.which("git"), reason="needs Git")
def test_fetched_rules_run_with_the_installed_package_of_their_version(installed, bare, repository, tmp_path):
    command = ["-m", "snakemake", "results/small/tables/library.parquet", "--cores", "2", "--configfile", "mine.yaml"]
    python, folder = str(installed / "bin/python"), fetching(tmp_path / "now", repository, "now")
    done = run(python, *command, folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pl.read_parquet(folder / "results/small/tables/library.parquet").height == 300
    assert str(installed) in done.stdout + done.stderr  # the built-in scaffolds of the package

    absent = run(str(bare), *command, folder=folder)
    assert absent.returncode != 0
    assert f"install the library of the same version, {gpraflow.__version__}, beside Snakemake" in absent.stderr

    other = run(python, *command, folder=fetching(tmp_path / "other", repository, "other"))
    assert other.returncode != 0
    assert f"These rules are of gpraflow 99.0, the installed library is {gpraflow.__version__}" in other.stderr


def test_version_of_the_rules_is_that_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == gpraflow.__version__
    assert re.findall(r'^VERSION = "(.+)"$', (ROOT / "workflow/Snakefile").read_text(), flags=re.MULTILINE) == [version]


# Under Snakemake alone


def requirements(name, found):
    """Collect the distributions that one needs, itself included, without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        found[key] = importlib.metadata.distribution(name)
        for text in found[key].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                requirements(requirement.name, found)
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment with Snakemake and what it needs, linked from this one."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    for distribution in requirements("snakemake", {}).values():
        for name in {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}:
            if not (site / name).exists():
                (site / name).symlink_to(distribution.locate_file(name))
    return folder / "bin/python"


def reads_with(python, *arguments, folder):
    """Run Snakemake of another environment; an import that fails there is what the test says."""
    done = run(str(python), "-m", "snakemake", *arguments, folder=folder)
    missing = re.search(r"No module named '([^']+)'", done.stderr)
    assert not missing, f"The Snakefile imports {missing and missing[1]}, which Snakemake does not bring along:\n{done.stderr[-2000:]}"
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_the_snakefile_imports_comes_with_snakemake(bare):
    absent = [name for name in ("numpy", "polars", "pandas", "keras", "matplotlib", "gpraflow") if importlib.util.find_spec(name)]
    code = f"import importlib.util as util; print([name for name in {absent} if util.find_spec(name)])"
    assert run(str(bare), "-c", code, folder=ROOT).stdout.strip() == "[]"
    snakefiles = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    lines = [line for path in snakefiles for line in re.findall(r"^(?:from|import) .+", path.read_text(), flags=re.MULTILINE)]
    assert len(lines) > 5
    for line in lines:
        done = run(str(bare), "-c", line, folder=ROOT / "scripts")
        assert done.returncode == 0, f"'{line}' of the Snakefile needs what Snakemake does not bring along:\n{done.stderr}"


def test_every_config_is_planned_without_numpy(bare):
    code = "import sys, yaml; from gpraflow.app.plan import Plan\n"
    code += "print(*(Plan(yaml.safe_load(open(path))).config['run'] for path in sys.argv[1:]))"
    configs = sorted(str(path) for path in (ROOT / "config").glob("*.yaml"))
    done = run(str(bare), "-c", code, *configs, folder=ROOT, PYTHONPATH=str(ROOT / "scripts"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [yaml.safe_load(Path(path).read_text())["run"] for path in configs]


def test_bare_snakemake_lists_the_rules_and_plans_the_run(bare, tmp_path):
    rules = reads_with(bare, "--list-rules", folder=ROOT)
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} <= {line.split(" ")[0] for line in rules.splitlines()}
    options = ["-n", "--snakefile", str(ROOT / "workflow/Snakefile"), "--configfile", "mine.yaml"]
    found = jobs(reads_with(bare, *options, folder=project(tmp_path / "mine")))
    assert found["train_model"] == 1
    assert found["shard_tfrecords"] == 3


# The workflow catalog and snakedeploy


def test_the_catalogs_standardized_usage():
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"] == {"conda": True, "apptainer": False, "apptainer+conda": False}
    assert usage["mandatory-flags"]["flags"] == []
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme


@pytest.mark.slow
def test_the_test_folder_runs(tmp_path):
    checkout = copy_workflow(tmp_path / "gpraflow")
    shutil.copytree(ROOT / ".test/config", checkout / ".test/config")
    done = snakemake(checkout, "--directory", ".test")
    assert done.returncode == 0, done.stderr[-3000:]
    results = checkout / ".test/results/test"
    ledger = pl.read_csv(results / "ledger.tsv", separator="\t", schema_overrides={"dataset": pl.String})
    assert ledger.filter(rule="count_reads", kind="in")["rows"].sum() == 6000
    assert (results / "report.html").stat().st_size > 100_000
    assert not (checkout / "results").exists()


def test_snakedeploys_way(place):
    """`snakedeploy deploy-workflow` copies config/ and writes a Snakefile with this module declaration, there with github(...)."""
    folder = place / "deployed"
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "workflow").mkdir()
    first = 'from snakemake.utils import min_version\n\nmin_version("6.10.0")\n\nconfigfile: "config/config.yaml"\n\n'
    (folder / "workflow/Snakefile").write_text(first + DECLARATION.format(source=f'"{place}/gpraflow/workflow/Snakefile"'))
    done = snakemake(folder, "-n")
    assert done.returncode == 0, done.stderr[-2000:]
    defaults = schemas.defaults(schemas.load("config"))
    found = jobs(done.stdout)
    assert found["all"] == found["simulate_assay"] == found["write_report"] == found["train_model"] == 1
    assert found["count_reads"] == len((ROOT / "config" / Path(defaults["counts"][SAMPLE_SHEET]).name).read_text().splitlines()) - 1
    assert found["predict_promoters"] == 2  # the test split, and the sample's independent data set
