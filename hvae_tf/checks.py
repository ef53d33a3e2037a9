"""Checks of arguments, before any work: each gives the value, or says in one line what was expected."""

import numpy as np


def check_count(name: str, value) -> int:
    """An integer of at least 1.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected an integer of at least 1")
    return int(value)


def check_seed(name: str, value) -> int:
    """An integer from 0 to 2**31 - 1.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**31:
        raise ValueError(f"{name} is {value!r}; expected an integer from 0 to 2**31 - 1")
    return int(value)
