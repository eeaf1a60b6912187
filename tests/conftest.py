"""Fixtures for all tests: the golden case that a test is named after, one thread for each worker."""

from __future__ import annotations

import pytest
from golden_cases import Case, load_case


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Return the golden case of the test's parameter."""
    return load_case(request.param)
