"""Training of one method on many data sets of the Gaussian offset model at once (section 4.1 of the paper).

A `Group` is a list of runs (d, data set) that train side by side on one leading axis, padded to the largest d: a padded
dimension is one with no observations, and its noise is zero, so it stays at zero and adds nothing. Runs share no
parameter, and the noise of one size is drawn apart from that of others, so what a size gives does not depend on the
sizes that it trains beside.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

import hvae_tf
from reproduce.configs import GAUSSIAN_METHODS, GaussianConfig


class Diverged(RuntimeError):
    """A training whose bound is no longer finite."""


def seed_pair(*key: int) -> np.ndarray:
    """A stateless int32 seed that is a function of `key` alone."""
    return (np.random.SeedSequence(key).generate_state(2) & 0x7FFFFFFF).astype(np.int32)


# ------------------------------------------------------------------------------------------------------------- data


def true_parameters(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Delta and sigma of the paper, both ``[d]``: sigma is quadratic, 1 at both ends and 0.1 in the middle."""
    r = np.arange(d) - (d - 1) / 2
    sigma = 36.0 / (10.0 * (d - 1) ** 2) * r**2 + 0.1 if d > 1 else np.ones(1)
    return r / 5.0, sigma


@functools.lru_cache(maxsize=256)
def simulate(d: int, dataset: int, num_observations: int, seed: int) -> hvae_tf.GaussianStatistics:
    """The sufficient statistics, in float64, of data set number `dataset` of size d."""
    delta, sigma = true_parameters(d)
    model = hvae_tf.gaussian_offset_model(delta, sigma, num_observations)
    x = model.sample(seed=tf.constant(seed_pair(seed, d, dataset)))["x"]
    return hvae_tf.sufficient_statistics(x.numpy())


class Group(NamedTuple):
    """Runs that train together, R of them padded to size D.

    Attributes:
        runs: R pairs (d, number of the data set).
        statistics: Of the data, ``[R, D]``, float64; N is 0 where padded.
        mask: ``[R, D]``, True where the dimension exists.
    """

    runs: tuple[tuple[int, int], ...]
    statistics: hvae_tf.GaussianStatistics
    mask: np.ndarray


def make_group(runs, config: GaussianConfig, seed: int) -> Group:
    """Simulates the runs' data and pads their statistics to one size."""
    size = max(d for d, _ in runs)
    each = [simulate(d, i, config.num_observations, seed) for d, i in runs]
    mask = np.array([np.arange(size) < d for d, _ in runs])

    def padded(values):
        return np.stack([np.pad(np.asarray(value), (0, size - len(value))) for value in values])

    return Group(
        tuple(runs),
        hvae_tf.GaussianStatistics(
            config.num_observations * mask.astype(np.float64),
            padded([s.mean for s in each]),
            padded([s.centred_second_moment for s in each]),
        ),
        mask,
    )


# --------------------------------------------------------------------------------------------------------- training


class ReleasedNFTarget(hvae_tf.GaussianOffsetTarget):
    """log p(D, z) with the released code's error in its planar-flow ELBO: -y'Sy where -1/2 y'Sy is right.

    For the ``as-released`` variant only; its optimum has about twice the variance of the data.
    """

    def _log_joint(self, z):
        residual = self._n_precision * tf.square(self._residual - z) + self._spread
        return super()._log_joint(z) - 0.5 * tf.reduce_sum(residual, axis=-1)


