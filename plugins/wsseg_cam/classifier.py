"""What all classifiers of the CAM family share: options, parameter groups, transform, and a base for networks."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from pydantic import Field
from torch import nn

from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine.optim import PSA_MULTIPLIERS, psa_param_groups
from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.plugin.protocols import Method, NetworkOptions, ParamGroups, Transform
from wsseg_cli.settings import AugmentSettings, LrMultipliers, OptimSettings
from wsseg_cli.types import Normalization


class ClassifierOptions(NetworkOptions):
    """Options of a classifier on a backbone."""

    backbone: str = Field("resnet38", description="backbone of the classifier")
    lr_multipliers: LrMultipliers = PSA_MULTIPLIERS
    class_threshold: float = Field(0.5, ge=0, le=1, description="score from which a class counts as predicted")


class CamOptions(ClassifierOptions):
    """Options of a classifier with one linear layer on the last feature map, after dropout, as in PSA."""

    dropout: float = Field(0.5, ge=0, lt=1, description="channels of the last feature map dropped in training")
    head_init: HeadInit = Field(
        "xavier", description="what the class layer starts from; uniform in IRN, zero for few images"
    )


class ClassifierNet(nn.Module):
    """A backbone, and layers that start at random."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def normalization(self) -> Normalization:
        """How the backbone expects its pixels."""
        return self.backbone.normalization

    @property
    @abstractmethod
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""


ClassifierOptionsT = TypeVar("ClassifierOptionsT", bound=ClassifierOptions)
ClassifierNetT = TypeVar("ClassifierNetT", bound=ClassifierNet)


class Classifier(Method[ClassifierOptionsT, ClassifierNetT]):
    """A method whose network is trained as in PSA: four parameter groups, one augmented crop per image."""

    @property
    def decay_biases(self) -> bool:
        """Whether biases have weight decay too."""
        return False

    def param_groups(self, model: ClassifierNetT, optim: OptimSettings) -> ParamGroups:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own learning rate."""
        multipliers = self.options.lr_multipliers
        return psa_param_groups(model, model.new_layers, optim, multipliers=multipliers, decay_biases=self.decay_biases)

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training; extras that training reads move with their image."""
        return classification_transform(augment, normalize=self.normalization, with_=self.required.training)
