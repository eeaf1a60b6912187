"""Recipes: one YAML file per run, read, checked, and its problems reported."""
