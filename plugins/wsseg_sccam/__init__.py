"""SC-CAM: a classifier that also learns sub-categories, found by clustering its own features, in rounds."""
