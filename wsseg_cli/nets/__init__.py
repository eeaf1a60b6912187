"""Networks: backbones by name, among ours and those that other packages bring, and the DeepLab family."""

from ..plugin.backbones import backbone, normalization, require_feature_maps
from ..types import CAFFE, NORMALIZATIONS, TENSORFLOW

__all__ = ["CAFFE", "NORMALIZATIONS", "TENSORFLOW", "backbone", "normalization", "require_feature_maps"]
