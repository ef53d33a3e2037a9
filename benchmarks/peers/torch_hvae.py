"""VAE and HVAE of the paper in PyTorch, as a textbook has them: autograd through the leapfrog steps.

The layers are PyTorch's own with their own paddings, `padding=2, output_padding=1`. TensorFlow's SAME puts its odd row
of padding on the other side; mirrored images under mirrored kernels are the same function, so weights carry over.
"""

import numpy as np
import torch
from peers.problem import BATCH, LATENT_SIZE, Problem
from torch import nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """x ``[B, 1, 28, 28]`` -> mean and standard deviation ``[B, l]``."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(i, o, 5, stride=2, padding=2) for i, o in ((1, 16), (16, 32), (32, 32))]
        )
        self.hidden = nn.Linear(512, 450)
        self.mean = nn.Linear(450, LATENT_SIZE)
        self.standard_deviation = nn.Linear(450, LATENT_SIZE)

    def forward(self, x):
        for convolution in self.convolutions:
            x = F.softplus(convolution(x))
        h = F.softplus(self.hidden(x.flatten(1)))
        return self.mean(h), F.softplus(self.standard_deviation(h)) + 1e-6


class Decoder(nn.Module):
    """z ``[B, l]`` -> logits ``[B, 1, 28, 28]``."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(LATENT_SIZE, 450)
        self.unflatten = nn.Linear(450, 512)
        self.convolutions = nn.ModuleList(
            [
                nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=extra)
                for i, o, extra in ((32, 32, 0), (32, 16, 1), (16, 1, 1))
            ]
        )

    def forward(self, z):
        h = F.softplus(self.unflatten(F.softplus(self.hidden(z)))).view(-1, 32, 4, 4)
        for convolution in self.convolutions[:-1]:
            h = F.softplus(convolution(h))
        return self.convolutions[-1](h)


def load_weights(encoder: nn.Module, decoder: nn.Module, problem: Problem) -> None:
    """Takes the Keras models' weights, mirrored, into the modules."""

    def dense(layer, kernel, bias, rows=None, columns=None):
        kernel = kernel if rows is None else kernel[rows]
        kernel, bias = (kernel, bias) if columns is None else (kernel[:, columns], bias[columns])
        layer.weight.data.copy_(torch.from_numpy(kernel.T.copy()))
        layer.bias.data.copy_(torch.from_numpy(bias.copy()))

    def convolution(layer, kernel, bias):
        # [h, w, maps, inputs] of either direction to PyTorch's [inputs or maps, .., h, w]
        layer.weight.data.copy_(torch.from_numpy(kernel[::-1, ::-1].transpose(3, 2, 0, 1).copy()))
        layer.bias.data.copy_(torch.from_numpy(bias.copy()))

    # Keras's flat [h, w, c] at the place of PyTorch's flat [c, h, w], mirrored
    order = np.arange(512).reshape(4, 4, 32)[::-1, ::-1].transpose(2, 0, 1).reshape(-1)
    e, d = problem.encoder_weights, problem.decoder_weights
    for i in range(3):
        convolution(encoder.convolutions[i], e[2 * i], e[2 * i + 1])
        convolution(decoder.convolutions[i], d[4 + 2 * i], d[5 + 2 * i])
    dense(encoder.hidden, e[6], e[7], rows=order)
    dense(encoder.mean, e[8], e[9])
    dense(encoder.standard_deviation, e[10], e[11])
    dense(decoder.hidden, d[0], d[1])
    dense(decoder.unflatten, d[2], d[3], columns=order)


def mirrored(x: np.ndarray) -> torch.Tensor:
    """Images ``[B, 28, 28, 1]`` as the modules take them, ``[B, 1, 28, 28]``."""
    return torch.from_numpy(np.ascontiguousarray(x[:, ::-1, ::-1].transpose(0, 3, 1, 2)))


class TorchHVAE(nn.Module):
    """The Hamiltonian bound, with `gradients` of U taken ``"2K"`` times or ``"K+1"`` times; K = 0 is the plain VAE."""

    def __init__(self, problem: Problem, gradients: str = "K+1"):
        super().__init__()
        self.num_leapfrog_steps, self.gradients = problem.num_leapfrog_steps, gradients
        self.encoder, self.decoder = Encoder(), Decoder()
        load_weights(self.encoder, self.decoder, problem)
        if self.num_leapfrog_steps:
            self.logit_step_size = nn.Parameter(torch.from_numpy(problem.logit_step_size.copy()))
            self.log_excess = nn.Parameter(torch.log(torch.tensor(problem.inv_sqrt_beta_0 - 1.0)))
        self.max_step_size = problem.max_step_size

    def log_joint(self, x, z):
        logits = self.decoder(z)
        log_p_x = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
        return log_p_x - 0.5 * z.square().sum(1)

    def log_joint_and_gradient(self, x, z):
        log_joint = self.log_joint(x, z)
        return log_joint, torch.autograd.grad(log_joint.sum(), z, create_graph=True)[0]

    def inv_sqrt_betas(self):
        """1/sqrt(beta_k), k = 0..K: the quadratic scheme of the paper."""
        start = 1.0 + torch.exp(self.log_excess)
        steps = self.num_leapfrog_steps
        return [(1.0 - start) * (k / steps) ** 2 + start for k in range(steps + 1)]

    def bound(self, x, noise, gamma):
        """The mean bound over the batch: the Rao-Blackwellised ELBO, equation (12)."""
        mean, standard_deviation = self.encoder(x)
        z = mean + standard_deviation * noise
        entropy = standard_deviation.log().sum(1) + 0.5 * LATENT_SIZE
        if not self.num_leapfrog_steps:
            return (self.log_joint(x, z) + entropy).mean()
        eps = self.max_step_size * torch.sigmoid(self.logit_step_size)
        betas = self.inv_sqrt_betas()
        rho = gamma * betas[0]
        log_joint, grad = (None, None) if self.gradients == "2K" else self.log_joint_and_gradient(x, z)
        for k in range(self.num_leapfrog_steps):
            if self.gradients == "2K":
                _, grad = self.log_joint_and_gradient(x, z)
            rho = rho + 0.5 * eps * grad
            z = z + eps * rho
            log_joint, grad = self.log_joint_and_gradient(x, z)
            rho = rho + 0.5 * eps * grad
            rho = rho * betas[k + 1] / betas[k]
        if self.gradients == "2K":
            log_joint = self.log_joint(x, z)
        return (log_joint - 0.5 * rho.square().sum(1) + entropy + 0.5 * LATENT_SIZE).mean()


class Peer:
    """What is timed, see `peers.problem`."""

    def __init__(self, problem: Problem, threads: int, gradients: str = "K+1"):
        torch.set_num_threads(threads)
        self.model = TorchHVAE(problem, gradients)
        self.optimizer = torch.optim.Adamax(self.model.parameters(), lr=1e-3)
        self.x = mirrored(problem.x)
        self.noise = torch.from_numpy(problem.noise)
        self.gamma = torch.from_numpy(problem.gamma)

    def bound(self) -> float:
        return self.model.bound(self.x, self.noise, self.gamma).item()

    def step(self) -> None:
        self.optimizer.zero_grad()
        noise, gamma = torch.randn(2, BATCH, LATENT_SIZE)
        loss = -self.model.bound(self.x, noise, gamma)
        loss.backward()
        self.optimizer.step()
        loss.item()
