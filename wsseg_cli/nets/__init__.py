"""Networks: backbones by name, ours and those of other packages, and the DeepLab family."""

from ..plugin.backbones import backbone, normalization, require_feature_maps
from ..types import CAFFE, NORMALIZATIONS, TENSORFLOW

__all__ = ["CAFFE", "NORMALIZATIONS", "TENSORFLOW", "backbone", "normalization", "require_feature_maps"]
