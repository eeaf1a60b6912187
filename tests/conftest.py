"""Fixtures for all tests: the golden case that a test is named after, one thread for each worker."""

from __future__ import annotations

import pytest
from golden_cases import Case, load_case
from hypothesis import HealthCheck, settings

# on a machine that others use, too, neither a slow example nor slow drawing is a fault
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Return the golden case of the test's parameter."""
    return load_case(request.param)
