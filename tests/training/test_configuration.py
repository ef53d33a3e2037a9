"""What a run is taken to be: its optimiser as it was compiled, and its model, also where that cannot be saved."""

import keras
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import hvae_tf
from hvae_tf.training import CheckpointError, fit, load_checkpoint, save_checkpoint
from hvae_tf.training.architecture import architecture
from hvae_tf.training.configuration import describe_run
from tests.training.scripted import VALIDATION, Scripted, Steps, scripted_run, stop_at

SIZES = {"event_shape": 4, "latent_size": 2, "hidden_units": (3,)}


# -- the optimiser ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
def test_the_same_call_goes_on_and_loads_after_a_callback_changed_the_rate(scaled, tmp_path):
    model = Scripted([3, 2, 1])
    optimizer = keras.optimizers.SGD(1.0)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)

    def call(*callbacks):
        rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch)
        return fit(model, Steps(), VALIDATION, tmp_path, max_epochs=3, callbacks=[rate, *callbacks], verbose=0)

    assert call(stop_at(8)).epochs == 2
    assert call().epochs == 3
    again = call()
    assert again.history["learning_rate"] == [1.0, 0.5, 0.25]
    assert load_checkpoint(tmp_path / "checkpoint.bin")[2]["optimizer"] == _compiled(scaled)
    model.optimizer.learning_rate = 0.3  # by hand: another run
    with pytest.raises(CheckpointError, match=r"learning_rate: 1\.0 there, 0\.3"):
        call()


def _compiled(scaled):
    """The optimiser's configuration in a run of one call, without callbacks."""
    model = Scripted([3])
    optimizer = keras.optimizers.SGD(1.0)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    return describe_run(model, Steps(), VALIDATION)["optimizer"]


@pytest.mark.parametrize(
    "make",
    [lambda sgd: sgd, keras.optimizers.LossScaleOptimizer],
    ids=["an optimiser", "one inside another"],
)
def test_averaged_weights_are_refused(make, tmp_path):
    model = Scripted([3, 2])
    model.compile(make(keras.optimizers.SGD(1.0, use_ema=True)))
    with pytest.raises(ValueError, match=r"the optimizer has use_ema=True, .*compile it without") as error:
        fit(model, Steps(), VALIDATION, tmp_path, max_epochs=2, verbose=0)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("checkpoint.bin"))


def test_a_finished_run_with_averaged_weights_still_loads(tmp_path, monkeypatch):
    monkeypatch.setattr("hvae_tf.training.run.refuse_averages", lambda optimizer: None)

    def run():
        model = Scripted([3, 2])
        model.compile(keras.optimizers.SGD(1.0, use_ema=True))
        return fit(model, Steps(), VALIDATION, tmp_path, max_epochs=2, verbose=0)

    run()
    monkeypatch.undo()
    assert run().epochs == 2


# -- a model that cannot be saved -------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Bare(keras.layers.Layer):
    """A layer without a configuration: Keras cannot save it, for a function is no plain argument."""

    def __init__(self, activation, factor=1.0):
        super().__init__()
        self.activation = activation
        self.factor = factor

    def call(self, x):
        return self.factor * self.activation(x)


def bare(factor=1.0, activation="tanh"):
    x = keras.Input((4,))
    h = Bare(keras.ops.tanh, factor)(keras.layers.Dense(3, activation)(x))
    scale = keras.layers.Dense(2, hvae_tf.positive_softplus)(h)
    return keras.Model(x, [keras.layers.Dense(2)(h), scale])


def unsaved(encoder=None, bijectors=None, kind=hvae_tf.FlowVAE, **kwargs):
    """A model with a flow that cannot be saved, or an encoder that cannot."""
    networks = encoder or hvae_tf.dense_encoder(**SIZES), hvae_tf.dense_decoder(**SIZES)
    if encoder is None:
        kwargs["flow"] = hvae_tf.BijectorFlow(2, bijectors or (lambda size, **_: [_scale(size)]))
    return kind(*networks, **kwargs)


def _scale(size):
    return tfp.bijectors.Scale(tf.Variable(tf.ones([size])))


def test_models_that_cannot_be_saved_are_told_apart():
    digest = architecture(unsaved())
    assert architecture(unsaved()) == digest  # whatever Keras's running numbers
    for other in ({"num_samples": 7}, {"kl": "sampled"}, {"seed": 1}, {"gradient": "path"}):
        assert architecture(unsaved(**other)) != digest, other
    digest = architecture(unsaved(bare()))
    assert architecture(unsaved(bare())) == digest
    assert architecture(unsaved(bare(2.0))) != digest
    assert architecture(unsaved(bare(activation="relu"))) != digest


def test_the_digest_stays_while_a_model_that_cannot_be_saved_is_trained():
    def make(**kwargs):
        return unsaved(bare(), kind=hvae_tf.HMCVAE, num_moves=1, num_leapfrog_steps=1, **kwargs)

    model = make()
    digest = architecture(model)
    assert architecture(make(step_size=0.2)) != digest
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(variable + 0.01)
    model.compile("adam")
    assert architecture(model) == digest


def test_a_folder_begun_with_the_old_digest_of_such_a_model_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Scripted, "get_config", _fails)
    scripted_run(tmp_path, [3, 2, 1], callbacks=[stop_at(4)])
    groups, progress, found = load_checkpoint(tmp_path / "checkpoint.bin")
    assert found["model_architecture"] != OLD_DIGEST
    save_checkpoint(tmp_path / "checkpoint.bin", groups, progress, {**found, "model_architecture": OLD_DIGEST})
    assert scripted_run(tmp_path, [3, 2, 1])[1].epochs == 3
    found = load_checkpoint(tmp_path / "checkpoint.bin")[2]
    assert found["model_architecture"] == architecture(Scripted([3, 2, 1]))


OLD_DIGEST = "9a45e6c7edd7238c"  # of the variables alone


def _fails(self):
    raise NotImplementedError
