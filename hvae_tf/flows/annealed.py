"""Uncorrected Hamiltonian annealing (Geffner & Domke 2021), the same as differentiable AIS (Zhang et al. 2021).

Annealed importance sampling whose moves are never rejected, and which pays for it in its weight:

    rho'_t = eta rho_{t-1} + sqrt(1 - eta^2) xi_t,    (z_t, rho_t) = LF^n(z_{t-1}, rho'_t) on pi_{b_t},
    log_ratio = sum_t [ log N(rho_t) - log N(rho'_t) ],    pi_b = q0^(1-b) p(x, .)^b.

It is a `StochasticFlow` with other parts: its momentum is refreshed in part, and its gradient is that of a bridge.
"""

import keras
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.dynamics.bridged_step import BridgedStep
from hvae_tf.dynamics.integrator import ReversibleIntegrator
from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.refreshment import get_refreshment
from hvae_tf.flows.reverse import get_reverse
from hvae_tf.flows.reverse_model import ReverseModel
from hvae_tf.flows.temperatures import Temperatures, get_temperatures
from hvae_tf.targets.bridge import BridgedTarget


@keras.saving.register_keras_serializable("hvae_tf")
class AnnealedFlow(StochasticFlow):
    """T transitions of n leapfrog steps on the way from q0 to p(x, .); T n + 1 gradient evaluations of the target.

    One evaluation serves the kicks on both sides of it, whatever their temperatures. A diagonal mass of the momenta
    would say nothing new: the step sizes are by dimension.

    | what | how |
    | --- | --- |
    | UHA, DAIS | as it comes |
    | the Langevin flow of Monte Carlo VAEs (Thin et al. 2021) | ``refreshment=0.0``, step eps^2/2 |
    | untempered HVAE with K = T | ``refreshment=1.0, temperatures=1.0`` |
    | HVI with r = N(0, I) and unit momenta | ``refreshment=0.0, temperatures=1.0`` |
    | Langevin diffusion VI (Geffner & Domke 2022) | ``reverse="score"`` |

    Args:
        event_size: l, the dimension of z.
        num_temperatures: T >= 1, bridging densities, one transition on each.
        num_leapfrog_steps: n >= 1, steps of each transition.
        refreshment: eta, what is kept of the momentum from one transition to the next, in [0, 1]; ``"learned"``, from
            1/2; or a `MomentumSource`, which the flow builds.
        temperatures: b_1..b_T: ``"learned"``, from equal increments; ``"sigmoid"``, ``"linear"`` or numbers in [0, 1],
            fixed; or a `Temperatures`, which the flow builds.
        reverse: ``"standard"``, N(0, I); ``"score"``, or another `ReverseModel`, see `hvae_tf.flows.reverse`.
        step_size: Initial eps, in (0, max_step_size).
        max_step_size: xi, the bound of eps.
        dtype: Floating type of parameters and samples.
        **options: What else `StochasticFlow` takes: `step_size_per`, `integrator` (a `ReversibleIntegrator` of
            `PhaseState`s), `adjoint`.

    Raises:
        ValueError: See `StochasticFlow`; by `transform`, if there is no q0.
    """

    def __init__(
        self,
        event_size: int,
        num_temperatures: int,
        num_leapfrog_steps: int = 1,
        *,
        refreshment=0.5,
        temperatures="learned",
        reverse: str | ReverseModel = "standard",
        step_size=0.1,
        max_step_size: float = 0.5,
        dtype=tf.float32,
        **options,
    ):
        check_count("num_temperatures", num_temperatures)
        super().__init__(
            event_size, num_temperatures, num_leapfrog_steps, momentum=get_refreshment(refreshment),
            reverse=get_reverse(reverse), step_size=step_size, max_step_size=max_step_size, dtype=dtype, **options,
        )  # fmt: skip
        if not isinstance(self.integrator, ReversibleIntegrator):
            raise ValueError(f"integrator is {self.integrator!r}; expected a ReversibleIntegrator, such as Leapfrog()")
        self.temperatures: Temperatures = get_temperatures(temperatures)
        self.temperatures.build(self.num_transitions, self.event_size, self.dtype)

    def _stage(self, target, q0):
        if q0 is None:
            raise ValueError("the annealed flow was given no q0, from where it starts: pass q0 to transform")
        return BridgedStep(self.integrator), BridgedTarget(q0, target)

    def _parameters(self):
        temperatures = tf.unstack(self.temperatures())
        return [[(eps, b) for eps in steps] for steps, b in zip(super()._parameters(), temperatures, strict=True)]

    def diagnostics(self):
        """Step sizes and temperatures as they stand, and eta if the momenta are refreshed in part."""
        kept = getattr(self.momentum, "kept", None)
        found = super().diagnostics() | {"temperatures": self.temperatures()}
        return found if kept is None else found | {"kept_momentum": kept}

    def get_config(self):
        config = super().get_config()
        config["num_temperatures"] = config.pop("num_transitions")
        config["refreshment"] = config.pop("momentum")
        return config | self._configurations_of("temperatures")
