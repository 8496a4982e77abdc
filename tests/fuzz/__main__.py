"""``python -m tests.fuzz N [--seed S] [--only NAME] [--keep FOLDER]``: exit code 1 if an input is not refused clearly or read right."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.fuzz import run, targets


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("inputs", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="name of a kind of input")
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        folder = Path(name)
        chosen = [target for target in targets.targets(folder / "shards") if options.only in ("", target.name)]
        classes = run.fuzz(chosen, options.inputs, options.seed, folder, options.keep and options.keep.absolute())
    print(run.table(classes))
    return int(any(counts[kind] for counts in classes.values() for kind in counts if kind not in run.GOOD))


if __name__ == "__main__":
    sys.exit(main())
