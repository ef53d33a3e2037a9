"""Pictures of a model: what each shows, for every kind of event; and the gallery, opened in a browser."""

import ast
import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import hvae_tf
from hvae_tf import HVAE, HVI, VAE, plots
from hvae_tf.plots.gallery import _events
from tests.models.test_events import networks

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")


@pytest.fixture(scope="module")
def x(seed):
    return (np.random.default_rng(seed).uniform(size=(13, 5, 4, 1)) < 0.4).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return HVAE(*networks((5, 4, 1)), 3, "fixed", step_size=0.1)


def drawn(figure):
    """What an `imshow` of the figure shows."""
    assert isinstance(figure, Figure)
    figure.savefig("/dev/null", format="png", dpi=20)
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]


def test_matplotlib_is_imported_when_something_is_drawn():
    for path in Path(hvae_tf.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(node, "names", [])] + [getattr(node, "module", None) or ""]
            assert not any(name.startswith("matplotlib") for name in names), path


def test_where_matplotlib_is_missing_it_is_named(monkeypatch, model):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    with pytest.raises(ModuleNotFoundError, match=r"pip install matplotlib") as error:
        plots.samples(model, 1)
    assert error.value.name == "matplotlib"


def test_a_mosaic_holds_the_images_row_by_row():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1)
    found = plots.mosaic(images, 3, line=-1)
    assert found.shape == (2 * 4, 3 * 5, 1)
    np.testing.assert_array_equal(found[1:3, 6:9, 0], images[1, ..., 0])
    np.testing.assert_array_equal(found[5:7, 6:9, 0], images[4, ..., 0])
    assert np.all(found[4:, 10:] == -1)  # left free
    assert np.all(found[::4] == -1)


def test_the_line_of_a_mosaic_is_as_it_is_asked_for():
    images = np.zeros((2, 2, 2, 1), np.uint8)
    for given in (images, images.astype(bool)):
        assert plots.mosaic(given, 2, line=0.5).max() == 0.5
    for given, line in ((images, 255), (images.astype(np.float32), 0.5), (images.astype(bool), True)):
        found = plots.mosaic(given, 2, line)
        assert (found.dtype, found.max()) == (given.dtype, line)


def test_samples_and_reconstructions_are_the_models(model, x):
    (shown,) = drawn(plots.samples(model, 6, seed=3, columns=3))
    np.testing.assert_array_equal(shown, plots.mosaic(model.sample(6, 3), 3)[..., 0])
    (shown,) = drawn(plots.reconstructions(model, x))
    assert shown.shape == (4 * 7, 12 * 6)  # 13 events: two strips of twelve, each with its reconstructions
    np.testing.assert_array_equal(shown[1:6, 1:5], x[0, ..., 0])
    np.testing.assert_allclose(shown[8:13, 7:11], model.reconstruct(x)[1, ..., 0], rtol=1e-6)


def test_ways_through_the_latent_space(model, x):
    (shown,) = drawn(plots.interpolation(model, x[:2], x[2:4], 5))
    np.testing.assert_array_equal(
        shown, plots.mosaic(model.interpolate(x[:2], x[2:4], 5).reshape(10, 5, 4, 1), 5)[..., 0]
    )
    (shown,) = drawn(plots.traversal(model, x[0], dimensions=[1], values=[-1.0, 0.0, 1.0]))
    moved = model.traverse(x[:1], 1, [-1.0, 0.0, 1.0])[0]
    np.testing.assert_array_equal(shown, plots.mosaic(moved, 3)[..., 0])
    (shown,) = drawn(plots.latent_grid(model, 3))
    plane = plots.prior_plane(model, 3)
    np.testing.assert_allclose(plane[2, 0], model.decode([0.9674216, -0.9674216]), rtol=1e-5)
    np.testing.assert_array_equal(shown[15:20, 13:17], plane[2, 0, ..., 0])  # z_1 to the right, z_2 upwards


@pytest.mark.parametrize(
    "event_shape",
    [(6,), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((7, 2), (4, 4, 3)))],
    ids=["row", "sequence", "colour"],
)
def test_other_events_are_drawn_too(event_shape, seed):
    x = np.random.default_rng(seed).normal(size=(5, *event_shape)).astype(np.float32)
    model = VAE(*networks(event_shape, 2), likelihood="normal")
    figures = [plots.samples(model, 4), plots.reconstructions(model, x), plots.traversal(model, x[0])]
    for figure in [*figures, plots.interpolation(model, x[:2], x[2:4], 3)]:
        images = drawn(figure)
        assert len(images) == (len(event_shape) == 3)
        assert images or any(axis.lines for axis in figure.axes)


