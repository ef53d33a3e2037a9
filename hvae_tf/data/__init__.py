"""Data: sets and splits of events of any shape, and training batches that are a function of (seed, step).

A pixel of intensity x in [0, 1] becomes 1 with probability x (dynamic binarisation). Training images are binarised
afresh at every step; validation and test images once, from stated seeds. Nothing here holds a random state: batch
number `step` of a seed is always the same batch, whoever asks, in whatever order, so training that was stopped goes on
where it was. All random draws are stateless, see `hvae_tf.data.binarisation`.
"""

from hvae_tf.data.batches import TrainBatches
from hvae_tf.data.binarisation import binarise
from hvae_tf.data.events import SPLITS, DataError, EventData
from hvae_tf.data.images import ImageData
from hvae_tf.data.sources import SOURCES, VALIDATION_FRACTION, from_arrays, load
