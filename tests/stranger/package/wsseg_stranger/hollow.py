"""A plugin that imports well and does not keep its promise."""

from wsseg_cli.plugin.protocols import Method


class Hollow(Method):
    """Has no network and no scores."""
