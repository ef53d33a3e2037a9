"""Packaging metadata of hvae_tf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "hvae_tf/__init__.py").read_text(), re.MULTILINE).group(1)
CLUSTER = ["distributed>=2024.8"]
# where the project lives, once CITATION.cff says so
REPOSITORY = re.search(r"^repository-code: *(\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)


def readme(repository: str | None) -> str:
    """README.md as a package index can show it: links are absolute; with no repository to lead to, only their words.

    Args:
        repository: Its address, without a slash at the end, or None.
    """

    def absolute(link: re.Match) -> str:
        image, words, path = link.groups()
        if repository is None:
            return "" if image else words
        return f"{image}[{words}]({repository}/{'raw' if image else 'blob'}/HEAD/{path})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)]+)\)", absolute, text)


PLOTS = ["matplotlib>=3.9"]
REPRODUCE = [*PLOTS, "scipy>=1.14", "tqdm>=4.66"]
NOTEBOOKS = ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=1.0", "latex2mathml>=3.78"]
TEST = [*REPRODUCE, *CLUSTER, "pytest>=8.0", "pytest-xdist>=3.6", "hypothesis>=6.100"]

setup(
    name="hvae_tf",
    version=VERSION,
    description="The Hamiltonian Variational Auto-Encoder (NeurIPS 2018) in TensorFlow 2 / Keras 3",
    long_description=readme(REPOSITORY and REPOSITORY.group(1)),
    long_description_content_type="text/markdown",
    author="The hvae_tf authors",
    license="Apache-2.0",
    keywords=[
        "variational auto-encoder", "Hamiltonian Monte Carlo", "normalizing flow", "variational inference",
        "annealed importance sampling", "generative model", "deep learning", "TensorFlow", "Keras",
    ],
    project_urls={
        "Paper": "https://arxiv.org/abs/1805.11328",
        **({"Source": REPOSITORY.group(1)} if REPOSITORY else {}),
    },
    packages=find_packages(include=["hvae_tf", "hvae_tf.*"]),
    package_data={"hvae_tf": ["py.typed"]},
    python_requires=">=3.11",
    # TensorFlow, Keras, TFP, tf-keras and TFDS: the oldest versions that the tests were run with; Keras needs
    # Python 3.11
    install_requires=[
        "numpy>=2.1",
        "tensorflow>=2.21",
        "keras>=3.15",
        "tensorflow-probability>=0.25",
        "tf-keras>=2.21",  # tensorflow-probability imports it without declaring it
        "tensorflow-datasets>=4.9.10",
        "importlib_resources>=6.4",  # tensorflow-datasets imports it without declaring it
        "scikit-learn>=1.5.2",  # its bundled digits are the offline data set
        "filelock>=3.15",  # locks that die with their owner
    ],
    extras_require={
        "plots": PLOTS,  # to draw
        "reproduce": REPRODUCE,  # what reproduce/ and benchmarks/ need besides
        "tensorboard": ["tensorboard>=2.19"],  # to look at what fit(..., tensorboard=True) writes
        "docs": DOCS,
        "test": TEST,
        "cluster": CLUSTER,  # --scheduler: runs on many machines
        "dev": [*TEST, *DOCS, *NOTEBOOKS, "ruff>=0.9", "mypy>=1.10", "pre-commit>=4.0"],
        "bench": [*REPRODUCE, "torch==2.13.0", "pythae==0.1.2", "jax==0.10.2", "optax==0.2.8"],  # peers of benchmarks/
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)  # fmt: skip
