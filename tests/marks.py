"""Which of a test's cases the fast suite leaves to the slow one."""

import pytest


def slow(names, *parts: str) -> list:
    """The names for `parametrize`; those that have one of the parts in them are slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if any(part in n for part in parts) else n for n in names]
