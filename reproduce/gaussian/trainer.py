"""Training of one method on many data sets of the Gaussian offset model at once (section 4.1 of the paper).

The noise of one size is drawn apart from that of others, so what a size gives does not depend on the sizes that it
trains beside.
"""

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.targets import gaussian
from reproduce.gaussian.configs import LINES, GaussianConfig
from reproduce.gaussian.methods import make_method
from reproduce.gaussian.problem import Group, maximum_evidence, seed_pair, squared_errors


class Diverged(RuntimeError):
    """A training whose bound is no longer finite."""


class Trainer:
    """One method on one group: parameters, optimiser and a compiled loop.

    Args:
        method: Name of the method, one of `LINES`.
        group: What is trained on.
        config: The protocol.
        seed: Of the noise and of the method's initial values.
        released: Whether the released code's errors in this method, if any, are to be kept.
        make: Makes the method, of these arguments.
    """

    def __init__(
        self, method: str, group: Group, config: GaussianConfig, seed: int, released: bool = False, make=make_method
    ):
        self.name, self.config, self.seed = method, config, seed
        shape = self.shape = group.mask.shape
        self.delta = tf.Variable(np.zeros(shape, np.float32), name="delta")
        self.log_sigma = tf.Variable(np.full(shape, config.initial_log_sigma, np.float32), name="log_sigma")
        self.method = make(method, group, config, seed, released)
        self.variables = [self.delta, self.log_sigma, *self.method.trainable_variables]
        # RMSProp as TensorFlow 1 has it, which the paper's runs used: epsilon 1e-10, a mean square that starts at one
        self.optimizer = keras.optimizers.RMSprop(config.learning_rate, rho=0.9, epsilon=1e-10)
        self.optimizer.build(self.variables)
        for variable in self.optimizer.variables:
            if "velocity" in variable.path:
                variable.assign(tf.ones_like(variable.value))
        self.iteration = 0
        self.set_group(group)

    def set_group(self, group: Group) -> None:
        """Sets the data; parameters and optimiser stay as they are."""
        self.group = group
        self._statistics = gaussian.GaussianStatistics(*(tf.constant(s, tf.float32) for s in group.statistics))
        self._noise_seeds = {}  # size d -> (seed, number of runs): runs of one size are neighbours in the group
        for d, dataset in group.runs:
            first, count = self._noise_seeds.get(d, (seed_pair(self.seed, 1, d, dataset), 0))
            self._noise_seeds[d] = (first, count + 1)
        self._train = tf.function(self._train_loop)

    def _noise(self, iteration):
        """Standard normal arrays ``[S, R, D]``, as many as the method takes, zero where padded."""
        size, parts = self.shape[1], []
        for d, (seed, runs) in self._noise_seeds.items():
            seed = tf.random.experimental.stateless_fold_in(seed, iteration)
            noise = tf.random.stateless_normal([self.method.num_noises, self.config.num_samples, runs, d], seed)
            parts.append(tf.pad(noise, [[0, 0], [0, 0], [0, 0], [0, size - d]]) if d < size else noise)
        return tf.unstack(tf.concat(parts, axis=2) if len(parts) > 1 else parts[0])

    def elbo(self, iteration) -> tf.Tensor:
        """An estimate of each run's ELBO from `num_samples` samples, ``[R]``, in nats."""
        target = self.method.target_class(self._statistics, self.delta, self.log_sigma)
        return tf.reduce_mean(self.method.elbo(target, *self._noise(iteration)), axis=0)

    def _train_loop(self, start, stop):
        total = tf.zeros(self.shape[:1])
        for iteration in tf.range(start, stop):
            with tf.GradientTape() as tape:
                elbo = self.elbo(iteration)
                loss = -tf.reduce_sum(elbo)
            self.optimizer.apply(tape.gradient(loss, self.variables), self.variables)
            total += elbo
        return total / tf.cast(stop - start, tf.float32)

    def train(self, iterations: int) -> np.ndarray:
        """Runs so many iterations in one call of a graph; gives the mean ELBO estimate over them, ``[R]``.

        Raises:
            Diverged: If it is not finite; the message names the runs.
        """
        start = self.iteration
        elbo = self._train(tf.constant(start), tf.constant(start + iterations)).numpy()
        self.iteration += iterations
        if not np.all(np.isfinite(elbo)):
            bad = np.flatnonzero(~np.isfinite(elbo))
            runs = ", ".join(f"d={self.group.runs[i][0]} data set {self.group.runs[i][1]}" for i in bad)
            label = LINES[self.name].label if self.name in LINES else self.name
            raise Diverged(f"{label}: the ELBO is not finite after {self.iteration} iterations ({runs})")
        return elbo

    # -------------------------------------------------------------------------------------------- exact quantities

    def _theta(self):
        """Delta and log sigma in float64."""
        return tf.cast(self.delta, tf.float64), tf.cast(self.log_sigma, tf.float64)

    def evidence(self) -> np.ndarray:
        """The evidence log p(D) at the parameters as they stand, exactly: ``[R]``, nats."""
        return gaussian.evidence(self.group.statistics, *self._theta()).numpy()

    def maximum_evidence(self) -> np.ndarray:
        """The maximum of log p(D) over theta: ``[R]``, nats."""
        return np.array([maximum_evidence(statistics) for statistics in self.group.each])

    def exact_elbo(self) -> np.ndarray | None:
        """The method's ELBO at its parameters, exactly: ``[R]``, nats; None for a planar flow, which has no formula."""
        exact = self.method.exact_elbo(self.group.statistics, *self._theta())
        return None if exact is None else exact.numpy()

    def optimal_elbo(self) -> np.ndarray | None:
        """The maximum of the method's own ELBO over all its parameters: ``[R]``, nats; None where it is not known."""
        return self.method.optimal_elbo(self.group, self.log_sigma.numpy().astype(np.float64))

    def errors(self) -> list[dict[str, float]]:
        """Squared 2-norms of the errors of Delta and sigma, run by run."""
        delta, sigma = self.delta.numpy().astype(np.float64), np.exp(self.log_sigma.numpy().astype(np.float64))
        return [squared_errors(d, delta[i, :d], sigma[i, :d]) for i, (d, _) in enumerate(self.group.runs)]

    # ------------------------------------------------------------------------------------------------------- state

    def _state_variables(self):
        parts = {"variable": self.variables, "optimizer": self.optimizer.variables}
        return {f"{part}-{i}": variable for part, found in parts.items() for i, variable in enumerate(found)}

    def state(self) -> dict[str, np.ndarray]:
        """Everything that training changes, as arrays by name."""
        arrays = {name: np.array(variable.numpy()) for name, variable in self._state_variables().items()}
        return {"iteration": np.array(self.iteration)} | arrays

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `state`.

        Raises:
            ValueError: If names or shapes are others; nothing is set then.
        """
        variables = self._state_variables()
        expected = {"iteration": ()} | {name: tuple(variable.shape) for name, variable in variables.items()}
        found = {name: value.shape for name, value in state.items()}
        if found != expected:
            raise ValueError(f"the state has arrays of shapes {found}; expected {expected}")
        self.iteration = int(state["iteration"])
        for name, variable in variables.items():
            variable.assign(state[name])
