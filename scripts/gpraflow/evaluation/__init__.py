"""Scores with intervals, noise ceilings, subgroups, comparisons and checks."""
