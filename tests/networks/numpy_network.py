"""The paper's networks once more, in NumPy float64 and from their definitions, with nothing of the library's.

Weights are read from the ``.keras`` archive itself. Convolutions are sums over windows; the transposed ones are zero
insertion and a plain convolution.
"""

import io
import json
import zipfile

import h5py
import numpy as np


def padding_before(inputs, outputs, kernel_size, stride):
    """Of the SAME convolution that takes `inputs` values to `outputs`: how many zeros come in front."""
    return max((outputs - 1) * stride + kernel_size - inputs, 0) // 2


def windows(x, kernel_size):
    """All windows of ``[B, H, W, C]``: ``[B, H - k + 1, W - k' + 1, C, k, k']``."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel_size, axis=(1, 2))


def convolution(x, kernel, stride):
    """The SAME convolution: ``[B, H, W, in]`` with ``[k, k', in, out]`` to ``[B, ceil(H / s), ceil(W / s), out]``."""
    size, kernel_size = x.shape[1:3], kernel.shape[:2]
    outputs = [-(-n // stride) for n in size]
    pads = [(padding_before(n, m, k, stride), k + stride) for n, m, k in zip(size, outputs, kernel_size, strict=True)]
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    chosen = windows(padded, kernel_size)[:, ::stride, ::stride][:, : outputs[0], : outputs[1]]
    return np.einsum("bpqcij,ijco->bpqo", chosen, kernel, optimize=True)


def transposed_convolution(x, kernel, size, stride, flipped=True, shift=0):
    """Its transpose: ``[B, h, w, in]`` with ``[k, k', out, in]`` to ``[B, *size, out]``, by zero insertion.

    `flipped` and `shift` are ways to be wrong: a kernel that is not turned over, an image that is cropped elsewhere.
    """
    kernel_size = kernel.shape[:2]
    spread = np.zeros((len(x), *(n + 2 * k + stride for n, k in zip(size, kernel_size, strict=True)), x.shape[3]))
    rows, columns = (np.arange(n) * stride + k - 1 for n, k in zip(x.shape[1:3], kernel_size, strict=True))
    spread[:, rows[:, None], columns] = x
    p, q = (padding_before(n, m, k, stride) + shift for n, m, k in zip(size, x.shape[1:3], kernel_size, strict=True))
    chosen = windows(spread, kernel_size)[:, p : p + size[0], q : q + size[1]]
    return np.einsum("bpqcij,ijoc->bpqo", chosen, kernel[::-1, ::-1] if flipped else kernel, optimize=True)


def softplus(a):
    return np.logaddexp(0.0, a)


def sigmoid(a):
    return 0.5 * (1.0 + np.tanh(0.5 * a))


class NumpyNetwork:
    """Encoder, decoder and Hamiltonian flow of a stored model with a Bernoulli likelihood.

    Args:
        path: Of the ``.keras`` archive.
        **error: An error to plant, see `transposed_convolution`.
    """

    def __init__(self, path, **error):
        with zipfile.ZipFile(path) as archive:
            self.config = json.loads(archive.read("config.json"))["config"]
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
            found = {}
            weights.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
        self.weights = {name: np.float64(value) for name, value in found.items()}
        self.error = error

    @property
    def flow(self):
        """What the flow is made of: an object of its own in newer archives, arguments of the model in older ones."""
        return self.config["flow"]["config"] if "flow" in self.config else self.config

    def layer(self, network, name):
        return (self.weights[f"{network}/layers/{name}/vars/{i}"] for i in (0, 1))

    def encode(self, x):
        """Mean and standard deviation, ``[B, l]``, of images ``[B, H, W, C]``."""
        h = x
        for name in ("conv2d", "conv2d_1", "conv2d_2"):
            kernel, bias = self.layer("encoder", name)
            h = softplus(convolution(h, kernel, 2) + bias)
        kernel, bias = self.layer("encoder", "dense")
        h = softplus(h.reshape(len(h), -1) @ kernel + bias)
        (mean, mean_bias), (scale, scale_bias) = self.layer("encoder", "dense_1"), self.layer("encoder", "dense_2")
        return h @ mean + mean_bias, softplus(h @ scale + scale_bias) + 1e-6

    def decode(self, z):
        """Logits ``[B, 28, 28, 1]`` at ``[B, l]``, and what takes their cotangent back to z."""
        h, slopes, kernels = z, [], []
        for name in ("dense", "dense_1"):
            kernel, bias = self.layer("decoder", name)
            a = h @ kernel + bias
            h = softplus(a)
            slopes.append(sigmoid(a))
            kernels.append(kernel)
        h, sizes = h.reshape(-1, 4, 4, 32), (7, 14, 28)
        for i, size in enumerate(sizes):
            kernel, bias = self.layer("decoder", "transposed_convolution" + (f"_{i}" if i else ""))
            a = transposed_convolution(h, kernel, (size, size), 2, **self.error) + bias
            h = a if size == sizes[-1] else softplus(a)
            slopes.append(sigmoid(a))
            kernels.append(kernel)

        def backwards(cotangent):
            for i in (4, 3, 2):
                cotangent = cotangent if i == 4 else cotangent * slopes[i]
                cotangent = convolution(cotangent, kernels[i], 2)
            cotangent = cotangent.reshape(len(z), -1)
            for i in (1, 0):
                cotangent = (cotangent * slopes[i]) @ kernels[i].T
            return cotangent

        return h, backwards

    def log_joint(self, x, z):
        """Log p(x, z) ``[B]`` in nats, and its gradient in z ``[B, l]``."""
        logits, backwards = self.decode(z)
        log_likelihood = np.sum(x * logits - softplus(logits), axis=(1, 2, 3))
        return log_likelihood + normal_log_prob(z), backwards(x - sigmoid(logits)) - z

    def alphas(self):
        """Alpha_1 .. alpha_K, what the momentum is multiplied by after each step."""
        steps, tempering = self.flow["num_leapfrog_steps"], self.flow["tempering"]
        if not isinstance(tempering, str):  # an object of its own, as newer archives have it
            names = {"NoTempering": "none", "FixedTempering": "fixed", "FreeTempering": "free"}
            tempering = names[tempering["class_name"]]
        if tempering == "none":
            return np.ones(steps)
        parameter = self.weights["flow_layer/vars/1"]
        if tempering == "free":
            return sigmoid(parameter)
        assert tempering == "fixed"
        b_0 = 1.0 + np.exp(parameter)
        b = (1.0 - b_0) * (np.arange(steps + 1) / steps) ** 2 + b_0  # 1/sqrt(beta_k)
        return b[1:] / b[:-1]

    def log_weight(self, x, noise, gamma=None):
        """The importance weight's logarithm ``[B]`` at standard normal noise of z_0 and rho_0, both ``[B, l]``.

        log p(x|z) N(z) / q0(z|x) for a VAE; equation (6) for a Hamiltonian flow.
        """
        mean, deviation = self.encode(x)
        z = mean + deviation * noise
        log_q0 = normal_log_prob(noise) - np.sum(np.log(deviation), axis=1)
        log_joint, grad = self.log_joint(x, z)
        if gamma is None:
            return log_joint - log_q0
        eps = self.flow["max_step_size"] * sigmoid(self.weights["flow_layer/vars/0"])
        alphas = self.alphas()
        beta_0 = np.prod(alphas) ** 2
        rho = gamma / np.sqrt(beta_0)
        log_rho_0 = normal_log_prob(gamma) + 0.5 * rho.shape[1] * np.log(beta_0)
        for k, alpha in enumerate(alphas):
            step = eps[k] if eps.ndim == 2 else eps
            half = rho + 0.5 * step * grad
            z = z + step * half
            log_joint, grad = self.log_joint(x, z)
            rho = alpha * (half + 0.5 * step * grad)
        log_det = 0.5 * rho.shape[1] * np.log(beta_0)
        return log_joint + normal_log_prob(rho) + log_det - log_q0 - log_rho_0


def normal_log_prob(z):
    """Log N(z | 0, I), ``[B, l] -> [B]``."""
    return -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1)
