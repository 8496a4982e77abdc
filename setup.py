"""Copies what an installed package needs from outside ``scripts/gpraflow``; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

COPIES = {"resources": "resources", "workflow/schemas": "schemas", "workflow/report": "report_parts"}


class BuildWithResources(build_py):
    """Build the package with the resources, schemas and parts of the report that a checkout has beside it."""

    def run(self):
        """Copy after the modules are built; an editable install finds them in the checkout."""
        super().run()
        if not self.editable_mode:
            for source, target in COPIES.items():
                shutil.copytree(Path(__file__).parent / source, Path(self.build_lib, "gpraflow", target), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithResources})
