"""Refiners that learn nothing: the dense CRF and pixel-adaptive mask refinement."""
