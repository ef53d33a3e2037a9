"""A peer in its worker: one framework, all K."""

import importlib

from harness.arithmetic import multiply_adds
from peers.problem import Problem


class Contestant:
    """Peers of one kind, told apart by K.

    Args:
        module: In `peers`.
        threads: Of the framework.
        **options: Of the module's `Peer`.
    """

    def __init__(self, module: str, threads: int, **options):
        self._make = importlib.import_module(f"peers.{module}").Peer
        self._threads, self._options, self._peers = threads, options, {}

    def enter(self, problem: Problem) -> float | None:
        """Makes the peer for this problem; gives its bound, None where that is another quantity."""
        peer = self._make(problem, self._threads, **self._options)
        self._peers[problem.num_leapfrog_steps] = peer
        return peer.bound()

    def step(self, num_leapfrog_steps: int) -> None:
        """One training step."""
        self._peers[num_leapfrog_steps].step()


class Networks:
    """Where the problems come from, and what their networks cost."""

    def __init__(self):
        self._tf_hvae = importlib.import_module("peers.tf_hvae")

    def problem(self, num_leapfrog_steps: int) -> Problem:
        return self._tf_hvae.make_problem(num_leapfrog_steps)

    def multiply_adds(self) -> tuple[int, int]:
        """Encoder's and decoder's, for one image."""
        model = self._tf_hvae.build_model(0)
        return multiply_adds(model.encoder), multiply_adds(model.decoder)
