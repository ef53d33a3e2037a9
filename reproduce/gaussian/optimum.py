"""The maximum of the Hamiltonian ELBO in closed form, over all its parameters: where training should have ended."""

import numpy as np
import scipy.optimize
import tensorflow as tf

from hvae_tf.targets.gaussian import GaussianStatistics, maximum_likelihood
from reproduce.gaussian.problem import Group

BOUNDS = {  # of the search, by the names of the variables
    "log_sigma": (-6.0, 4.0),
    "logit_step_size": (-14.0, 14.0),
    "log_excess_inv_sqrt_beta_0": (-10.0, 10.0),  # log(1/sqrt(beta_0) - 1)
}


def best_hamiltonian_elbo(method, group: Group, log_sigma: np.ndarray) -> np.ndarray:
    """The maximum of each run's ELBO, ``[R]``, in nats.

    The closed form is maximised by L-BFGS in float64, with Delta at mean(x), which is optimal, from where training
    stopped and from other step sizes, for a step size is the angle of a rotation and has local optima; the best is
    taken.

    Args:
        method: A `Hamiltonian`, trained.
        group: The data.
        log_sigma: ``[R, D]``, where training stopped.
    """
    trained = [log_sigma, *(variable.numpy().astype(np.float64) for variable in method.flow.trainable_variables)]
    search = _Search(method, group, trained)
    with np.errstate(invalid="ignore"):
        sigma = maximum_likelihood(group.statistics).sigma.numpy()
    sigma = np.where(group.mask, sigma, 1.0)
    best = search.maximise(trained)
    # eps in units of the posterior's scale: 2 is where leapfrog becomes unstable; just below it K untempered steps
    # make a quarter turn that squeezes, which is their best (K = 1: eps^2 lam = 2, the known optimum)
    quarter_turn = 2.0 * np.cos(np.pi / (4 * method.num_steps))
    for angle in (0.5, 1.4, 1.9, quarter_turn):
        step_size = angle * sigma / np.sqrt(method.config.num_observations)
        fraction = np.clip(step_size / method.config.max_step_size, 1e-6, 0.99)
        start = [np.log(sigma), np.log(fraction / (1.0 - fraction)), *trained[2:]]
        best = np.maximum(best, search.maximise(start))
    return best


class _Search:
    """Maximises the sum of the runs' ELBOs over log sigma and the flow's variables; runs share none of them."""

    def __init__(self, method, group, shapes_like):
        self._method, self._runs = method, len(group.runs)
        self._statistics = GaussianStatistics(*map(tf.constant, group.statistics))
        self._flow = method.make_flow(tf.float64)
        self._log_sigma = tf.Variable(shapes_like[0], name="log_sigma", dtype=tf.float64)
        self._variables = [self._log_sigma, *self._flow.trainable_variables]
        widths = [int(np.prod(variable.shape[1:])) for variable in self._variables]
        self._cuts = np.cumsum(widths)[:-1]
        bounds = [BOUNDS[variable.name.split(":")[0]] for variable in self._variables]
        self._bounds = np.repeat(bounds, widths, axis=0)  # of one run
        self._elbo_and_gradient = tf.function(self._elbo_and_gradient_of_variables)

    def _elbo_and_gradient_of_variables(self):
        with tf.GradientTape() as tape:
            elbo = self._method.exact_elbo_of(self._flow, self._statistics, self._statistics.mean, self._log_sigma)
        return elbo, tape.gradient(elbo, self._variables)

    def _evaluate(self, flat):
        parts = np.split(flat.reshape(self._runs, -1), self._cuts, axis=1)
        for variable, part in zip(self._variables, parts, strict=True):
            variable.assign(part.reshape(variable.shape))
        return self._elbo_and_gradient()

    def _negative_total(self, flat):
        elbo, gradient = self._evaluate(flat)
        return -np.sum(elbo), -self._flat(gradient)

    def _flat(self, values):
        return np.concatenate([np.reshape(value, (self._runs, -1)) for value in values], axis=1).ravel()

    def maximise(self, start) -> np.ndarray:
        """The ELBOs, ``[R]``, where L-BFGS ends that begins at these values of the variables."""
        bounds = np.tile(self._bounds, (self._runs, 1))
        found = scipy.optimize.minimize(
            self._negative_total, np.clip(self._flat(start), *bounds.T), jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": 300, "maxcor": 20, "ftol": 1e-13},
        )  # fmt: skip
        return self._evaluate(found.x)[0].numpy()
