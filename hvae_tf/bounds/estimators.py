"""How the ELBO is estimated from a draw: which of its terms are taken in expectation, and what its gradient follows.

    ELBO = E_q0 [log p(x|z_K) + log p(z_K) - log q0(z_0|x) + log_ratio]

All estimates have this mean, and all gradients the gradient of this mean; they differ in their noise. Two choices that
know nothing of each other: `kl` for the terms, `gradient` for log q0(z_0|x).

| kl | log p(x, z_K) | log q0 | the flow's ratio |
| --- | --- | --- | --- |
| ``"analytic"`` | log p(x, z_K) - log p(z_0) sampled, the rest as one closed KL(q0, p(z)) | | its expectation |
| ``"prior-sampled"`` | sampled | minus the entropy, in closed form | its expectation |
| ``"sampled"`` | sampled | sampled | sampled |

Without a flow the first is log p(x|z) and the divergence, the textbook's. With one, log p(z_0) is a control variate,
whose expectation under q0 is known: what the flow does to z is sampled, what it started from is not.

Near the optimum the fully sampled form is the quietest: where q0 is the posterior it is log p(x), draw by draw.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import Gaussian, standard_normal_log_prob
from hvae_tf.flows.flow import FlowResult


class Draw(NamedTuple):
    """Samples of the flow's posterior with all that a bound needs.

    Attributes:
        q0: q0(z_0|x), of tensors ``[B, ...]``.
        noise: ``[S, B, l]``, of which z_0 was made: ``q0.sample(noise)``.
        z_0: ``[S, B, l]``, where the flow started.
        result: What the flow gave.
    """

    q0: Gaussian
    noise: tf.Tensor
    z_0: tf.Tensor
    result: FlowResult


class ElboEstimator:
    """Estimates of the ELBO, and log weights, with one choice of terms and of gradient.

    Args:
        kl: ``"analytic"``, ``"prior-sampled"``, ``"sampled"``; None for the first of these that suits `gradient`:
            ``"prior-sampled"``, or with the path gradient ``"sampled"``.
        gradient: ``"standard"``, or ``"path"``, "sticking the landing" (Roeder, Wu & Duvenaud 2017): the parameters of
            log q0(z_0|x) are held, so that only the path through z_0 counts. What is left out, the score of q0, has
            mean zero. Where q0 is the posterior and nothing moves z, the path gradient is zero, draw by draw.

    Raises:
        ValueError: If a name is unknown, or the two do not go together.
    """

    def __init__(self, kl: str | None, gradient: str):
        if gradient not in _LOG_Q0:
            raise ValueError(f"unknown gradient {gradient!r}; accepted: {', '.join(_LOG_Q0)}")
        if kl is None:
            kl = "sampled" if gradient == "path" else "prior-sampled"
        if kl not in _ELBO:
            raise ValueError(f"unknown kl {kl!r}; accepted: {', '.join(_ELBO)}")
        if gradient == "path" and kl != "sampled":
            raise ValueError(
                f"gradient='path' needs log q0 at the draws, which kl={kl!r} leaves out; take kl='sampled'"
            )
        self.kl = kl
        self.gradient = gradient

    def log_weight(self, draw: Draw) -> tf.Tensor:
        """``[S, B]``, the sampled log weights log p_hat(x): equation (6)."""
        return log_weight(draw.result, _LOG_Q0[self.gradient](draw))

    def elbo(self, draw: Draw) -> tf.Tensor:
        """``[S, B]``, samples whose mean is the ELBO; for HVAE as it comes, equation (12)."""
        return _ELBO[self.kl](self, draw)


def _log_q0(draw):
    return draw.q0.log_prob_of_noise(draw.noise)


def _path_log_q0(draw):
    """The same numbers; differentiated, the gradient of log q0 at z_0 with q0's parameters held."""
    held = tf.nest.map_structure(tf.stop_gradient, draw.q0)
    way = held.noise_at(draw.z_0)
    return held.log_prob_of_noise(draw.noise + (way - tf.stop_gradient(way)))


_LOG_Q0: dict[str, Callable] = {"standard": _log_q0, "path": _path_log_q0}


def _sampled(estimator, draw):
    return estimator.log_weight(draw)


def _prior_sampled(estimator, draw):
    return elbo_sample(draw.result, -draw.q0.entropy())


def _analytic(estimator, draw):
    """What is sampled, less log p(z_0), whose expectation is in the closed divergence instead."""
    log_prior = standard_normal_log_prob(draw.z_0)
    return elbo_sample(draw.result, log_prior + draw.q0.kl_to_standard_normal())


_ELBO: dict[str, Callable] = {"analytic": _analytic, "prior-sampled": _prior_sampled, "sampled": _sampled}
