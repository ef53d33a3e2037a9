"""The training loop: resumable bit for bit, with early stopping and a guard against numbers that are not finite."""

from hvae_tf.training.checkpoint import CheckpointError, Progress, load_checkpoint, save_checkpoint, state_variables
from hvae_tf.training.collapse import ActiveUnits
from hvae_tf.training.fit import Batches, TrainingResult, fit
from hvae_tf.training.nonfinite import DivergenceError, DivergenceGuard
