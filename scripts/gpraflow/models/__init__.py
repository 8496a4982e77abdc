"""Models: the registry of architectures, the Keras backend, building networks, and model directories."""
