"""Lower bounds on log p(x), from samples; in nats, per example, no means taken.

Each function takes the terms of one sample, ``[...]``, and gives one value for it, ``[...]``, whose expectation is the
bound. Equation numbers are those of Caterini, Doucet & Sejdinovic (2018).
"""

import tensorflow as tf

from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.flows.flow import FlowResult


def log_weight(result: FlowResult, log_q0: tf.Tensor) -> tf.Tensor:
    """Log p_hat(x) of a flow without momentum: log p(x, z_K) - log q0(z_0) + log |det|; (2) with (4).

    With `IdentityFlow` its mean is the usual ELBO; -entropy may stand for log_q0 then and in every ELBO, but not in an
    importance weight.

    Args:
        result: What the flow gave.
        log_q0: ``[...]``, log q0(z_0 | x).
    """
    return result.log_joint - log_q0 + result.log_det


def hamiltonian_log_weight(
    result: FlowResult, log_q0: tf.Tensor, rho_0: tf.Tensor, inv_sqrt_beta_0: tf.Tensor
) -> tf.Tensor:
    """Log p_hat(x) of Algorithm 1: log p(x, z_K) N(rho_K) |det| / (q0(z_0) N(rho_0 | 0, I/beta_0)); equation (6).

    Unbiased before the logarithm; its mean is the Hamiltonian ELBO.

    Args:
        result: What `HamiltonianFlow` gave.
        log_q0: ``[...]``, log q0(z_0 | x).
        rho_0: ``[..., l]``, the momentum that the flow started from.
        inv_sqrt_beta_0: ``[...]``, 1/sqrt(beta_0), its scale.
    """
    size = rho_0.shape[-1]
    inv_sqrt_beta_0 = tf.convert_to_tensor(inv_sqrt_beta_0, rho_0.dtype)
    log_p_bar = result.log_joint + standard_normal_log_prob(result.rho)
    log_scale = size * tf.math.log(inv_sqrt_beta_0)
    log_rho_0 = standard_normal_log_prob(rho_0 / inv_sqrt_beta_0[..., None]) - log_scale
    return log_p_bar - log_q0 - log_rho_0 + result.log_det


def hamiltonian_elbo(result: FlowResult, log_q0: tf.Tensor) -> tf.Tensor:
    """The Rao-Blackwellised Hamiltonian ELBO, equation (12): log p(x, z_K) - |rho_K|^2/2 - log q0(z_0|x) + l/2.

    The same mean as `hamiltonian_log_weight`: the first momentum's log-density is replaced by its expectation, so this
    is for ELBOs only and never an importance weight. What is taken out, |gamma_0|^2/2 - l/2, holds no parameter: the
    gradients are the same sample by sample, and the variance of the value itself can go either way. With
    ``log_q0 = -gaussian_entropy(log_sigma)`` the expectation over q0's log-density is taken too.

    Args:
        result: What `HamiltonianFlow` gave.
        log_q0: ``[...]``, log q0(z_0 | x), or its expectation.
    """
    rho = tf.convert_to_tensor(result.rho)
    size = rho.shape[-1]
    return result.log_joint - 0.5 * tf.reduce_sum(tf.square(rho), axis=-1) - log_q0 + 0.5 * size


def iwae_bound(log_weights: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Log 1/L sum_i exp(log w_i) over the samples' axis (Burda, Grosse & Salakhutdinov 2016). ``[L, ...] -> [...]``."""
    count = tf.cast(tf.shape(log_weights)[axis], log_weights.dtype)
    return tf.reduce_logsumexp(log_weights, axis=axis) - tf.math.log(count)
