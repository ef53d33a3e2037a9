"""A run's history as TensorBoard's event files."""

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf


class HistoryEvents:
    """Event files that are a function of the history, like the CSV file; what the folder held is deleted.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path):
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(folder))
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)

    def write(self, history: dict[str, list[float]], epoch: int) -> None:
        """Writes one epoch's numbers, the epoch counted from 1; what was not logged is NaN, and no point."""
        with self._writer.as_default():
            for name, column in history.items():
                value = np.float32(column[epoch - 1])
                if not np.isnan(value):
                    tf.summary.write(f"epoch_{name}", value, step=epoch, metadata=self._metadata)
        self._writer.flush()
