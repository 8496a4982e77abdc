"""One module an architecture; their names are those of `gpraflow.models.registry.REGISTRY`."""
