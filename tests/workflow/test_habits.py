"""What contributors rely on: hooks, CI, versions and the guide agree with what they speak of."""

import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import gpraflow
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def target(name):
    """Return the recipe of a make target."""
    return re.search(rf"^{name}:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)[1]


def test_hooks_run_the_pinned_programs_of_make_lint():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    linted = set(re.findall(r"\$\(BIN\)/(\w+)", target("lint"))) - {"snakemake"}  # which reads the whole workflow: slow for a hook
    hooks = {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert hooks == {f".venv/bin/{program}" for program in linted}
    lock = (ROOT / "requirements/gpraflow.lock").read_text()
    for program in linted:
        assert re.search(rf"^{program}==", lock, flags=re.MULTILINE), program


def test_warnings_of_the_documentation_are_errors():
    assert "--strict" in target("docs")
    assert "--quiet" not in target("docs")  # MkDocs counts no warnings then


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == gpraflow.__version__ == str(citation["version"])


def test_ci_tests_every_supported_python():
    (workflow,) = [yaml.safe_load(path.read_text()) for path in WORKFLOWS if path.name == "test.yml"]
    supported = SpecifierSet(PROJECT["requires-python"])
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    assert tested == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_ci_may_only_read_and_uses_pinned_actions(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        assert set(job.get("permissions", {})) <= ({"pages", "id-token"} if name == "deploy" else set())
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v0"))
            for make in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert re.search(rf"^{make}:", MAKEFILE, flags=re.MULTILINE), make


def test_ci_on_a_bare_machine_runs_the_same_targets():
    script = (ROOT / ".ci/run").read_text()
    assert {"setup", "lint", "docs", "test"} <= set(re.findall(r"^make (\w+)", script, flags=re.MULTILINE))


def test_the_guide_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    roots = "benchmarks|config|docs|envs|requirements|resources|scripts|src|tests|workflow"
    named = set(re.findall(rf"(?<![\w/.])((?:{roots})/[\w/.-]*[\w/])", re.sub(r"\S*<\w+>\S*", "", text)))
    assert len(named) >= 25
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_guide_describes_every_package():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    packages = {path.parent.name for path in (ROOT / "scripts/gpraflow").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))


def test_make_passes_a_folder_with_blanks_as_one_word():
    done = subprocess.run(["make", "-n", "run", "DATA=a folder"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--config 'data=a folder'" in done.stdout
    wrong = subprocess.run(["make", "run", "CONFIG=a b.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert "a: this config file does not exist (CONFIG names files separated by blanks" in wrong.stdout
