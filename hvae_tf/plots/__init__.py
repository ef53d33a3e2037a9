"""Pictures of a model, its training and its flow. Each function gives a matplotlib `Figure`, which nothing has shown.

matplotlib is imported when a picture is drawn (extra ``plots``). ``figure.savefig(path)`` writes it; a notebook with
``%matplotlib inline`` shows it.
"""

from hvae_tf.plots.drawing import mosaic, show
from hvae_tf.plots.events import interpolation, reconstructions, samples
from hvae_tf.plots.flows import energy, step_sizes, tempering
from hvae_tf.plots.gallery import gallery
from hvae_tf.plots.latent import active_units, draw_plane, latent_grid, prior_plane, traversal
from hvae_tf.plots.training import training_curves

__all__ = [
    "active_units",
    "draw_plane",
    "energy",
    "gallery",
    "interpolation",
    "latent_grid",
    "mosaic",
    "prior_plane",
    "reconstructions",
    "samples",
    "show",
    "step_sizes",
    "tempering",
    "training_curves",
    "traversal",
]
