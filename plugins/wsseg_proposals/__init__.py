"""Mask proposals vote on pseudo-masks (SEPL, arXiv 2305.05803)."""
