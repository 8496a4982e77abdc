"""One module per architecture, named as in `gpraflow.models.registry.REGISTRY`."""
