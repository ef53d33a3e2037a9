"""What this process holds of the machine's memory, in bytes."""

import os
import resource
from pathlib import Path


def resident() -> int:
    """Now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_resident() -> int:
    """At most, since the process began: `ru_maxrss`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
