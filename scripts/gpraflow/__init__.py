"""gpraflow: from a sorted promoter library to an honestly tested sequence-to-expression model."""

__version__ = "0.1.0"
