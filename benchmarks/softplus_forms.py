"""Other ways to softplus and its derivative, to be put in the place of hvae_tf's, and what would be left without it.

No TensorFlow before `install`: the process that has benchmarks take turns stays without it.
"""

AS_IT_IS = "as it is: max(v, log1p e), e = exp(min(v, 40)); derivative sigmoid(v)"


def _same_exponential(tf, v):
    e = tf.exp(tf.minimum(v, 40.0))
    return tf.maximum(v, tf.math.log1p(e)), lambda upstream: upstream * (e / (1.0 + e))


def _of_the_value(tf, v):
    softplus = tf.maximum(v, tf.math.log1p(tf.exp(tf.minimum(v, 40.0))))
    return softplus, lambda upstream: upstream * (1.0 - tf.exp(-softplus))


def _no_log1p(tf, v):
    e = tf.exp(tf.minimum(v, 40.0))
    above = 1.0 + e
    return tf.maximum(v, tf.math.log(above)), lambda upstream: upstream * (e / above)


def _by_sigmoid(tf, v):
    t = tf.sigmoid(-v)
    return tf.maximum(v, -tf.math.log(tf.maximum(t, 1e-38))), lambda upstream: upstream * (1.0 - t)


FORMS = {
    AS_IT_IS: None,
    "derivative e / (1 + e), of the same exponential": _same_exponential,
    "derivative 1 - exp(-softplus)": _of_the_value,
    "log(1 + e) without log1p, derivative e / (1 + e)": _no_log1p,
    "-log t with t = sigmoid(-v), derivative 1 - t": _by_sigmoid,
    "TensorFlow's own": lambda tf, v: (tf.nn.softplus(v), lambda upstream: upstream * tf.sigmoid(v)),
    "ReLU, which is fused with the convolutions: another model, and the floor": None,
}
FLOOR = list(FORMS)[-1]


def install(form: str) -> None:
    """Makes this the softplus of hvae_tf in this process, before anything is traced."""
    import tensorflow as tf

    from hvae_tf.networks import activations

    if form == FLOOR:
        activations._softplus = tf.nn.relu
    elif FORMS[form] is not None:
        activations._softplus = tf.custom_gradient(lambda v: FORMS[form](tf, v))
