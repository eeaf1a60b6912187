"""Readers of other people's binary files, one to a suffix. They execute nothing that a file says."""
