"""The methods that Figure 1 compares: Hamiltonian flows, planar flows and mean-field VB, each on a group of runs.

A method draws z_0, moves it, and gives a bound for each run. Delta and sigma are the trainer's; the method's own
variables are found on it, as on any `tf.Module`.
"""

import abc
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from hvae_tf.bounds.elbo import elbo_sample
from hvae_tf.densities import LOG_TWO_PI, standard_normal_log_prob
from hvae_tf.dynamics.tempering import FixedTempering, NoTempering, Tempering, TemperingSchedule
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.targets import gaussian
from hvae_tf.targets.gaussian import GaussianOffsetTarget
from reproduce.gaussian.configs import LINES, GaussianConfig
from reproduce.gaussian.optimum import best_hamiltonian_elbo
from reproduce.gaussian.problem import Group, maximum_evidence, pad, seed_pair


class Method(tf.Module, abc.ABC):
    """One line of Figure 1 on one group.

    Args:
        num_steps: K.
        group: What it is trained on first; later groups have runs of the same sizes.
        config: The protocol.
        seed: Of initial values.
        released: Whether the released code's errors in this method, if any, are to be kept.

    Attributes:
        num_noises: Standard normal arrays ``[S, R, D]`` that an estimate of the bound takes.
        target_class: The method's likelihood.
    """

    num_noises = 1
    target_class: type[GaussianOffsetTarget] = GaussianOffsetTarget

    def __init__(self, num_steps: int, group: Group, config: GaussianConfig, seed: int, released: bool = False):
        super().__init__()
        self.num_steps, self.config, self.mask, self.padding = num_steps, config, group.mask, group.padding
        self.num_runs, self.size = group.mask.shape

    @abc.abstractmethod
    def elbo(self, target, *noise) -> tf.Tensor:
        """An estimate of each run's ELBO from each sample, ``[S, R]``, in nats.

        Args:
            target: A `target_class` of statistics and parameters ``[R, D]``.
            *noise: `num_noises` arrays ``[S, R, D]``, zero where padded.
        """

    def exact_elbo(self, statistics, delta, log_sigma) -> tf.Tensor | None:
        """The ELBO in closed form, from float64 ``[R, D]``: ``[R]``, nats; None where there is no formula."""
        return None

    def optimal_elbo(self, group: Group, log_sigma: np.ndarray) -> np.ndarray | None:
        """The maximum of the method's own ELBO over all its parameters, ``[R]``, in nats; None where it is not known.

        Args:
            group: The data.
            log_sigma: ``[R, D]``, float64, where training stopped; a search for the maximum begins there.
        """
        return None

    def summary(self) -> dict[str, np.ndarray]:
        """What became of the method's own parameters, ``[R]`` each: what a record shows of them."""
        return {}

    def _masked_sum(self, values):
        return tf.reduce_sum(tf.where(self.mask, values, 0.0), axis=-1)


class Hamiltonian(Method):
    """HVAE with q0 = N(0, I), which is not trained.

    Args:
        tempering: Gives a new tempering for a protocol.
        *args: See `Method`.
    """

    num_noises = 2  # z_0 and gamma_0

    def __init__(self, tempering: Callable[[GaussianConfig], Tempering], *args):
        super().__init__(*args)
        self._tempering = tempering
        self.flow = self.make_flow(tf.float32)

    def make_flow(self, dtype) -> HamiltonianFlow:
        """A new flow of this kind, at the protocol's initial values."""
        return HamiltonianFlow(
            self.size, self.num_steps, self._tempering(self.config), step_size=self.config.step_size,
            max_step_size=self.config.max_step_size, batch_shape=(self.num_runs,), dtype=dtype,
        )  # fmt: skip

    def elbo(self, target, z_0, gamma):
        result = self.flow.transform(target, z_0, gamma)
        # (12) adds l/2 for the momentum's entropy, of which the padded share is nobody's
        return elbo_sample(result, standard_normal_log_prob(z_0)) - 0.5 * self.padding

    def exact_elbo(self, statistics, delta, log_sigma):
        return self.exact_elbo_of(self.flow, statistics, delta, log_sigma)

    def exact_elbo_of(self, flow: HamiltonianFlow, statistics, delta, log_sigma) -> tf.Tensor:
        """`exact_elbo` of a flow that `make_flow` made."""
        step_sizes = [tf.cast(flow.step_sizes, tf.float64)] * self.num_steps
        inv_sqrt_beta_0, alphas = flow.schedule()
        schedule = TemperingSchedule(
            tf.cast(inv_sqrt_beta_0, tf.float64), tuple(tf.cast(alpha, tf.float64) for alpha in alphas)
        )
        gap = gaussian.hamiltonian_gap(statistics, delta, log_sigma, step_sizes, schedule, **self.of_momentum(flow))
        return gaussian.evidence(statistics, delta, log_sigma) - self._masked_sum(gap)

    def of_momentum(self, flow: HamiltonianFlow) -> dict[str, tf.Tensor]:
        """What the closed form must be told of a momentum that is not tied to the tempering."""
        return {}

    def optimal_elbo(self, group, log_sigma):
        return best_hamiltonian_elbo(self, group, log_sigma)

    def summary(self):
        steps = np.where(self.mask, self.flow.step_sizes.numpy(), np.nan)
        return {
            "inv_sqrt_beta_0": self.flow.schedule().inv_sqrt_beta_0.numpy(),
            "smallest_step_size": np.nanmin(steps, axis=1),
            "largest_step_size": np.nanmax(steps, axis=1),
        }


