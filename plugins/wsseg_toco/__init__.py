"""Token contrast on a plain transformer, classifier and segmentation network at once (Ru et al., CVPR 2023)."""
