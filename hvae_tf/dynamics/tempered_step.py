"""A step of an integrator, after which the momentum is scaled (section 2.3 of the paper).

Tempering leaves z where it is, so the gradient that the state carries stays valid across it.
"""

from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator


class TemperedStep(Integrator):
    """``rho' = alpha * rho`` after a step of `integrator`, whose states have a momentum ``rho``, ``[..., l]``.

    Its parameters are the pair (parameters of the integrator's step, alpha ``[...]``).

    Args:
        integrator: What makes the step.
    """

    def __init__(self, integrator: Integrator):
        super().__init__()
        self.integrator = integrator

    def init(self, target, *start):
        return self.integrator.init(target, *start)

    def step(self, target, state, parameters):
        of_step, alpha = parameters
        return _scaled(self.integrator.step(target, state, of_step), alpha)


class ReversibleTemperedStep(TemperedStep, ReversibleIntegrator):
    """The tempered step of a `ReversibleIntegrator`."""

    integrator: ReversibleIntegrator

    def kick_drift(self, state, parameters):
        of_step, _ = parameters
        return self.integrator.kick_drift(state, of_step)

    def kick(self, state, parameters):
        of_step, alpha = parameters
        return _scaled(self.integrator.kick(state, of_step), alpha)

    def kick_drift_back(self, state, parameters):
        of_step, alpha = parameters
        untempered = state._replace(rho=state.rho / alpha[..., None])
        return self.integrator.kick_drift_back(untempered, of_step)

    def kick_back(self, state, parameters):
        of_step, _ = parameters
        return self.integrator.kick_back(state, of_step)


def tempered(integrator: Integrator) -> TemperedStep:
    """The tempered step of an integrator, reversible where the integrator is."""
    return (ReversibleTemperedStep if isinstance(integrator, ReversibleIntegrator) else TemperedStep)(integrator)


def _scaled(state, alpha):
    return state._replace(rho=alpha[..., None] * state.rho)