class ReleasedPlanarTarget(GaussianOffsetTarget):
    """log p(D, z) with the released code's error in its planar-flow ELBO: -y'Sy where -1/2 y'Sy is right.

    For the variant ``as-released`` only; its optimum has about twice the variance of the data.
    """

    def _log_joint(self, z):
        residual = self._n_precision * tf.square(self._residual - z) + self._spread
        return super()._log_joint(z) - 0.5 * tf.reduce_sum(residual, axis=-1)


class Planar(Method):
    """K planar layers on q0 = N(0, I), which is not trained."""

    def __init__(self, num_steps: int, group: Group, config: GaussianConfig, seed: int, released: bool = False):
        super().__init__(num_steps, group, config, seed, released)
        if released:
            self.target_class = ReleasedPlanarTarget
        self.flow = PlanarFlow(self.size, num_steps, batch_shape=(self.num_runs,))
        # initial values by (size, data set), as all else, and zero where padded
        each = [0.1 * tf.random.stateless_truncated_normal([2, d], seed_pair(seed, 2, d, i)) for d, i in group.runs]
        self.flow.u.assign(pad([u for u, _ in each], self.size))
        self.flow.w.assign(pad([w for _, w in each], self.size))

    def elbo(self, target, z_0):
        return elbo_sample(self.flow.transform(target, z_0), standard_normal_log_prob(z_0))


class MeanField(Method):
    """VB: q0 = N(mu_Z, diag sigma_Z^2), trained through log sigma_Z, and no flow.

    Its bound is the expectation in closed form, as in the authors' released code: no draw enters its training.
    """

    num_noises = 0

    def __init__(self, *args):
        super().__init__(*args)
        shape = (self.num_runs, self.size)
        self.mu_z = tf.Variable(np.zeros(shape, np.float32), name="mu_z")
        self.log_sigma_z = tf.Variable(np.full(shape, self.config.initial_log_sigma_z, np.float32), name="log_sigma_z")

    def elbo(self, target):
        scale = tf.where(self.mask, tf.exp(self.log_sigma_z), 0.0)
        return (target.expected_log_joint(self.mu_z, scale) + self._entropy())[None]

    def _entropy(self):
        """Of q0, less what the prior of padded dimensions takes, ``[R]``, nats."""
        return self._masked_sum(self.log_sigma_z) + 0.5 * self.size * (1.0 + LOG_TWO_PI) - 0.5 * self.padding

    def exact_elbo(self, statistics, delta, log_sigma):
        exact = gaussian.posterior(statistics, delta, log_sigma)
        mean, scale = exact.mean(), exact.stddev()
        log_ratio = tf.cast(self.log_sigma_z, tf.float64) - tf.math.log(scale)
        offset = tf.square((tf.cast(self.mu_z, tf.float64) - mean) / scale)
        kl = 0.5 * (tf.exp(2.0 * log_ratio) + offset - 1.0) - log_ratio  # KL(q || p(z|D))
        return gaussian.evidence(statistics, delta, log_sigma) - self._masked_sum(kl)

    def optimal_elbo(self, group, log_sigma):
        """The evidence at the maximum likelihood, whose posterior is in the family."""
        return np.array([maximum_evidence(statistics) for statistics in group.each])


class SampledMeanField(MeanField):
    """The same with a bound of draws, which is what VB has to do where no expectation is known."""

    num_noises = 1

    def elbo(self, target, noise):
        return target.log_joint(self.mu_z + tf.exp(self.log_sigma_z) * noise) + self._entropy()


def _fixed(config: GaussianConfig) -> Tempering:
    return FixedTempering(config.inv_sqrt_beta_0)


def _none(config: GaussianConfig) -> Tempering:
    return NoTempering()


FACTORIES: dict[str, Callable[..., Method]] = {
    "hvae-k1": functools.partial(Hamiltonian, _fixed),
    "hvae-k10": functools.partial(Hamiltonian, _fixed),
    "hvae-k1-untempered": functools.partial(Hamiltonian, _none),
    "hvae-k10-untempered": functools.partial(Hamiltonian, _none),
    "nf-k1": Planar,
    "nf-k30": Planar,
    "vb": MeanField,
    "vb-sampled": SampledMeanField,
}


def make_method(name: str, group: Group, config: GaussianConfig, seed: int, released: bool = False) -> Method:
    """The method of this name, one of `LINES`, at its initial values; arguments as `Method`."""
    return FACTORIES[name](LINES[name].num_steps, group, config, seed, released)
