"""Whether what HVAE gains is its posterior's doing: how far its bound is from log p(x), beside the VAE's."""

from reproduce.differences import LEVEL, together
from reproduce.mnist.cells import label
from reproduce.mnist.comparison import MISSED, Table
from reproduce.tables import fixed, markdown

BOUNDS = "**How near the bounds come.**"  # how the paragraph begins that README.md quotes


def how_near(table: Table) -> list[str]:
    """−ELBO less AIS of every cell, and less the VAE's; nothing where there is no VAE to compare with."""
    found = {
        cell: d for cell in table.cells if cell != "vae" and (d := table.difference(cell, "vae", MISSED)) is not None
    }
    if not found:
        return []
    adjusted = together(found)
    rows = [["VAE", _missed(table, "vae"), *[""] * 6]]
    said: dict[str, list[str]] = {"nearer": [], "farther": []}
    for cell, difference in found.items():
        stands = adjusted.get(cell, 1.0) <= LEVEL
        rows.append([
            label(cell), _missed(table, cell), f"{difference.value:+.2f}", fixed(difference.image_error, 3),
            fixed(difference.half), difference.how, difference.verdict,
            "" if cell not in adjusted else "yes" if stands else "no",
        ])  # fmt: skip
        if stands:
            said["nearer" if difference.value < 0.0 else "farther"].append(f"{label(cell)} ({difference})")
    words = [f"{way} than the VAE's: {'; '.join(names)}" for way, names in said.items() if names]
    if not words:
        words = ["no cell's is told apart from the VAE's"]
    head = [
        "model", "−ELBO less AIS", "less the VAE's", "s.e. over images", "95 %, ±", "from", "verdict", "among all"
    ]  # fmt: skip
    spread = table.seed_spread(MISSED)
    return [
        "## Is it the posterior?",
        "The paper believes that HVAE's improvement over the VAE \"can be attributed to a more expressive approximate "
        "posterior\". −ELBO is −log p(x), which is the decoder's doing, and what the bound misses of it, which is the "
        "posterior's: −ELBO less AIS, on the images of both, rules as above"
        + (f" (spread over seeds {spread.deviation:.3f}, {spread.free} degrees of freedom)" if spread.free else "")
        + ". Below zero a bound is nearer to log p(x) than the VAE's. A decoder trained through a poorer posterior may "
        "still be the better one.",
        markdown(head, rows),
        f"{BOUNDS} All together at 95 %, {'; '.join(words)}.",
    ]


def _missed(table: Table, cell: str) -> str:
    scores = table.scores(cell, MISSED)
    return f"{sum(score.mean for score in scores) / len(scores):.2f}"
