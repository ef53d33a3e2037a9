"""Data sets that several files here look at."""

import os
from pathlib import Path

import pytest

from hvae_tf.data import load


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def mnist_dir():
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs MNIST: set TFDS_DATA_DIR to a folder with mnist/")
    return folder
