"""The workflow in its conda environments, with local channels in place of conda-forge and bioconda."""
