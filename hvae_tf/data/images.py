"""Images: events of height, width and channels, with intensities in [0, 1]."""

import dataclasses

import numpy as np

from hvae_tf.data.events import DataError, EventData


@dataclasses.dataclass(frozen=True, eq=False)
class ImageData(EventData):
    """Images in three disjoint splits, ``[n, height, width, channels]``; attributes as for `EventData`.

    Raises:
        DataError: As for `EventData`, and if a split is not of rank 4.

    Example:
        >>> data = hvae_tf.load("digits")
        >>> data.image_shape, data.binarised("test").shape, data.mean_logit().shape
        ((8, 8, 1), (297, 8, 8, 1), (1,))
    """

    def _check_shape(self, where, events):
        if not isinstance(events, np.ndarray) or events.ndim != 4 or 0 in events.shape:
            raise DataError(
                f"{where} has shape {np.shape(events)}; expected images [n, height, width, channels], n > 0"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.event_shape
        return height, width, channels

    def intensities(self, split: str) -> np.ndarray:
        """The images of a split as float32 in [0, 1], ``[n, height, width, channels]``.

        Raises:
            ValueError: If the split is unknown, or the values are no intensities.
        """
        self.check_intensities()
        return self.values(split)

    def mean_logit(self) -> np.ndarray:
        """Where to start the bias of a decoder's output: the mean over training images of logit(mean intensity).

        As in the paper's released code; an image's mean is kept within [0.001, 0.999].

        Returns:
            ``[channels]`` float32.

        Raises:
            ValueError: If the values are no intensities.
        """
        self.check_intensities()
        mean = self.train.mean(axis=(1, 2), dtype=np.float64) / self.max_value
        mean = mean.clip(1e-3, 1 - 1e-3)
        return np.mean(np.log(mean) - np.log1p(-mean), axis=0).astype(np.float32)
