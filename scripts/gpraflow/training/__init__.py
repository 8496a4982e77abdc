"""Training: options, data, single networks, ensembles, tuning, multi-process training and TPUs."""
