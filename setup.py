"""Packaging metadata of hvae_tf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "hvae_tf/__init__.py").read_text(), re.MULTILINE).group(1)
TEST = ["pytest>=8.0"]

setup(
    name="hvae_tf",
    version=VERSION,
    description="The Hamiltonian Variational Auto-Encoder (NeurIPS 2018) in TensorFlow 2 / Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["hvae_tf", "hvae_tf.*"]),
    package_data={"hvae_tf": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26",
        "tensorflow>=2.21",
        "keras>=3.13",
        "tensorflow-probability>=0.25",
        "tf-keras>=2.21",  # tensorflow-probability imports it without declaring it
        "tensorflow-datasets>=4.9.10",
        "importlib_resources>=6.0",  # tensorflow-datasets imports it without declaring it
        "matplotlib>=3.8",
        "filelock>=3.12",  # locks that die with their owner
        "scipy>=1.11",
        "tqdm>=4.60",
        "scikit-learn>=1.4",  # its bundled digits are the offline data set
    ],
    extras_require={"test": TEST, "dev": [*TEST, "ruff>=0.9", "mypy>=1.10"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
