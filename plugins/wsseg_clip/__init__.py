"""CLIP-ES: class maps of a frozen CLIP, from the texts of an image's classes against those of their surroundings."""
