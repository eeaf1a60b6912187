"""EPS: foreground and background maps of a classifier that must explain a saliency map."""
