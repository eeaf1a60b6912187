"""Pixel-to-prototype contrast on SEAM or on EPS."""
