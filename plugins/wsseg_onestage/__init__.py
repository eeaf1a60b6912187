"""Single-stage segmentation from image labels (Araslanov and Roth, CVPR 2020)."""
