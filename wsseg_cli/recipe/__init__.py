"""Recipes: one YAML file a run, read, checked and told what is wrong with it."""
