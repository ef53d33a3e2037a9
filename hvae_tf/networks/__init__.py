"""Networks, and the only place with the mathematics of layers."""

from hvae_tf.networks.activations import positive_softplus, softplus
from hvae_tf.networks.convolutional import conv_decoder, conv_encoder
from hvae_tf.networks.dense import dense_decoder, dense_encoder
from hvae_tf.networks.shear import UnitLowerTriangular, sheared
from hvae_tf.networks.subpixel import TransposedConvolution, conv2d_transpose, subpixel_conv2d_transpose
