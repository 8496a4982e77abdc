"""One module for each architecture, named as in `gpraflow.models.registry.REGISTRY`."""
