"""What all plugins have in common: options, validated by pydantic, and the class that carries them."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import ConfigDict, Field

from ..settings import Settings


class PluginOptions(Settings):
    """Base of every plugin's options: a frozen pydantic model that forbids unknown keys."""

    model_config = ConfigDict(defer_build=False)  # a type that pydantic cannot check is an error when it is imported


class NetworkOptions(PluginOptions):
    """Options of a plugin whose network has a backbone."""

    backbone: str = Field(description="backbone of the network")
    backbone_options: dict[str, Any] = Field({}, description="options of the backbone, such as {output_stride: 16}")


OptionsT = TypeVar("OptionsT", bound=PluginOptions)


class Plugin(Generic[OptionsT]):
    """Base of all kinds of plugin: options, the paper.

    `class Mine(Method[MineOptions, MineNet])` names the type of its options, and thereby what a recipe may contain.
    """

    Options: ClassVar[type[PluginOptions]] = PluginOptions
    paper: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "Options" not in vars(cls):
            for base in vars(cls).get("__orig_bases__", ()):
                for given in get_args(base):
                    if isinstance(given, type) and issubclass(given, PluginOptions):
                        cls.Options = given

    def __init__(self, options: OptionsT) -> None:
        self.options = options
