"""Somebody else's plugins."""
