"""Design of promoters, their evolution, and the choice of the next library."""
