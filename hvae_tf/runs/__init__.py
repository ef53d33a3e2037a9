"""What experiments leave behind and how they share their work out: records, folders of them, and who does what is
missing. Nothing here needs TensorFlow.
"""

from hvae_tf.runs.environment import environment
from hvae_tf.runs.record import RecordError, make_record, read_record, write_record
from hvae_tf.runs.schedule import InlineExecutor, Overview, Report, Task, run_all
from hvae_tf.runs.store import RunStore

__all__ = [
    "InlineExecutor",
    "Overview",
    "RecordError",
    "Report",
    "RunStore",
    "Task",
    "environment",
    "make_record",
    "read_record",
    "run_all",
    "write_record",
]
