"""The contract of reverse models: r_t(u | z, x), what a stochastic flow holds the momentum to have been, let go at z.

u is the momentum v at the end of transition t where the next one starts with a new one; else a part of it.

Any normalised density of v makes a valid bound; the nearer it is to the flow's own q(v | z, x), the tighter the bound:

    ELBO(q(z_T | x)) - bound = E KL( q(v_1..T | z_T, x) || r )      (Salimans, Kingma & Welling 2015)
"""

import abc
from typing import NamedTuple

import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian, Gaussian
from hvae_tf.flows.parts import FlowPart

SEES = ("z", "grad", "context")  # what networks see unless told otherwise
ALL_INPUTS = (*SEES, "momentum")


class ReverseInputs(NamedTuple):
    """What a reverse model may read: where the transition ended, but not the momentum there.

    z and the gradient are in units of q0 where the flow is given one, as every model gives it: how many of its standard
    deviations z lies from its mean. So one set of numbers, or one network, serves all x.

    Attributes:
        z: ``[..., l]``, (z_t - mean) / standard deviation.
        grad: ``[..., l]``, the gradient of log p(x, z) there, times the standard deviation.
        context: ``[B, c]``, what the encoder says of x, or None.
        momentum: ``[..., l]``, v'_{t+1}, with which the flow leaves z; zero after the last transition.
        kept: ``[]``, eta, the share of v_t that v'_{t+1} keeps; 0 after the last transition.
    """

    z: tf.Tensor
    grad: tf.Tensor
    context: tf.Tensor | None
    momentum: tf.Tensor | None = None
    kept: tf.Tensor | float = 0.0


def reverse_inputs(z, grad, q0: Gaussian | None, context, momentum=None, kept=0.0) -> ReverseInputs:
    """What a reverse model reads of z and the gradient there ``[..., l]``: in units of q0, if there is one."""
    if q0 is None:
        return ReverseInputs(z, grad, context, momentum, kept)
    return ReverseInputs((z - q0.mean) / q0.standard_deviation, grad * q0.standard_deviation, context, momentum, kept)


def joined(inputs: ReverseInputs, sees, event_size: int) -> tf.Tensor:
    """What a network sees, ``[..., width]``, in this order; the context once for each z.

    Raises:
        ValueError: If there is no context for it to see, or one of another size.
    """
    seen = []
    for name in sees:
        part = getattr(inputs, name)
        if name == "context":
            if part is None or part.shape[-1] != 2 * event_size:
                found = "no context" if part is None else f"a context of shape {part.shape}"
                raise ValueError(
                    f"the reverse network sees a context [B, {2 * event_size}], the flow was given {found}"
                    ': pass context, or build it with sees=("z", "grad")'
                )
            shape = tf.concat([tf.shape(inputs.z)[:-1], tf.shape(part)[-1:]], axis=0)
            part = tf.ensure_shape(tf.broadcast_to(part, shape), [*inputs.z.shape[:-1], part.shape[-1]])
        seen.append(part)
    return tf.concat(seen, axis=-1)


def check_sees(sees) -> tuple[str, ...]:
    """Some of `ALL_INPUTS`, each once.

    Raises:
        ValueError: If they are not.
    """
    sees = (sees,) if isinstance(sees, str) else tuple(sees)
    if not sees or not set(sees) <= set(ALL_INPUTS) or len(set(sees)) < len(sees):
        raise ValueError(f"sees is {sees!r}; expected some of {', '.join(ALL_INPUTS)}, each once")
    return sees


def input_width(sees, event_size: int) -> int:
    """The width of what `joined` gives."""
    return sum(2 * event_size if name == "context" else event_size for name in sees)


class ReverseModel(FlowPart):
    """The densities r_t of a flow's transitions."""

    @abc.abstractmethod
    def density(self, t: int, inputs: ReverseInputs) -> DiagonalGaussian:
        """r_t(. | z, x), of tensors that broadcast with ``[..., l]``; t = 0, ..., T - 1.

        It may depend on all of the inputs, which a way back knows before it comes to u.
        """
