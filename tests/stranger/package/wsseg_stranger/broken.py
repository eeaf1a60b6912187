"""A plugin whose dependency is not installed."""

import wsseg_no_such_dependency  # noqa: F401

from wsseg_cli.plugin.protocols import Method


class Broken(Method):
    """Never seen."""
