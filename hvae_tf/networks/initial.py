"""Where weights start: initialisers that are a function of a seed, and the bias of a decoder's outputs."""

from collections.abc import Callable

import keras
import numpy as np

ENCODER, DECODER, REVERSE = 0, 1, 2  # keep the networks of one seed apart


def glorot_uniform(seed: int, network: int) -> Callable[[], keras.initializers.Initializer]:
    """A source of Glorot uniform initialisers, each with a seed of its own, all of them a function of (seed, network).

    Raises:
        ValueError: If the seed is not an integer of at least 0.
    """
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is {seed}; expected an integer of at least 0")
    state = np.random.SeedSequence([int(seed), network])

    def initializer():
        return keras.initializers.GlorotUniform(int(state.spawn(1)[0].generate_state(1)[0] >> 1))

    return initializer


def check_output_bias(output_bias, shape: tuple[int, ...]) -> np.ndarray:
    """The initial bias of outputs ``[*shape]`` as float64: a number, one for each last index, or one for each output.

    Raises:
        ValueError: If it is of another shape, or not finite.
    """
    output_bias = np.asarray(output_bias, np.float64)
    shapes = ((), shape[-1:], shape)
    if output_bias.shape not in shapes:
        accepted = ", ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"output_bias has shape {output_bias.shape}; expected one of {accepted}")
    if not np.all(np.isfinite(output_bias)):
        raise ValueError("output_bias holds values that are not finite; clip the pixels' means away from 0 and 1")
    return output_bias
