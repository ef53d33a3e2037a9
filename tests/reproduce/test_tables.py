"""What reports are made of."""

import io
import math
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from reproduce.tables import fixed, half_width, markdown, mean_half_up, png, t_half_width


def test_markdown():
    assert markdown(("a", "b"), [(1, "x"), (2.5, "")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2.5 |  |"


def test_halves_are_rounded_up():
    assert mean_half_up(["83.30", "83.33"]) == "83.32"
    assert f"{np.mean([83.30, 83.33]):.2f}" == "83.31"  # what a float makes of it
    assert mean_half_up(["-0.5", "-0.51"], 2) == "-0.51"
    assert mean_half_up(["1", "1", "2"], 3) == "1.333"
    assert mean_half_up([]) == ""
    assert (fixed(None), fixed(math.nan), fixed(0.126)) == ("", "", "0.13")


def test_t_interval():
    # two values a distance of 2 apart: standard error 1, and 12.706 is the quantile with one degree of freedom
    assert t_half_width([1.0, 3.0]) == pytest.approx(12.7062, abs=1e-3)
    assert half_width(2.0, 10**6) == pytest.approx(2 * 1.95996, abs=1e-4)
    assert t_half_width([1.0]) == math.inf


def test_png_is_a_function_of_what_it_shows():
    def drawn():
        figure, axis = plt.subplots(figsize=(1, 1))
        axis.plot([0, 1])
        return png(figure, 50)

    before = plt.get_fignums()
    one, other = drawn(), drawn()
    assert one == other
    assert b"Software" not in one
    assert plt.imread(io.BytesIO(one)).shape[:2] == (50, 50)
    assert plt.get_fignums() == before


def test_tables_import_no_framework():
    code = "import sys; import reproduce.tables; assert not {'tensorflow', 'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
