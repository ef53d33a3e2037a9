"""hvae_tf: the Hamiltonian Variational Auto-Encoder (Caterini, Doucet & Sejdinovic, NeurIPS 2018) in TensorFlow.

The names here are those that most users need. Further rooms: `hvae_tf.data` (data sets and batches), `hvae_tf.networks`
(encoders, decoders, activations), `hvae_tf.likelihoods`, `hvae_tf.gaussian` (the model of section 4.1 and its exact
answers), `hvae_tf.dynamics` (integrators, adjoints), `hvae_tf.plots` (pictures of a model), `hvae_tf.runs` (records of
runs).
"""

from hvae_tf import data, dynamics, networks, plots, runs
from hvae_tf.bounds.annealing import AISResult, ais, reverse_ais, tune_step_sizes
from hvae_tf.bounds.elbo import elbo_sample, iwae_bound, log_weight
from hvae_tf.bounds.importance import Estimate, LogMeanExp, importance_log_likelihood
from hvae_tf.data import DataError, EventData, ImageData, TrainBatches, from_arrays, load
from hvae_tf.densities import DiagonalGaussian, FullGaussian
from hvae_tf.diagnostics import Activity, active_units
from hvae_tf.dynamics.adjoint import Checkpoint, Direct, Reversible
from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.dynamics.tempering import (
    TEMPERINGS,
    FixedTempering,
    FreeTempering,
    NoTempering,
    ReleasedFixedTempering,
    Tempering,
)
from hvae_tf.flows.accept_reject import AcceptRejectFlow
from hvae_tf.flows.annealed import AnnealedFlow
from hvae_tf.flows.bijector import BijectorFlow
from hvae_tf.flows.flow import Flow, FlowResult, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.hvi import HVIFlow
from hvae_tf.flows.nose_hoover import NoseHooverFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.flows.riemannian import RiemannianFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hmc_vae import HMCVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.hvi import HVI
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.uha import UHA
from hvae_tf.models.vae import VAE
from hvae_tf.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder, positive_softplus
from hvae_tf.parallel import use_cores
from hvae_tf.targets import gaussian, likelihoods
from hvae_tf.targets.decoder import DecoderTarget
from hvae_tf.targets.gaussian import GaussianOffsetTarget
from hvae_tf.targets.likelihoods import Likelihood
from hvae_tf.targets.target import LogDensityTarget, Target
from hvae_tf.training import ActiveUnits, CheckpointError, DivergenceError, TrainingResult, fit

__version__ = "0.2.0"

__all__ = [
    "HMCVAE",
    "HVAE",
    "HVI",
    "IWAE",
    "TEMPERINGS",
    "UHA",
    "VAE",
    "AISResult",
    "AcceptRejectFlow",
    "ActiveUnits",
    "Activity",
    "AnnealedFlow",
    "BijectorFlow",
    "Checkpoint",
    "CheckpointError",
    "DataError",
    "DecoderTarget",
    "DiagonalGaussian",
    "Direct",
    "DivergenceError",
    "Estimate",
    "EventData",
    "FixedTempering",
    "Flow",
    "FlowResult",
    "FlowVAE",
    "FreeTempering",
    "FullGaussian",
    "GaussianOffsetTarget",
    "HVIFlow",
    "HamiltonianFlow",
    "IdentityFlow",
    "ImageData",
    "Leapfrog",
    "Likelihood",
    "LogDensityTarget",
    "LogMeanExp",
    "NoTempering",
    "NoseHooverFlow",
    "PlanarFlow",
    "ReleasedFixedTempering",
    "Reversible",
    "RiemannianFlow",
    "Target",
    "Tempering",
    "TrainBatches",
    "TrainingResult",
    "active_units",
    "ais",
    "conv_decoder",
    "conv_encoder",
    "data",
    "dense_decoder",
    "dense_encoder",
    "elbo_sample",
    "fit",
    "from_arrays",
    "importance_log_likelihood",
    "iwae_bound",
    "load",
    "log_weight",
    "plots",
    "positive_softplus",
    "reverse_ais",
    "tune_step_sizes",
    "use_cores",
]
