"""pythae's own HVAE, as its package has it, with the same networks.

It does less work, and other work, so nothing it computes is compared. Gradients of U are taken without a graph of their
own: the loss is not differentiated through them, so each of the 2K costs a third of ours. Its position moves by the
momentum from before the half step, and the tempered momentum is dropped; eps is one number for all dimensions; the
entropy of q0 is taken of another quantity than the standard deviation that is sampled from. The decoder runs twice at
z_K.
"""

import warnings

import torch
from peers.problem import LATENT_SIZE, Problem
from peers.torch_hvae import Decoder, Encoder, load_weights, mirrored
from pythae.models import HVAE, HVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder

STEP_SIZE = 0.05


class PythaeEncoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.network = Encoder()

    def forward(self, x):
        mean, spread = self.network(x)
        return ModelOutput(embedding=mean, log_covariance=spread)


class PythaeDecoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.network = Decoder()

    def forward(self, z):
        return ModelOutput(reconstruction=self.network(z))


class Peer:
    """What is timed, see `peers.problem`."""

    def __init__(self, problem: Problem, threads: int):
        torch.set_num_threads(threads)
        encoder, decoder = PythaeEncoder(), PythaeDecoder()
        load_weights(encoder.network, decoder.network, problem)
        config = HVAEConfig(
            input_dim=(1, 28, 28), latent_dim=LATENT_SIZE, reconstruction_loss="bce", n_lf=problem.num_leapfrog_steps,
            eps_lf=STEP_SIZE, beta_zero=problem.inv_sqrt_beta_0**-2, learn_eps_lf=True, learn_beta_zero=True,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the decoder has to give logits, which it does
            self.model = HVAE(config, encoder, decoder)
        self.optimizer = torch.optim.Adamax(self.model.parameters(), lr=1e-3)
        self.inputs = {"data": mirrored(problem.x)}

    def bound(self) -> None:
        """None: it is another quantity."""

    def step(self) -> None:
        self.optimizer.zero_grad()
        loss = self.model(self.inputs).loss
        loss.backward()
        self.optimizer.step()
        loss.item()
