"""Schedules of temperatures for annealing, from the start (b = 0) to the target (b = 1)."""

import numpy as np

from hvae_tf.checks import check_count

SCHEDULES = ("sigmoid", "linear")
_SHARPNESS = 4.0  # of the sigmoid schedule


def temperature_schedule(num_temperatures: int, schedule: str = "sigmoid") -> np.ndarray:
    """b_0..b_T, ``[T + 1]`` float64, from 0 to 1.

    Args:
        num_temperatures: T >= 1.
        schedule: ``"sigmoid"``, b_t = (s(4 (2t/T - 1)) - s(-4)) / (s(4) - s(-4)), with s the logistic function, which
            is slow at both ends, or ``"linear"``.

    Raises:
        ValueError: If T < 1, or the name is unknown.
    """
    check_count("num_temperatures", num_temperatures)
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; accepted: {', '.join(SCHEDULES)}")
    t = np.linspace(0.0, 1.0, num_temperatures + 1)
    if schedule == "linear":
        return t
    s = np.tanh(0.5 * _SHARPNESS * (2.0 * t - 1.0)) / np.tanh(0.5 * _SHARPNESS)  # 2 s(u) - 1 = tanh(u/2)
    return 0.5 * (1.0 + s)
