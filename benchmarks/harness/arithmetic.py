"""Counted arithmetic: the multiply-adds of layers, from their shapes; one multiply-add is two FLOPs.

Activations, log-densities, leapfrog and optimiser are not counted, they are a hundredth of it. D and E are one image's
forward pass through decoder and encoder. A backward pass costs a forward pass for the gradient with respect to its
inputs and another for its weights:

    value and gradient in z            2 D      forward, and back to z
    the same differentiated            6 D      every one of the 2 D has two gradients to give
    training step, VAE                 B (3 E + 3 D)
    training step, HVAE                B (3 E + 6 (K + 1) D)     `backprop`; computing again adds 2 D to each 6 D
    importance sample, VAE             D
    importance sample, HVAE            2 (K + 1) D

The first convolution needs no gradient with respect to the image, which the count ignores.
"""

import math


def multiply_adds(network) -> int:
    """Of one example's forward pass through a Keras model of dense and (transposed) convolutional layers."""
    total = 0
    for layer in network.layers:
        if not layer.weights:
            continue
        kernel = math.prod(layer.kernel.shape)
        if len(layer.kernel.shape) == 2:
            total += kernel
        else:  # the kernel is applied once for each pixel of the smaller image
            sizes = layer.input.shape[1:3], layer.output.shape[1:3]
            total += kernel * min(math.prod(size) for size in sizes)
    return total


def training_step_flops(encoder: int, decoder: int, batch: int, num_leapfrog_steps: int) -> int:
    """Of one training step; K = 0 is the VAE. The networks are given by their multiply-adds."""
    passes = 6 * (num_leapfrog_steps + 1) if num_leapfrog_steps else 3
    return 2 * batch * (3 * encoder + passes * decoder)


def importance_sample_flops(decoder: int, num_leapfrog_steps: int) -> int:
    """Of one sampled log weight; K = 0 is the VAE."""
    return 2 * decoder * (2 * (num_leapfrog_steps + 1) if num_leapfrog_steps else 1)
