"""ReCAM (Chen et al., CVPR 2022), written from the paper and not compared with its code."""
