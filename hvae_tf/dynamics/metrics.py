"""Metrics G of the space of z: in what units, and along which axes, a Hamiltonian flow moves.

The momentum is N(0, G), and its kinetic energy 1/2 p^T G^-1 p + 1/2 log |G|.

| metric | G | the step | evaluations of G |
| --- | --- | --- | --- |
| ``Dense()`` | learned, one for all examples | explicit | none |
| ``Fisher(at="encoder mean")`` | the Fisher information at the mean of q0, one for each example | explicit | one |
| ``Fisher(at="z")`` | the Fisher information where the sample is | implicit | about ten a step |

An evaluation of a decoder's Fisher information costs about 4 l passes through it: reverse mode twice, for l copies.
"""

import abc

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.checks import check_count
from hvae_tf.configured import Configured, resolve
from hvae_tf.densities import Gaussian
from hvae_tf.dynamics.generalised_leapfrog import GeneralisedLeapfrog
from hvae_tf.dynamics.metric_leapfrog import MetricIntegrator, MetricLeapfrog
from hvae_tf.targets.target import Target

PLACES = ("encoder mean", "z")


class Metric(Configured, tf.Module, abc.ABC):
    """A metric; a flow builds it. To be saved with a model, a class is registered with Keras.

    Attributes:
        event_size: l, or None as long as it is not built.
        implicit: Whether its steps are equations that may have no solution within reach.
    """

    implicit = False

    def __init__(self):
        super().__init__(name=type(self).__name__)
        self.event_size: int | None = None

    def build(self, event_size: int, dtype=tf.float32) -> None:
        """Makes the variables.

        Args:
            event_size: l.
            dtype: Floating type of the variables.

        Raises:
            ValueError: If l is not an integer of at least 1, or it is built already.
        """
        if self.event_size is not None:
            raise ValueError(f"this {self.name} is built already, for another flow; make one for each flow")
        self.event_size = check_count("event_size", event_size)
        self.dtype = tf.as_dtype(dtype)

    @abc.abstractmethod
    def integrator(
        self, target: Target, q0: Gaussian | None, tolerance: float | None, max_iterations: int
    ) -> MetricIntegrator:
        """The step in this metric.

        Args:
            target: What is sampled.
            q0: What z_0 was drawn from.
            tolerance: For implicit steps, see `GeneralisedLeapfrog`.
            max_iterations: Likewise.

        Raises:
            ValueError: If target or q0 lack what the metric is made of.
        """


@keras.saving.register_keras_serializable("hvae_tf")
class Dense(Metric):
    """G = L L^T, one for all examples, learned with the flow: cheap, and explicit.

    Args:
        scale_tril: Initial L: a positive number, which is the diagonal, or a lower triangular matrix ``[l, l]`` with a
            positive diagonal.
        learned: Whether L is trained, its diagonal by the logarithm.

    Raises:
        ValueError: If L is not lower triangular with a positive diagonal; by `build`, if it is of another size.
    """

    def __init__(self, scale_tril=1.0, learned: bool = True):
        super().__init__()
        self._initial = np.asarray(scale_tril, np.float64)
        diagonal = np.atleast_1d(self._initial) if self._initial.ndim < 2 else np.diag(self._initial)
        lower = self._initial.ndim == 0 or (self._initial.ndim == 2 and np.all(np.triu(self._initial, 1) == 0.0))
        if not lower or not np.all(np.isfinite(self._initial)) or not np.all(diagonal > 0.0):
            raise ValueError(
                f"scale_tril is {self._initial.tolist()}; expected a positive number, or a lower triangular matrix "
                "with a positive diagonal"
            )
        self.learned = bool(learned)

    def build(self, event_size, dtype=tf.float32):
        super().build(event_size, dtype)
        if self._initial.ndim and self._initial.shape != (event_size, event_size):
            raise ValueError(f"scale_tril has shape {self._initial.shape}; expected {(event_size, event_size)}")
        initial = self._initial if self._initial.ndim else self._initial * np.eye(event_size)
        self._fixed = tf.constant(initial, self.dtype)
        packed = np.tril(initial, -1) + np.diag(np.log(np.diag(initial)))
        packed = tfp.math.fill_triangular_inverse(tf.constant(packed, self.dtype))
        self._packed = tf.Variable(packed, name="packed_metric") if self.learned else None

    @property
    def scale_tril(self) -> tf.Tensor:
        """L as it stands, ``[l, l]``."""
        if self._packed is None:
            return self._fixed
        lower = tfp.math.fill_triangular(self._packed)
        return tf.linalg.set_diag(lower, tf.exp(tf.linalg.diag_part(lower)))

    def integrator(self, target, q0, tolerance, max_iterations):
        return MetricLeapfrog(self.scale_tril)

    def get_config(self):
        return {"scale_tril": self._initial.tolist(), "learned": self.learned}


@keras.saving.register_keras_serializable("hvae_tf")
class Fisher(Metric):
    """The Fisher information of the target: of a decoder J^T W J plus the prior's precision, always positive definite.

    Args:
        at: Where: ``"encoder mean"``, at the mean of q0, so that G does not change along the path and steps stay
            explicit; or ``"z"``, where the sample is, for which steps are solved for, see `GeneralisedLeapfrog`.

    Raises:
        ValueError: If `at` is another word.
    """

    def __init__(self, at: str = "encoder mean"):
        super().__init__()
        if at not in PLACES:
            raise ValueError(f"the metric is at {at!r}; accepted: {', '.join(PLACES)}")
        self.at = at
        self.implicit = at == "z"

    def integrator(self, target, q0, tolerance, max_iterations):
        if self.implicit:
            return GeneralisedLeapfrog(tolerance, max_iterations)
        if q0 is None:
            raise ValueError("Fisher(at='encoder mean') was given no q0; pass q0, what z_0 was drawn from")
        return MetricLeapfrog(tf.linalg.cholesky(target.fisher_information(q0.mean)))

    def get_config(self):
        return {"at": self.at}


METRICS = {"dense": Dense, "fisher": Fisher}


def get_metric(metric: str | Metric) -> Metric:
    """A `Metric`, or a new one of this name, one of `METRICS`.

    Raises:
        ValueError: If it is neither; the message lists those accepted.
    """
    return resolve("metric", metric, Metric, METRICS, "a Metric")
