"""What every report is made of: Markdown tables, t-intervals, decimals as print has them, and PNG files.

Imports no framework, so that the benchmarks' calling process may use it.
"""

import io
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal


def markdown(columns: Sequence, rows: Sequence[Sequence]) -> str:
    """A Markdown table; no line end after its last row."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def fixed(value: float | None, digits: int = 2) -> str:
    """The number with so many decimals; nothing where there is none, or it is NaN."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def mean_half_up(values: Sequence[str], digits: int = 2) -> str:
    """The mean of numbers as they were printed, rounded as print does: exact decimals, halves upwards in size.

    A float cannot do it: the mean of 83.30 and 83.33 is 83.315, whose nearest float is below it.

    Args:
        values: Decimal numbers as text, such as ``"83.30"``; nothing in, nothing out.
        digits: Decimals kept.
    """
    if not values:
        return ""
    mean = sum(map(Decimal, values), Decimal()) / len(values)
    return str(mean.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def half_width(standard_error: float, degrees_of_freedom: float) -> float:
    """Half the width of a 95 % t-interval: the standard error times the t-distribution's 97.5 % quantile."""
    from scipy import stats

    return float(stats.t.ppf(0.975, degrees_of_freedom) * standard_error)


def t_half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % t-interval of the mean of independent values; infinite for fewer than two."""
    import numpy as np

    if len(values) < 2:
        return math.inf
    return half_width(float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values) - 1)


def png(figure, dpi: int) -> bytes:
    """A matplotlib figure as a PNG file without metadata, a function of what it shows; the figure is closed."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, metadata={"Software": None})
    pyplot.close(figure)
    return buffer.getvalue()