class Trainer:
    """One method on one group: parameters, optimiser and a compiled loop.

    Args:
        method: Name of the method, one of `GAUSSIAN_METHODS`.
        group: What is trained on.
        config: The protocol.
        seed: Of the noise and of the planar flow's initial values.
        released_nf_term: Whether a planar flow has the released code's faulty likelihood.
    """

    def __init__(self, method: str, group: Group, config: GaussianConfig, seed: int, released_nf_term=False):
        self.method, self.config, self.seed = GAUSSIAN_METHODS[method], config, seed
        self._target_class = (
            ReleasedNFTarget if released_nf_term and self.method.kind == "nf" else hvae_tf.GaussianOffsetTarget
        )
        self._variables: list[keras.Variable] = []
        shape = self.shape = group.mask.shape
        self.delta = self._add_variable("delta", np.zeros(shape, np.float32))
        self.log_sigma = self._add_variable("log_sigma", np.full(shape, config.initial_log_sigma, np.float32))
        self.flow = self._make_flow(group)
        if self.method.kind == "vb":
            self.mu_z = self._add_variable("mu_z", np.zeros(shape, np.float32))
            self.log_sigma_z = self._add_variable("log_sigma_z", np.full(shape, config.initial_log_sigma_z, np.float32))
        # RMSProp as TensorFlow 1 has it, which the paper's runs used: epsilon 1e-10, a mean square that starts at one
        self.optimizer = keras.optimizers.RMSprop(config.learning_rate, rho=0.9, epsilon=1e-10)
        self.optimizer.build(self._variables)
        for variable in self.optimizer.variables:
            if "velocity" in variable.path:
                variable.assign(tf.ones_like(variable.value))
        self.iteration = 0
        self.set_group(group)

    def set_group(self, group: Group) -> None:
        """Sets the data; parameters and optimiser stay as they are."""
        self.group = group
        self._statistics = hvae_tf.GaussianStatistics(*(tf.constant(s, tf.float32) for s in group.statistics))
        self._noise_seeds = {}  # size d -> (seed, number of runs): runs of one size are neighbours in the group
        for d, dataset in group.runs:
            first, count = self._noise_seeds.get(d, (seed_pair(self.seed, 1, d, dataset), 0))
            self._noise_seeds[d] = (first, count + 1)
        self._train = tf.function(self._train_loop)

    def _add_variable(self, name, value):
        self._variables.append(keras.Variable(value, name=name))
        return self._variables[-1].value

    def _make_flow(self, group):
        runs, size = self.shape
        if self.method.kind == "hvae":
            return self._hamiltonian_flow(dtype=tf.float32, add_variable=self._add_variable)
        if self.method.kind == "nf":
            flow = hvae_tf.PlanarFlow(size, self.method.num_steps, batch_shape=(runs,), add_variable=self._add_variable)
            # initial values by (size, data set), as all else, and zero where padded
            each = [
                0.1 * tf.random.stateless_truncated_normal([2, d], seed_pair(self.seed, 2, d, i)) for d, i in group.runs
            ]
            u, w = (np.stack([np.pad(e[k], (0, size - e.shape[1])) for e in each]) for k in (0, 1))
            flow.u.assign(u)
            flow.w.assign(w)
            return flow
        return hvae_tf.IdentityFlow(size)

    def _hamiltonian_flow(self, **kwargs):
        return hvae_tf.HamiltonianFlow(
            self.shape[1], self.method.num_steps, self.method.tempering, step_size=self.config.step_size,
            max_step_size=self.config.max_step_size, inv_sqrt_beta_0=self.config.inv_sqrt_beta_0,
            batch_shape=self.shape[:1], **kwargs,
        )  # fmt: skip

    def _noise(self, iteration, count):
        """`count` standard normal arrays ``[S, R, D]``, zero where padded."""
        size, parts = self.shape[1], []
        for d, (seed, runs) in self._noise_seeds.items():
            seed = tf.random.experimental.stateless_fold_in(seed, iteration)
            noise = tf.random.stateless_normal([count, self.config.num_samples, runs, d], seed)
            parts.append(tf.pad(noise, [[0, 0], [0, 0], [0, 0], [0, size - d]]) if d < size else noise)
        return tf.unstack(tf.concat(parts, axis=2) if len(parts) > 1 else parts[0])

    def elbo(self, iteration) -> tf.Tensor:
        """An estimate of each run's ELBO from `num_samples` samples, ``[R]``, in nats."""
        target = self._target_class(self._statistics, self.delta, self.log_sigma)
        size = self.shape[1]
        padding = size - np.array([d for d, _ in self.group.runs], np.float32)
        if self.method.kind == "vb":
            (noise,) = self._noise(iteration, 1)
            z = self.mu_z + tf.exp(self.log_sigma_z) * noise
            result = self.flow(target, z)
            entropy = hvae_tf.gaussian_entropy(tf.where(self.group.mask, self.log_sigma_z, 0.0))
            # the entropy of a padded dimension is not cancelled by its prior, as a sampled log q0 would be
            elbo = hvae_tf.log_weight(result, -entropy) - 0.5 * padding
        elif self.method.kind == "nf":
            (z_0,) = self._noise(iteration, 1)
            elbo = hvae_tf.log_weight(self.flow(target, z_0), hvae_tf.standard_normal_log_prob(z_0))
        else:
            z_0, gamma = self._noise(iteration, 2)
            result = self.flow(target, z_0, self.flow.initial_momentum(gamma))
            # (12) adds l/2 for the momentum's entropy, of which the padded share is nobody's
            elbo = hvae_tf.hamiltonian_elbo(result, hvae_tf.standard_normal_log_prob(z_0)) - 0.5 * padding
        return tf.reduce_mean(elbo, axis=0)

    def _train_loop(self, start, stop):
        values = [variable.value for variable in self._variables]
        total = tf.zeros(self.shape[:1])
        for iteration in tf.range(start, stop):
            with tf.GradientTape() as tape:
                elbo = self.elbo(iteration)
                loss = -tf.reduce_sum(elbo)
            self.optimizer.apply(tape.gradient(loss, values), self._variables)
            total += elbo
        return total / tf.cast(stop - start, tf.float32)

    def train(self, iterations: int) -> np.ndarray:
        """Runs so many iterations in one call of a graph; gives the mean ELBO estimate over them, ``[R]``.

        Raises:
            Diverged: If it is not finite; the message names the runs and their parameters.
        """
        start = self.iteration
        elbo = self._train(tf.constant(start), tf.constant(start + iterations)).numpy()
        self.iteration += iterations
        if not np.all(np.isfinite(elbo)):
            bad = np.flatnonzero(~np.isfinite(elbo))
            runs = ", ".join(f"d={self.group.runs[i][0]} data set {self.group.runs[i][1]}" for i in bad)
            raise Diverged(f"{self.method.label}: the ELBO is not finite after {self.iteration} iterations ({runs})")
        return elbo

    # -------------------------------------------------------------------------------------------- exact quantities

    def _double(self, value):
        return tf.cast(tf.convert_to_tensor(value), tf.float64)

    def evidence(self) -> np.ndarray:
        """The evidence log p(D) at the parameters as they stand, exactly: ``[R]``, nats."""
        return hvae_tf.evidence(self.group.statistics, self._double(self.delta), self._double(self.log_sigma)).numpy()

    def exact_elbo(self) -> np.ndarray | None:
        """The method's ELBO at its parameters, exactly: ``[R]``, nats; None for a planar flow, which has no formula."""
        if self.method.kind == "hvae":
            delta, log_sigma = self._double(self.delta), self._double(self.log_sigma)
            return self._exact_hamiltonian_elbo(self.group.statistics, delta, log_sigma, self.flow).numpy()
        if self.method.kind == "vb":
            return self.evidence() - self._vb_gap().numpy()
        return None

    def _exact_hamiltonian_elbo(self, statistics, delta, log_sigma, flow):
        step_sizes = [self._double(flow.step_sizes)] * self.method.num_steps
        beta, alphas = flow.schedule()
        schedule = hvae_tf.TemperingSchedule(self._double(beta), tuple(self._double(a) for a in alphas))
        gap = hvae_tf.hamiltonian_gap(statistics, delta, log_sigma, step_sizes, schedule)
        gap = tf.reduce_sum(tf.where(self.group.mask, gap, 0.0), axis=-1)
        return hvae_tf.evidence(statistics, delta, log_sigma) - gap

    def _vb_gap(self):
        """KL(q || p(z|D)), ``[R]``."""
        exact = hvae_tf.posterior(self.group.statistics, self._double(self.delta), self._double(self.log_sigma))
        mean, scale = exact.mean(), exact.stddev()
        log_ratio = self._double(self.log_sigma_z) - tf.math.log(scale)
        offset = tf.square((self._double(self.mu_z) - mean) / scale)
        kl = 0.5 * (tf.exp(2.0 * log_ratio) + offset - 1.0) - log_ratio
        return tf.reduce_sum(tf.where(self.group.mask, kl, 0.0), axis=-1)

    def optimal_elbo(self) -> np.ndarray | None:
        """The maximum of the method's own ELBO over all its parameters: ``[R]``, nats; None where it is not known.

        For VB it is the evidence at the maximum likelihood, whose posterior is in the family. For HVAE the closed form
        is maximised by L-BFGS in float64, with Delta at mean(x), which is optimal, from where training stopped and
        from other step sizes, for a step size is the angle of a rotation and has local optima; the best is taken.
        """
        if self.method.kind == "vb":
            return self.maximum_evidence()
        if self.method.kind == "nf":
            return None
        runs, statistics = self.shape[0], hvae_tf.GaussianStatistics(*map(tf.constant, self.group.statistics))
        trained = [variable.numpy().astype(np.float64) for variable in (self.log_sigma, *self.flow.trainable_variables)]
        widths = np.cumsum([value[0].size for value in trained])[:-1]
        bounds = [(-6.0, 4.0), (-14.0, 14.0), (-10.0, 10.0)]  # of log sigma, logit eps, log(1/sqrt(beta_0) - 1)

        @tf.function
        def elbo_and_gradient(log_sigma, *flow_values):
            with tf.GradientTape() as tape:
                tape.watch((log_sigma, flow_values))
                values = iter(flow_values)
                flow = self._hamiltonian_flow(dtype=tf.float64, add_variable=lambda name, initial: next(values))
                elbo = self._exact_hamiltonian_elbo(statistics, statistics.mean, log_sigma, flow)
            return elbo, tape.gradient(elbo, (log_sigma, *flow_values))

        def evaluate(flat):
            parts = np.split(flat.reshape(runs, -1), widths, axis=1)
            return elbo_and_gradient(*(tf.constant(p.reshape(v.shape)) for p, v in zip(parts, trained, strict=True)))

        def negative_total(flat):
            elbo, gradient = evaluate(flat)
            gradient = np.concatenate([np.reshape(g, (runs, -1)) for g in gradient], axis=1)
            return -np.sum(elbo), -gradient.ravel()

        def maximise(values):
            clipped = [np.clip(v, *b).reshape(runs, -1) for v, b in zip(values, bounds, strict=False)]
            limits = np.concatenate([np.tile(b, (v.shape[1], 1)) for v, b in zip(clipped, bounds, strict=False)])
            found = scipy.optimize.minimize(
                negative_total, np.concatenate(clipped, axis=1).ravel(), jac=True, method="L-BFGS-B",
                bounds=np.tile(limits, (runs, 1)), options={"maxiter": 300, "maxcor": 20, "ftol": 1e-13},
            )  # fmt: skip
            return evaluate(found.x)[0].numpy()

        with np.errstate(invalid="ignore"):
            sigma = hvae_tf.maximum_likelihood(self.group.statistics).sigma.numpy()
        sigma = np.where(self.group.mask, sigma, 1.0)
        best = maximise(trained)
        # eps in units of the posterior's scale: 2 is where leapfrog becomes unstable; just below it K untempered steps
        # make a quarter turn that squeezes, which is their best (K = 1: eps^2 lam = 2, the known optimum)
        quarter_turn = 2.0 * np.cos(np.pi / (4 * self.method.num_steps))
        for angle in (0.5, 1.4, 1.9, quarter_turn):
            step_size = angle * sigma / np.sqrt(self.config.num_observations)
            fraction = np.clip(step_size / self.config.max_step_size, 1e-6, 0.99)
            best = np.maximum(best, maximise([np.log(sigma), np.log(fraction / (1.0 - fraction)), *trained[2:]]))
        return best

    def maximum_evidence(self) -> np.ndarray:
        """The maximum of log p(D) over theta: ``[R]``, nats."""
        return np.array([_maximum_evidence(*run, self.config.num_observations, self.seed) for run in self.group.runs])

    def flow_summary(self) -> dict[str, np.ndarray]:
        """What became of a Hamiltonian flow's parameters, ``[R]`` each."""
        if self.method.kind != "hvae":
            return {}
        steps = np.where(self.group.mask, self.flow.step_sizes.numpy(), np.nan)
        return {
            "inv_sqrt_beta_0": self.flow.schedule().inv_sqrt_beta_0.numpy(),
            "smallest_step_size": np.nanmin(steps, axis=1),
            "largest_step_size": np.nanmax(steps, axis=1),
        }

    def state(self) -> dict:
        """Everything that training changes."""
        return {
            "iteration": self.iteration,
            "variables": [v.numpy() for v in self._variables],
            "optimizer": [v.numpy() for v in self.optimizer.variables],
        }

    def set_state(self, state) -> None:
        """The inverse of `state`."""
        self.iteration = state["iteration"]
        for variable, value in zip(self._variables, state["variables"], strict=True):
            variable.assign(value)
        for variable, value in zip(self.optimizer.variables, state["optimizer"], strict=True):
            variable.assign(value)

    def errors(self) -> list[dict[str, float]]:
        """Squared 2-norms of the errors of Delta and sigma, run by run."""
        delta, sigma = self.delta.numpy().astype(np.float64), np.exp(self.log_sigma.numpy().astype(np.float64))
        rows = []
        for i, (d, _) in enumerate(self.group.runs):
            rows.append(squared_errors(d, delta[i, :d], sigma[i, :d]))
        return rows


def squared_errors(d: int, delta, sigma) -> dict[str, float]:
    """|Delta - Delta_hat|^2, |sigma - sigma_hat|^2 and their sum, which Figure 1 plots."""
    true_delta, true_sigma = true_parameters(d)
    delta_error = float(np.sum(np.square(delta - true_delta)))
    sigma_error = float(np.sum(np.square(sigma - true_sigma)))
    return {"delta_error": delta_error, "sigma_error": sigma_error, "theta_error": delta_error + sigma_error}


def _maximum_evidence(d, dataset, num_observations, seed):
    statistics = simulate(d, dataset, num_observations, seed)
    delta, sigma = hvae_tf.maximum_likelihood(statistics)
    return float(hvae_tf.evidence(statistics, delta, tf.math.log(sigma)))
