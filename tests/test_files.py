"""Files are whole or as they were; fingerprints tell arrays apart."""

import os
import signal

import numpy as np
import pytest

from hvae_tf import files
from hvae_tf.files import atomic_write, fingerprint, update
from tests.without_tensorflow import child


@pytest.mark.parametrize("interrupted", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(interrupted, tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    atomic_write(path, "old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, interrupted, interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    atomic_write(path, "old")
    code = """
import os, signal
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
files.os.fsync = die
files.atomic_write(sys.argv[2], "new")
"""
    process = child(code, path)
    assert process.wait(60) == -signal.SIGKILL
    assert path.read_text() == "old"


def test_bytes_are_written_as_they_are_and_readable(tmp_path):
    atomic_write(str(tmp_path / "a/b"), b"\x00\xff")
    assert (tmp_path / "a/b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o644


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "run.json"
    atomic_write(path, "a" * 10**6)
    code = """
for letter in "bcdefgh" * 3:
    files.atomic_write(sys.argv[2], letter * 10**6)
"""
    process = child(code, path)
    seen = set()
    while process.poll() is None:
        text = path.read_text()
        assert len(text) == 10**6
        assert text == text[0] * 10**6
        seen.add(text[0])
    assert process.returncode == 0
    assert path.read_text() == "h" * 10**6


def test_fingerprints_tell_values_shapes_and_dtypes_apart():
    base = np.arange(6, dtype=np.float32)
    variants = [base, base + 1, base.reshape(2, 3), base.astype(np.float64), base[::-1], np.arange(6, dtype=np.int32)]
    digests = [fingerprint(v) for v in variants] + [fingerprint(base, base), fingerprint()]
    assert len(set(digests)) == len(digests)
    assert fingerprint(base[::2]) == fingerprint(base[::2].copy())


def test_what_is_up_to_date_is_left_alone(tmp_path):
    path = tmp_path / "report.md"
    update(path, "text")
    os.utime(path, (1, 1))
    update(path, "text")
    assert path.stat().st_mtime == 1
    update(path, b"other")
    assert path.read_text() == "other"
