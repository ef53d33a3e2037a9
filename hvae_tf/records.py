"""The old name of `hvae_tf.files` and `hvae_tf.runs`, until nothing here imports it."""

from hvae_tf.files import atomic_write, fingerprint
from hvae_tf.runs import RecordError, RunStore, make_record, read_record, write_record

__all__ = ["RecordError", "RunStore", "atomic_write", "fingerprint", "make_record", "read_record", "write_record"]
