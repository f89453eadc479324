"""Spaces that all tests of the estimators share."""

import pytest


@pytest.fixture
def spaces(blobs):
    """Two spaces (24, 5) and (24, 4) of three planted classes."""
    return blobs(24, 3, (5, 4))[0]
