"""Models: registry of architectures, Keras backend, construction of networks, and model directories."""
