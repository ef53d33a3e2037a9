"""The divergence guard: stops training at the first number that is not finite or too large, and says what led to it."""

import collections
from collections.abc import Collection, Mapping

import keras
import numpy as np
import tensorflow as tf

SMALL = 4096  # a weight of at most so many numbers is reported


class DivergenceError(RuntimeError):
    """Training gave a non-finite or too large number; the last good checkpoint was kept, and the model holds it.

    Attributes:
        step: Number of the training batch that did it, from 1; with `steps_per_execution` the last of its execution.
        logs: What was logged when it was seen: means over the epoch's batches so far, in nats for bounds.
        parameters: What the flow's `diagnostics` show, and all small weights, as they were before that batch.
    """

    def __init__(self, message: str, step: int, logs: dict[str, float], parameters: dict[str, np.ndarray]):
        super().__init__(message)
        self.step = step
        self.logs = logs
        self.parameters = parameters


class DivergenceGuard:
    """Watches the numbers that a model logs, and remembers its small weights before the last two executions.

    Two, because a gradient that is not finite spoils the weights one batch before the loss shows it.

    Args:
        model: Built; its `flow`, if it has one, is reported by `diagnostics`.
        limits: Per logged name the largest value let through.
    """

    def __init__(self, model: keras.Model, limits: Mapping[str, float] | None = None):
        self.model = model
        self.limits = dict(limits or {})
        self._small = [v for v in model.trainable_variables if np.prod(v.shape) <= SMALL]
        self._copy = tf.function(lambda: [tf.identity(v.value) for v in self._small], autograph=False)
        self._before: collections.deque[tuple[int, list[tf.Tensor]]] = collections.deque(maxlen=2)
        self._last_loss = float("nan")

    def remember(self, step: int) -> None:
        """Copies the small weights as they are after `step` batches; called before each execution."""
        self._before.append((step, self._copy()))

    def check_logs(self, logs: Mapping[str, float] | None, step: int) -> None:
        """Raises DivergenceError where a number is not finite or above its limit, after `step` batches."""
        numbers = {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
        wrong = {n: v for n, v in numbers.items() if not np.isfinite(v) or v > self.limits.get(n, np.inf)}
        if wrong:
            raise self._error(", ".join(map(self._describe, wrong, wrong.values())), step, numbers)
        self._last_loss = numbers.get("loss", self._last_loss)

    def check_limits(self, names: Collection[str]) -> None:
        """Raises ValueError where a limit is of none of the names that are logged in an epoch."""
        for name in self.limits:
            if name not in names:
                raise ValueError(
                    f"limits has {name!r}, which no epoch logged, so it limits nothing; logged: "
                    f"{', '.join(sorted(names))}"
                )

    def check_state(self, arrays, names, step: int) -> None:
        """Raises DivergenceError where weights or optimiser slots, the state after `step` batches, are not finite."""
        wrong = [n for n, a in zip(names, arrays, strict=True) if a.dtype.kind == "f" and not np.all(np.isfinite(a))]
        if wrong:
            raise self._error(f"not finite after it: {', '.join(wrong[:3])}", step, {})

    def _describe(self, name: str, value: float) -> str:
        return f"{name} = {value:g}" + (f" (limit {self.limits[name]:g})" if name in self.limits else "")

    def _error(self, what: str, step: int, numbers: dict[str, float]) -> DivergenceError:
        before = [(done, [value.numpy() for value in values]) for done, values in self._before] or [(0, [])]
        if len(before) == 2 and not all(np.all(np.isfinite(value)) for value in before[1][1]):
            step, before = before[1][0], before[:1]
            what += ", from weights that this step left not finite"
        weights = list(zip(self._small, before[-1][1], strict=False))
        for variable, value in weights:
            variable.assign(value)  # the flow reads them
        parameters = flow_diagnostics(self.model) | {variable.path: value for variable, value in weights}
        described = "; ".join(f"{name} {_summary(value)}" for name, value in parameters.items())
        message = f"training diverged at step {step}: {what}"
        if not np.isnan(self._last_loss):
            message += f"; loss before it {self._last_loss:g} nats"
        elif step == 1 and before[-1][0] == 0:  # no weight has moved
            message += (
                "; it is the first, so look at the scale of x: standardise it, or start the decoder near it "
                "(output_bias)"
            )
        return DivergenceError(f"{message}; parameters before it: {described}", step, numbers, parameters)


def flow_diagnostics(model: keras.Model) -> dict[str, np.ndarray]:
    """What the `diagnostics` of a model's flow show now; nothing for a model without a flow."""
    diagnostics = getattr(getattr(model, "flow", None), "diagnostics", dict)
    return {name: np.asarray(value) for name, value in diagnostics().items()}


def _summary(value) -> str:
    """The numbers of an array if they are few, else their range."""
    value = np.asarray(value)
    if value.size <= 4:
        return " ".join(f"{v:.4g}" for v in value.ravel())
    return f"{list(value.shape)} from {value.min():.4g} to {value.max():.4g}"
