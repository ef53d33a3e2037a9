"""One model on several devices of a machine: each batch split among them by `tf.distribute.MirroredStrategy`."""

import tensorflow as tf


def mirrored_strategy(virtual: int | None = None) -> tf.distribute.MirroredStrategy:
    """A strategy over all GPUs of this machine, or over parts of its CPU.

    Args:
        virtual: So many parts of the CPU with a core each, instead of GPUs: TensorFlow must not have started yet.

    Raises:
        ValueError: If there is no GPU and no number of parts, or TensorFlow has started with other devices.
    """
    if virtual is None:
        gpus = tf.config.list_logical_devices("GPU")
        if not gpus:
            raise ValueError("there is no GPU here; give --virtual-devices N to split batches among N cores")
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(virtual)
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * virtual)
    except RuntimeError as error:
        raise ValueError(f"the CPU cannot be split into {virtual}: TensorFlow has started already") from error
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(virtual)])
