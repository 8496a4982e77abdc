"""Design of promoters: objectives, constraints, searches, and oligo pools."""
