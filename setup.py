"""Copies what an installed package needs from outside ``scripts/gpraflow``; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = {"resources": "resources", "workflow/schemas": "schemas", "workflow/report": "report_parts"}


class BuildWithResources(build_py):
    """Build the package with the resources, schemas, parts of the report and adapters that a checkout has beside it."""

    def run(self):
        """Copy after the modules are built; an editable install finds them in the checkout."""
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib, "gpraflow")
            for source, target in FOLDERS.items():
                shutil.copytree(ROOT / source, package / target, dirs_exist_ok=True)
            (package / "adapters").mkdir(exist_ok=True)
            for script in ROOT.glob("scripts/*.py"):
                shutil.copy(script, package / "adapters")


setup(cmdclass={"build_py": BuildWithResources})
