"""Packaging metadata of hvae_tf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "hvae_tf/__init__.py").read_text(), re.MULTILINE).group(1)
CLUSTER = ["distributed>=2024.8"]
TEST = ["pytest>=8.0", "pytest-xdist>=3.6", "hypothesis>=6.100", *CLUSTER]

setup(
    name="hvae_tf",
    version=VERSION,
    description="The Hamiltonian Variational Auto-Encoder (NeurIPS 2018) in TensorFlow 2 / Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["hvae_tf", "hvae_tf.*"]),
    package_data={"hvae_tf": ["py.typed"]},
    python_requires=">=3.11",
    # TensorFlow, Keras, TFP, tf-keras and TFDS: the oldest versions that the tests were run with; Keras needs
    # Python 3.11
    install_requires=[
        "numpy>=2.1",
        "scipy>=1.14",
        "tensorflow>=2.21",
        "keras>=3.15",
        "tensorflow-probability>=0.25",
        "tf-keras>=2.21",  # tensorflow-probability imports it without declaring it
        "tensorflow-datasets>=4.9.10",
        "importlib_resources>=6.4",  # tensorflow-datasets imports it without declaring it
        "scikit-learn>=1.5.2",  # its bundled digits are the offline data set
        "matplotlib>=3.9",
        "filelock>=3.15",  # locks that die with their owner
        "tqdm>=4.66",
    ],
    extras_require={
        "test": TEST,
        "cluster": CLUSTER,  # --scheduler: runs on many machines
        "dev": [*TEST, "ruff>=0.9", "mypy>=1.10"],
        "bench": ["torch==2.13.0", "pythae==0.1.2", "jax==0.10.2", "optax==0.2.8"],  # what benchmarks/ compares with
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
