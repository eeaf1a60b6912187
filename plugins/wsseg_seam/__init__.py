"""SEAM: a pixel correlation module, and class activation maps that agree between two sizes of one image."""
