"""The derivation's picture."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.plots import draw_plane
from reproduce.derivation.steps import HALF_WIDTH, POINTS
from reproduce.derivation.variances import Noise
from reproduce.tables import png

STYLES = {
    "analytic KL": ("C0", "o", "-"),
    "prior sampled": ("C1", "s", "-"),
    "all sampled": ("C2", "o", "-"),
    "path": ("C3", "D", "-"),
    "score function": ("0.3", "v", "-"),
    "score function, baseline": ("0.6", "^", "-"),
}
PLANE = 11  # decoded points along each axis


def picture(posteriors, plane: np.ndarray, noises: list[Noise]) -> bytes:
    """Posteriors with the Gaussians that approximate them, the decoder's plane, and the noise against epochs.

    Args:
        posteriors: (title, p(z|x) ``[G]`` on the grid, mean ``[2]``, Cholesky factor ``[2, 2]``) of one digit, for each
            encoder.
        plane: ``[PLANE, PLANE, H, W, 1]``, the decoder's means at quantiles of the prior.
        noises: What was measured.
    """
    fig, axes = plt.subplot_mosaic([["a", "b", "c"], ["d", "d", "e"]], figsize=(11.5, 7.6), layout="constrained")
    for axis, posterior in zip((axes["a"], axes["b"]), posteriors, strict=True):
        _posterior(axis, *posterior)
    draw_plane(axes["c"], plane)
    axes["c"].set_title("decoder's means")
    _against_epochs(axes["d"], noises, "variance", "trace of the covariance", "gradient of the encoder")
    _against_epochs(axes["e"], noises, "value_deviation", "standard deviation, nats", "value of the bound")
    fig.legend(*axes["d"].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=len(STYLES))
    return png(fig, 110)


def _posterior(axis, title, density, mean, factor):
    line = np.linspace(-HALF_WIDTH, HALF_WIDTH, POINTS)
    density = density.reshape(POINTS, POINTS).T
    levels = density.max() * np.exp(-0.5 * np.array([9.0, 4.0, 1.0, 0.0]))
    axis.contourf(line, line, density, levels=levels, cmap="Blues")
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    for radius in (1.0, 2.0, 3.0):
        ellipse = mean[:, None] + radius * factor @ np.stack([np.cos(angle), np.sin(angle)])
        axis.plot(*ellipse, color="C3", lw=1.2, label="q(z|x): 1, 2, 3 s.d." if radius == 1.0 else None)
    grid = np.stack(np.meshgrid(line, line), axis=-1)[density > levels[0]]
    reach = 3.2 * np.sqrt(np.sum(factor**2, axis=1))
    low, high = np.minimum(grid.min(axis=0), mean - reach), np.maximum(grid.max(axis=0), mean + reach)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$z_1$", ylabel="$z_2$", title=title)
    axis.legend(fontsize=8, loc="upper right")


def _against_epochs(axis, noises, field, label, title):
    for name, (color, marker, dash) in STYLES.items():
        wide = name == "all sampled"  # others lie on it
        mine = [noise for noise in noises if noise.estimator == name]
        if field == "value_deviation" and name.startswith("score"):
            continue  # its value is that of "all sampled"
        style = {"color": color, "marker": marker, "ls": dash, "ms": 9 if wide else 4, "lw": 4 if wide else 1.3}
        axis.plot(
            [noise.epochs for noise in mine],
            [getattr(noise, field) for noise in mine],
            label=name,
            alpha=0.5 if wide else 1,
            **style,
        )
    axis.set_xscale("symlog", linthresh=1)
    epochs = sorted({noise.epochs for noise in noises})
    axis.set_xticks(epochs, map(str, epochs))
    axis.minorticks_off()
    axis.set(yscale="log", xlabel="epochs of training", ylabel=label, title=title)
    axis.grid(alpha=0.3)
