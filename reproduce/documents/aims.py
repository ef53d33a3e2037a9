"""What the benchmarks were to reach, and what they reached: a table of benchmarks/README.md."""

import numpy as np

from reproduce.documents.costs import figures, median_ratio
from reproduce.tables import markdown


def aims() -> str:
    """A row an aim: at most or at least so much, what was measured, and whether that is it."""
    step, memory = figures("step_time"), figures("memory")["rows"]
    seconds, in_turn = step["seconds_per_step"], step["seconds_per_step_all_k_in_turn"]
    peaks = {(row["K"], row["batch"]): row["peak"] for row in memory if row["kind"] == "reversible"}
    adjoints = figures("adjoints")["seconds_per_step"].values()
    waited = figures("input_pipeline")["shares"]
    lines = [
        ("HVAE K = 5 over PyTorch, 2K gradients", "at most", 0.40, [_over(seconds["5"], "torch-2k")]),
        ("HVAE K = 5 over PyTorch, K + 1 gradients", "at most", 0.62, [_over(seconds["5"], "torch")]),
        ("HVAE K = 5 over pythae, which does a third less work", "at most", 0.75, [_over(seconds["5"], "pythae")]),
        ("VAE over PyTorch's", "at most", 0.75, [_over(seconds["0"], "torch")]),
        ("K = 20 over K = 5", "at most", 3.7, [median_ratio(in_turn["20"], in_turn["5"])]),
        (
            "of the matrix-product peak, training, K = 5 and more", "at least", 0.60,
            _training_shares(step["of_the_peak"]),
        ),
        ("of the matrix-product peak, likelihood, K = 5, 1000 at once and more", "at least", 0.75, _sample_shares()),
        (
            "peak memory of `reversible`, K = 50 over K = 5, batches of 100 and 500", "at most", 1.15,
            [peaks[50, batch] / peaks[5, batch] for batch in (100, 500)],
        ),
        (
            "time of `reversible` over `backprop`, K = 1 to 50", "at most", 1.4,
            [median_ratio(found["reversible"], found["backprop"]) for found in adjoints],
        ),
        ("waiting for data, % of the time, VAE and K = 5", "at most", 3.0, [100 * waited[k] for k in ("0", "5")]),
    ]  # fmt: skip
    return markdown(("", "aimed at", "reached", ""), [row(*line) for line in lines])


def row(what: str, side: str, aim: float, reached) -> tuple[str, str, str, str]:
    """One line of it; all that was reached has to be within the aim."""
    met = max(reached) <= aim if side == "at most" else min(reached) >= aim
    ends = dict.fromkeys(f"{value:.2f}" if value < 2 else f"{value:.1f}" for value in (min(reached), max(reached)))
    return what, f"{side} {aim:g}", " to ".join(ends), "met" if met else "**missed**"


def _over(seconds, peer) -> float:
    return median_ratio(seconds["hvae_tf"], seconds[peer])


def _training_shares(shares) -> list[float]:
    return [float(np.median(turns)) for k, turns in shares.items() if int(k) >= 5]


def _sample_shares(k=5, at_once=1000) -> list[float]:
    return [
        float(np.median(row["of_the_peak"]))
        for row in figures("nll_throughput")["throughput"]
        if row["K"] == k and row["chunk_size"] * row["batch_size"] >= at_once
    ]
