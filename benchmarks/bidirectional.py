"""Both bounds of BDMC on images that a trained model simulates, by hvae_tf and by TensorFlow Probability.

Model, images, temperatures, step sizes, chains and leapfrog steps are the same; only who moves the chains differs.
"""

from pathlib import Path

LEAPFROG_STEPS, CHAINS = 5, 8
TEMPERATURES = (35, 50, 70, 100, 140, 200)
ENGINES = {"hvae_tf": "hvae_tf", "TFP, in parts": "TFP, batches in parts as hvae_tf has them", "TFP": "TFP as it is"}


class Bidirectional:
    """A worker's object: forward and reverse chains of one engine.

    Args:
        engine: One of `ENGINES`.
        path: Of the model's ``.keras`` file; None takes a model that was not trained.
        simulated: Images.
        threads: Cores.
    """

    def __init__(self, engine: str, path: Path | None, simulated: int, threads: int):
        import keras
        import tensorflow as tf
        from models import build

        import hvae_tf
        from hvae_tf.bounds.annealer import Annealer
        from hvae_tf.targets.sharded import ShardedTarget
        from hvae_tf.targets.temperatures import temperature_schedule

        if engine == "TFP":
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        else:
            hvae_tf.use_cores(threads)
        keras.utils.set_random_seed(0)
        model = keras.models.load_model(path) if path else build("vae", 0)
        self._schedule = temperature_schedule
        z = tf.random.stateless_normal([simulated, model.latent_size], [0, 0])
        probability = tf.sigmoid(model.decoder(z))
        uniform = tf.random.stateless_uniform(probability.shape, [0, 1])
        self._x, self._z = tf.cast(uniform < probability, tf.float32), z
        self._q0 = model.posterior(self._x)
        specification = tf.TensorSpec([None, *model.event_shape], tf.float32)
        self._annealer = Annealer(model.target, [specification], model.latent_size)
        self._step_sizes = {}
        self._tfp = None if engine == "hvae_tf" else self._tfp_graph(model, ShardedTarget)

    def _tfp_graph(self, model, sharded):
        import tensorflow as tf
        from peers.tfp_annealing import annealed_log_weights

        @tf.function(autograph=False)
        def chains(x, q0, z, seed, b, step_sizes):
            target = sharded(model.target, [x], model.latent_size)
            scaled = step_sizes[..., None] * q0.standard_deviation
            return annealed_log_weights(q0.log_prob, target.log_joint, z, seed, b, scaled, LEAPFROG_STEPS)

        return chains

    def pilot(self, temperatures: int) -> None:
        """Step sizes for so many temperatures, by hvae_tf whatever the engine."""
        settings = {"temperatures": temperatures, "num_chains": CHAINS, "num_leapfrog_steps": LEAPFROG_STEPS}
        found = self._annealer.tune([self._x], self._q0, 2, every=2, **settings)
        found.numpy()
        self._step_sizes[temperatures] = found

    def bounds(self, temperatures: int) -> tuple[float, float, float]:
        """Mean lower and upper bound over the images, in nats, and the standard error of the gap between them."""
        import numpy as np
        import tensorflow as tf

        from hvae_tf.bounds.jackknife import jackknife

        if temperatures not in self._step_sizes:
            self.pilot(temperatures)
        steps, b = self._step_sizes[temperatures], tf.constant(self._schedule(temperatures), tf.float32)
        settings = {"temperatures": b, "num_chains": CHAINS, "num_leapfrog_steps": LEAPFROG_STEPS, "step_sizes": steps}
        if self._tfp is None:
            forward = self._annealer.forward([self._x], self._q0, 3, **settings).log_weights
            reverse = self._annealer.reverse([self._x], self._q0, self._z, 4, **settings).log_weights
        else:
            noise = tf.random.stateless_normal([CHAINS, *self._z.shape], [0, 3])
            start, exact = self._q0.sample(noise), tf.broadcast_to(self._z, [CHAINS, *self._z.shape])
            forward = self._tfp(self._x, self._q0, start, tf.constant([1, 3]), b, steps)
            down = (tf.reverse(b, [0]), tf.reverse(steps, [0]))
            reverse = self._tfp(self._x, self._q0, exact, tf.constant([1, 4]), *down)
        lower, upper = jackknife(forward).value.numpy(), -jackknife(reverse).value.numpy()
        gap = upper - lower
        return float(lower.mean()), float(upper.mean()), float(np.std(gap, ddof=1) / len(gap) ** 0.5)
