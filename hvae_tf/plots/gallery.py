"""One page about a trained model: a single HTML file with its pictures inside, to be opened in any browser."""

import base64
import html
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hvae_tf.data.events import EventData
from hvae_tf.files import atomic_write
from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.plots import events, flows, latent, training
from hvae_tf.plots.drawing import is_image
from hvae_tf.targets.likelihoods import Bernoulli

SHOWN, MEASURED, ELBO_SAMPLES = 24, 500, 10
DPI = 110

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }}
h2 {{ font-size: 1.15rem; margin: 2.5rem 0 0.3rem; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: 0.15rem 1.5rem 0.15rem 0; vertical-align: top; font-weight: normal; }}
th {{ color: #666; }}
p {{ max-width: 46rem; margin: 0.4rem 0 0.8rem; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{rows}
</table>
{sections}
</body>
</html>
"""
SECTION = (
    '<section>\n<h2>{title}</h2>\n<p>{text}</p>\n<img alt="{title}" src="data:image/png;base64,{data}">\n</section>'
)


class Section(NamedTuple):
    """A picture of the page, and what it shows."""

    title: str
    text: str
    figure: Any


def gallery(model, data, path: Path | str, *, history=None, seed: int = 0) -> Path:
    """Writes a page about a trained model: numbers, samples, reconstructions, traversals, diagnostics.

    The file is complete in itself: pictures are inside, nothing is loaded from elsewhere, no server is needed. It is a
    function of the model, the data and the seed.

    Args:
        model: A `FlowVAE`.
        data: Events that it was not trained on: `EventData`, of which the test split is taken (binarised for the
            ``"bernoulli"`` likelihood), an array ``[n, *event_shape]``, or for a conditional model a pair ``(x, y)``.
            The first two dozen are shown, the first 500 measured.
        path: Where the file goes; one that is there is replaced.
        history: Of its training, see `training_curves`; None for no curves.
        seed: Of samples and measurements.

    Returns:
        The path.

    Raises:
        ValueError: If the data are not of the model's shape, or fewer than two events.
    """
    x, y = _events(model, data)
    title = f"{type(model).__name__}, l = {model.latent_size}"
    found = model.active_units(x[:MEASURED], seed=seed, y=None if y is None else y[:MEASURED])
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in _numbers(model, x[:MEASURED], None if y is None else y[:MEASURED], found, seed)
    )
    sections = "\n".join(
        SECTION.format(title=html.escape(s.title), text=html.escape(s.text), data=_png(s.figure))
        for s in _sections(model, x, y, found, history, seed)
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, PAGE.format(title=html.escape(title), rows=rows, sections=sections))
    return path


def _events(model, data) -> tuple[np.ndarray, np.ndarray | None]:
    """(x, y) of what was given, checked."""
    y = None
    if isinstance(data, EventData):
        binary = data.max_value is not None and isinstance(model.likelihood, Bernoulli)
        if model.context_spec is not None and data.contexts is not None:
            y = data.contexts["test"]
        data = data.binarised("test") if binary else data.values("test")
    elif isinstance(data, tuple):
        data, y = data
        y = np.asarray(y)
    x = np.asarray(data)
    model.check_input(x)
    model.check_context(y, len(x))
    if len(x) < 2:
        raise ValueError(f"data holds {len(x)} events; expected two or more")
    return x, y


def _numbers(model, x, y, found, seed) -> Iterator[tuple[str, str]]:
    elbo = model.elbo(x, ELBO_SAMPLES, seed, y=y)
    error = elbo.std(ddof=1) / np.sqrt(len(elbo))
    yield "flow", type(model.flow).__name__
    yield "likelihood", type(model.likelihood).__name__
    yield "event", " x ".join(map(str, model.event_shape))
    yield "weights", f"{model.count_params():,}"
    yield "ELBO", f"{elbo.mean():.3f} ± {error:.3f} nats an event, over {len(x)} events"
    yield "active units", f"{found.num_active} of {model.latent_size}"
    yield "rate of q0", f"{found.rate.sum():.3f} nats an event, summed over dimensions"


def _sections(model, x, y, found, history, seed) -> Iterator[Section]:
    def of(count):
        return None if y is None else y[:count]

    drawable = is_image(model.event_shape) or len(model.event_shape) <= 2
    shown = min(SHOWN, len(x))
    if drawable:
        told = "" if y is None else " The contexts are those of the data."
        yield Section(
            "Samples", f"New events: z from the prior, then the mean of p(x|z).{told}",
            events.samples(model, 36 if y is None else shown, seed, y=of(shown)),
        )  # fmt: skip
        yield Section(
            "Reconstructions", "Events that were given, and the mean of p(x|z) at the centre of their posterior.",
            events.reconstructions(model, x[:shown], y=of(shown)),
        )  # fmt: skip
        half = min(4, len(x) // 2)
        yield Section(
            "Interpolations", "From one event to another: a straight line between their points z.",
            events.interpolation(model, x[:half], x[half : 2 * half], y=of(half)),
        )  # fmt: skip
        yield Section(
            "Traversals",
            "The first event, as one dimension of its z after the other is set to other values. Dimensions that tell "
            "nothing change nothing.",
            latent.traversal(model, x[0], y=None if y is None else y[0]),
        )
    if model.latent_size == 2 and is_image(model.event_shape):
        text = "The whole latent plane, at quantiles of the prior."
        yield Section("Plane of z", text, latent.latent_grid(model, y=None if y is None else y[0]))
    yield Section(
        "Active units",
        "Which dimensions tell of x: those whose posterior mean varies from event to event (Burda, Grosse & "
        "Salakhutdinov 2016), and the divergence of the encoder's Gaussian from the prior in each.",
        latent.active_units(found),
    )
    if history is not None:
        yield Section("Training", "What was logged after each epoch.", training.training_curves(history))
    yield from _of_flow(model, x[0], None if y is None else y[0], seed)


def _of_flow(model, x, y, seed) -> Iterator[Section]:
    flow = model.flow
    if isinstance(flow, HamiltonianFlow):
        text = "The inverse temperature of the momentum after each leapfrog step; it ends at 1."
        yield Section("Tempering", text, flows.tempering(flow))
    if "step_sizes" in flow.diagnostics():
        yield Section("Step sizes", "As they were learned.", flows.step_sizes(flow))
    if isinstance(flow, (HamiltonianFlow, StochasticFlow)):
        yield Section(
            "Energy", "For the first event: what leapfrog and tempering do to it on the way from the encoder's q0.",
            flows.energy(model, x, seed=seed, y=y),
        )  # fmt: skip


def _png(figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
