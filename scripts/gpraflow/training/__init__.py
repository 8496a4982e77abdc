"""Training: options, data, one network, ensembles, tuning, several processes, TPUs."""
