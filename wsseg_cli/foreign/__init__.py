"""Readers of third-party binary files, one per suffix. They execute nothing that a file contains."""
