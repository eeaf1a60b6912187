"""The DeepLab family as segmenters."""
