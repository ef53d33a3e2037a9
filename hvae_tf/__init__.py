"""hvae_tf: the Hamiltonian Variational Auto-Encoder (Caterini, Doucet & Sejdinovic, NeurIPS 2018) in TensorFlow."""

from hvae_tf.activations import positive_softplus, softplus
from hvae_tf.bounds.elbo import hamiltonian_elbo, hamiltonian_log_weight, iwae_bound, log_weight
from hvae_tf.bounds.importance import Estimate, LogMeanExp, importance_log_likelihood
from hvae_tf.cores import use_cores
from hvae_tf.data import DataError, ImageData, TrainBatches, from_arrays, load
from hvae_tf.densities import gaussian_entropy, gaussian_log_prob, standard_normal_log_prob
from hvae_tf.dynamics.leapfrog import PhaseState, initial_state, leapfrog_step
from hvae_tf.dynamics.tempering import TEMPERINGS, TemperingSchedule, make_tempering
from hvae_tf.flows.flow import Flow, FlowResult, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.models.base import FlowVAE
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.networks import conv_decoder, conv_encoder
from hvae_tf.models.vae import VAE
from hvae_tf.records import RecordError, RunStore, make_record, read_record, write_record
from hvae_tf.targets.decoder import DecoderTarget
from hvae_tf.targets.gaussian import (
    GaussianOffsetTarget,
    GaussianStatistics,
    evidence,
    exact_hamiltonian_elbo,
    gaussian_offset_model,
    hamiltonian_gap,
    maximum_likelihood,
    posterior,
    sufficient_statistics,
)
from hvae_tf.targets.likelihoods import Bernoulli, Categorical, Likelihood, Normal, get_likelihood
from hvae_tf.targets.target import LogDensityTarget, Target, ValueAndGrad
from hvae_tf.training import CheckpointError, DivergenceError, TrainingResult, fit

__version__ = "0.1.0"
