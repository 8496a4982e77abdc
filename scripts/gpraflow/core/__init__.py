"""What every other package uses: errors, whole files, config and schemas, logs, randomness, provenance, drawing style."""
