"""The command ``gpraflow``."""