def test_what_cannot_be_drawn_is_named(model, x):
    volumes = VAE(*networks((2, 3, 2, 2)))
    for draw in (plots.samples, lambda m: plots.traversal(m, np.zeros((2, 3, 2, 2)))):
        with pytest.raises(ValueError, match=r"events of shape \(2, 3, 2, 2\) cannot be drawn"):
            draw(volumes)
    wide = VAE(*(make((5, 4, 1), 3, (4,)) for make in (hvae_tf.dense_encoder, hvae_tf.dense_decoder)))
    with pytest.raises(ValueError, match="the model has l = 3; a plane of z needs l = 2"):
        plots.latent_grid(wide)
    for draw, what in ((plots.tempering, "tempering"), (plots.step_sizes, "step sizes")):
        with pytest.raises(ValueError, match=f"IdentityFlow has no {what} to draw"):
            draw(wide)
    with pytest.raises(ValueError, match="IdentityFlow has no momentum"):
        plots.energy(wide, x[0])
    with pytest.raises(ValueError, match="expected a 'loss'"):
        plots.training_curves({"val_loss": [1.0]})


def test_training_curves_take_any_history(tmp_path):
    history = {"loss": [3.0, 2.0], "val_loss": [3.5, 2.5], "rate": [0.1, 0.2], "learning_rate": [0.1, 0.1]}
    (tmp_path / "history.csv").write_text("epoch,loss,val_loss,rate\n1,3.0,3.5,0.1\n2,2.0,2.5,0.2\n")
    result = hvae_tf.TrainingResult("max_epochs", 2, 2, 2.5, history, 1.0, 0.5)
    for given in (history, result, tmp_path / "history.csv"):
        loss, rate = plots.training_curves(given).axes
        assert [list(line.get_ydata()) for line in loss.lines] == [[3.0, 2.0], [3.5, 2.5]]
        assert [list(line.get_ydata()) for line in rate.lines] == [[0.1, 0.2]]


def test_training_curves_have_a_panel_for_every_name():
    """Those that are known first, in their order, then the others; five in a row."""
    history = {"jump": [0.1, 0.2], "rate": [0.1, 0.2], "loss": [3.0, 2.0], "val_loss": [3.5, 2.5]}
    history |= {"acceptance": [0.5, 0.6], "step_size": [0.1, 0.1], "val_only": [1.0, 1.0], "learning_rate": [0.1, 0.1]}
    axes = plots.training_curves(history).axes
    titles = ["loss: negative bound, nats", "rate, nats", "jump", "acceptance", "step_size", "only"]
    assert [axis.get_title() for axis in axes if axis.get_visible()] == titles
    assert [len(axis.lines) for axis in axes if axis.get_visible()] == [2, 1, 1, 1, 1, 1]
    assert len(axes) == 10
    assert plots.training_curves({"epoch": [0, 1], "loss": [1.0, 2.0]}).axes[0].get_title() == titles[0]


def test_training_curves_join_what_was_logged_now_and_then(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss,active_units\n1,3.0,\n2,2.0,1.0\n3,2.0,\n4,1.0,2.0\n")
    _, active = plots.training_curves(tmp_path / "history.csv").axes
    assert [list(line.get_data()[0]) for line in active.lines] == [[2, 4]]
    assert [list(line.get_data()[1]) for line in active.lines] == [[1.0, 2.0]]


def test_pictures_of_a_flow(model, x, seed):
    (beta, _) = plots.tempering(model).axes[0].lines
    schedule = model.flow.schedule()
    assert beta.get_ydata()[0] == pytest.approx(float(schedule.beta_0))
    assert beta.get_ydata()[-1] == pytest.approx(1.0)  # whatever the scheme
    assert len(beta.get_ydata()) == 4
    assert len(plots.step_sizes(model).axes[0].patches) == 2
    per_step = hvae_tf.HamiltonianFlow(2, 3, step_size_per="step")
    np.testing.assert_allclose(drawn(plots.step_sizes(per_step))[0], per_step.step_sizes)
    chain = hvae_tf.HVIFlow(2, 3, 2, step_size_per="step")
    np.testing.assert_allclose(drawn(plots.step_sizes(chain))[0], np.reshape(chain.step_sizes, [6, 2]))
    figure = plots.energy(model, x[0], num_draws=5, seed=seed)
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 6]  # five draws and their mean


@pytest.mark.parametrize(
    ("options", "sizes", "label"),
    [({}, [0.2], "one for all dimensions and steps"), ({"step_size_per": "step"}, [0.1, 0.2, 0.3], "leapfrog step")],
    ids=["one", "one a step"],
)
def test_step_sizes_that_all_dimensions_share_are_drawn(options, sizes, label):
    flow = hvae_tf.RiemannianFlow(2, 3, step_size=sizes if options else sizes[0], **options)
    (axis,) = plots.step_sizes(flow).axes
    np.testing.assert_allclose([bar.get_height() for bar in axis.patches], sizes, rtol=1e-6)
    assert axis.get_xlabel() == label


def test_rows_of_step_sizes_say_what_they_are():
    def label(flow):
        figure = plots.step_sizes(flow)
        return figure.axes[0].get_ylabel()

    assert label(hvae_tf.HamiltonianFlow(2, 3, step_size_per="step")) == "step"
    assert label(hvae_tf.HamiltonianFlow(2, 3, batch_shape=(4,))) == "repeat"
    assert label(hvae_tf.HVIFlow(2, 3, 2)) == "transition"


