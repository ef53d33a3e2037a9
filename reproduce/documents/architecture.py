"""The rooms of the library and the way of the data through them, as an SVG that needs nothing from elsewhere."""

from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 1060, 582
_STYLE = """
text { font-family: Helvetica, Arial, sans-serif; fill: #1a1a1a; }
.room { fill: #eef2f7; stroke: #8fa1b8; }
.model { fill: #ffffff; stroke: #3b5b8c; stroke-width: 1.6; }
.data { fill: #fdf4e3; stroke: #c79a3d; }
.title { font-size: 15px; font-weight: bold; }
.name { font-size: 14px; font-weight: bold; }
.small { font-size: 12px; }
.way { stroke: #3b5b8c; stroke-width: 1.6; fill: none; marker-end: url(#head); }
.label { font-size: 12.5px; font-style: italic; fill: #3b5b8c; }
"""


class Box(NamedTuple):
    """A rectangle with a name and lines of text."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    name: str
    lines: tuple[str, ...] = ()

    def drawn(self) -> str:
        """Its SVG."""
        parts = [
            f'<rect class="{self.kind}" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="7"/>',
            f'<text class="name" x="{self.x + 12}" y="{self.y + 23}">{escape(self.name)}</text>',
        ]
        parts += [
            f'<text class="small" x="{self.x + 12}" y="{self.y + 43 + 18 * number}">{escape(line)}</text>'
            for number, line in enumerate(self.lines)
        ]
        return "\n".join(parts)


# the way of a batch: from the data to the bound
_WAY = (
    Box(20, 60, 140, 84, "data", "data", ("x, a batch of", "events [B, …]")),
    Box(215, 60, 150, 84, "model", "encoder", ("any Keras model:", "x → q0(z₀|x)")),
    Box(430, 60, 205, 84, "model", "flow", ("z₀, v₀ → z_K, and what", "that does to a weight")),
    Box(700, 60, 160, 84, "model", "bound", ("log w = log p(x, z)", "− log q0 + ratio")),
    Box(910, 60, 130, 84, "data", "fit", ("loss = − bound,", "nats an event")),
    Box(215, 218, 150, 78, "model", "decoder", ("any Keras model:", "z → outputs")),
    Box(430, 218, 205, 78, "model", "target", ("log p(x, z) and ∇ in z,", "by a likelihood, a prior")),
    Box(
        700,
        218,
        340,
        78,
        "data",
        "judge",
        ("AIS and BDMC: log p(x) of the decoder", "alone, from below and from above"),
    ),
)
_ARROWS = (
    ("M160 102 H213", "", 0, 0),
    ("M365 102 H428", "z₀", 388, 94),
    ("M635 102 H698", "z_K", 655, 94),
    ("M860 102 H908", "", 0, 0),
    ("M365 257 H428", "", 0, 0),
    ("M505 218 V146", "∇ log p", 446, 188),
    ("M565 146 V216", "z", 575, 188),
    ("M635 257 H698", "", 0, 0),
)
# the rooms: each imports only those before it
_ROOMS = (
    Box(20, 366, 150, 92, "room", "targets", ("what is sampled:", "decoders, Gaussians,", "likelihoods")),
    Box(194, 366, 150, 92, "room", "dynamics", ("how a point moves:", "leapfrog, adjoints,", "tempering, accept")),
    Box(368, 366, 150, 92, "room", "flows", ("maps of samples:", "Hamiltonian, HVI,", "planar, your own")),
    Box(542, 366, 150, 92, "room", "bounds", ("numbers in nats:", "ELBO, importance", "sampling, AIS")),
    Box(716, 366, 150, 92, "room", "models", ("Keras wiring only:", "FlowVAE and its", "short forms")),
    Box(890, 366, 150, 92, "room", "training", ("exact resume, early", "stopping, a guard", "of divergence")),
    Box(
        20,
        486,
        324,
        74,
        "room",
        "data · networks",
        ("sets, splits, batches by their number;", "encoders, decoders, activations"),
    ),
    Box(
        368,
        486,
        324,
        74,
        "room",
        "runs · files",
        ("records, stores and schedules of runs,", "which need no TensorFlow"),
    ),
    Box(
        716,
        486,
        324,
        74,
        "room",
        "reproduce · benchmarks",
        ("experiments: configurations over the", "library, reports from their records"),
    ),
)
_RULE = "The rooms: each imports only those to its left, and networks, runs and files"
_ORDER = tuple((f"M{left} 412 H{left + 22}", "", 0, 0) for left in (170, 344, 518, 692, 866))


def architecture() -> bytes:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="The way of a batch through the library, and its rooms">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="#3b5b8c"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        '<text class="title" x="20" y="34">The way of a batch</text>',
        f'<text class="title" x="20" y="344">{_RULE}</text>',
    ]
    parts += [box.drawn() for box in (*_WAY, *_ROOMS)]
    for path, label, x, y in (*_ARROWS, *_ORDER):
        parts.append(f'<path class="way" d="{path}"/>')
        if label:
            parts.append(f'<text class="label" x="{x}" y="{y}">{escape(label)}</text>')
    return ("\n".join([*parts, "</svg>"]) + "\n").encode()
