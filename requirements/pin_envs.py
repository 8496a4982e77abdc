"""Write the pip section of each envs/NAME.yaml: the packages of envs/NAME.in and all that they need, as the lock file pins them.

python requirements/pin_envs.py [--check]
`make lock` calls it. Channels, Python, pip and programs are edited in the YAML files themselves.
--check writes nothing and fails where a file would change.

Each environment is resolved for every platform below. A package that only some of them need gets a marker of one condition: some tools for
conda environments remove the blanks of a marker, which breaks those with `and`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
PYTHON = "3.12"
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
MARKERS = {
    (True, True, True): "",
    (True, False, False): "; platform_machine == 'x86_64'",
    (False, True, False): "; platform_machine == 'aarch64'",
    (False, False, True): "; sys_platform == 'darwin'",
    (True, True, False): "; sys_platform == 'linux'",
    (True, False, True): "; platform_machine != 'aarch64'",
    (False, True, True): "; platform_machine != 'x86_64'",
}
PIP = "  - pip:\n"


def resolve(listed: Path, platform: str) -> set[str]:
    """Return the pins, such as numpy==2.5.5, of the packages in ``listed`` and of all that they need."""
    command = [UV, "pip", "compile", listed, "--python-version", PYTHON, "--python-platform", platform, "--quiet"]
    command += ["--constraints", ROOT / "requirements/gpraflow.lock", "--no-annotate", "--no-header"]
    return set(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split())


def pinned(env: Path) -> str:
    """Return the text of an environment file with the pins of today's lock file."""
    needed = [resolve(env.with_suffix(".in"), platform) for platform in PLATFORMS]
    lines = (f"      - {pin}{MARKERS[tuple(pin in pins for pins in needed)]}\n" for pin in sorted(set().union(*needed)))
    return env.read_text().partition(PIP)[0] + PIP + "".join(lines)


def main(check: bool) -> int:
    """Write all files, or return 1 where one is not up to date."""
    late = 0
    for env in sorted((ROOT / "envs").glob("*.yaml")):
        text = pinned(env)
        if text == env.read_text():
            continue
        late += 1
        if check:
            print(f"{env.relative_to(ROOT)}: its pins are not those of requirements/gpraflow.lock; run `make lock`")
        else:
            env.write_text(text)
    return int(check and late > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where a file is not up to date")
    sys.exit(main(parser.parse_args().check))