def test_energy_starts_with_the_flows_own_momentum(model, x):
    flow = hvae_tf.HamiltonianFlow(2, 2, "none", momentum_scale="learned", step_size=0.05)
    scaled = hvae_tf.FlowVAE(model.encoder, model.decoder, flow)

    def at_the_start(log_scale):
        flow.momentum._log_scale.assign([log_scale] * 2)
        return [line.get_ydata()[0] for line in plots.energy(scaled, x[0], num_draws=4).axes[1].lines]

    np.testing.assert_allclose(at_the_start(2.0), np.exp(4.0) * np.array(at_the_start(0.0)), rtol=1e-5)


def test_energy_is_kept_without_tempering_and_taken_out_with_it(model, x):
    def gained(flow):
        untrained = hvae_tf.FlowVAE(model.encoder, model.decoder, flow)
        return plots.energy(untrained, x[0]).axes[2].lines[-1].get_ydata()

    kept = gained(hvae_tf.HamiltonianFlow(2, 4, "none", step_size=0.05))
    assert np.max(np.abs(kept)) < 1e-3
    cooled = gained(hvae_tf.HamiltonianFlow(2, 4, hvae_tf.FreeTempering(0.8), step_size=0.05))
    assert np.all(np.diff(cooled) < -1e-2)
    # new momenta are a gap in the line
    chain = HVI(model.encoder, model.decoder, 2, 3, step_size=0.05)
    axis = plots.energy(chain, x[0]).axes[0]
    np.testing.assert_array_equal(axis.lines[-1].get_xdata(), [0, 3, np.nan, 3, 6])


def test_active_units_are_ordered(x):
    found = hvae_tf.Activity(np.array([0.001, 0.5, 0.2]), np.array([False, True, True]), np.array([0.0, 1.0, 0.5]))
    figure = plots.active_units(found)
    assert [bar.get_height() for bar in figure.axes[1].patches] == [1.0, 0.5, 0.0]
    assert "2 of 3 dimensions active" in figure._suptitle.get_text()


def test_a_likelihood_derived_from_bernoulli_gets_binarised_events_too():
    class Own(hvae_tf.likelihoods.Bernoulli):
        """Of the user's own."""

    images = np.random.default_rng(0).uniform(size=(12, 5, 4, 1)).astype(np.float32)
    data = hvae_tf.from_arrays("grey", images, images[:3])
    events, _ = _events(VAE(*networks((5, 4, 1)), likelihood=Own()), data)
    np.testing.assert_array_equal(events, data.binarised("test"))


@pytest.fixture(scope="module")
def page(model, x, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "new" / "page.html"
    history = {"loss": [3.0, 2.0], "val_loss": [3.5, 2.5]}
    assert plots.gallery(model, x, path, history=history) == path
    return path


@pytest.mark.slow
def test_the_gallery_is_one_file_with_its_pictures_inside(page, model):
    text = page.read_text()
    titles = re.findall("<h2>(.*?)</h2>", text)
    shown = ["Samples", "Reconstructions", "Interpolations", "Traversals", "Plane of z", "Active units", "Training"]
    assert titles == [*shown, "Tempering", "Step sizes", "Energy"]
    sources = re.findall(r'src="(.*?)"', text)
    assert len(sources) == len(titles)
    for source in sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    outside = re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in outside
    assert "<script" not in outside
    assert "<th>ELBO</th>" in text
    assert f"of {model.latent_size}</td>" in text


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason=f"needs a browser: {', '.join(BROWSERS)}")
def test_a_browser_shows_all_its_pictures(page, tmp_path):
    """The page with a line that counts what was painted, printed by a headless browser after loading it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    count = "document.body.dataset.shown = [...document.images].filter(i => i.complete && i.naturalWidth > 100).length"
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text() + f"<script>window.onload = () => {{ {count} }}</script>")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert 'data-shown="10"' in done.stdout


@pytest.mark.slow
def test_the_gallery_of_a_conditional_model_of_rows(seed, tmp_path):
    encoder = hvae_tf.dense_encoder(4, 3, (6,), context_shape=2)
    model = VAE(encoder, hvae_tf.dense_decoder(4, 3, (6,), context_shape=2, outputs_per_channel=2), likelihood="normal")
    x, y = np.random.default_rng(seed).normal(size=(6, 4)), np.eye(2)[[0, 1, 0, 1, 0, 1]]
    text = plots.gallery(model, (x, y), tmp_path / "page.html").read_text()
    shown = ["Samples", "Reconstructions", "Interpolations", "Traversals", "Active units"]
    assert re.findall("<h2>(.*?)</h2>", text) == shown
    with pytest.raises(ValueError, match="y is no context"):
        plots.gallery(model, x, tmp_path / "page.html")
