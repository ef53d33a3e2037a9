"""What an interruption costs: nothing for Ctrl-C, and at most `checkpoint_seconds` for a kill."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from hvae_tf.training import load_checkpoint
from hvae_tf.training.interrupt import InterruptAtBatchEnd
from tests.training.scripted import assert_same, scripted_run, stop_at

LOSSES, TRAIN_LOSSES = [3, 2, 1], np.random.default_rng(0).random(12)


def press_ctrl_c(model):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python's handler runs between two of its instructions


def step_of(folder):
    return load_checkpoint(folder / "checkpoint.bin")[1].step


@pytest.mark.parametrize("step", [6, 8])
def test_ctrl_c_keeps_every_batch(step, tmp_path, capsys):
    kept = {6: 6, 8: 4}[step]  # at an epoch's end its validation is broken off, and done again with its last batches
    with pytest.raises(
        KeyboardInterrupt, match=rf"part holds the training up to step {kept} \(1 of at most 3 epochs\)"
    ):
        scripted_run(tmp_path / "part", LOSSES, TRAIN_LOSSES, callbacks=[stop_at(step, press_ctrl_c)])
    assert not any(capsys.readouterr())  # said once, by the exception
    assert step_of(tmp_path / "part") == kept
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    scripted_run(tmp_path / "part", LOSSES, TRAIN_LOSSES)
    scripted_run(tmp_path / "whole", LOSSES, TRAIN_LOSSES)
    assert_same(tmp_path / "part", tmp_path / "whole")


def test_a_second_ctrl_c_does_not_wait():
    with InterruptAtBatchEnd() as interrupt:
        interrupt.armed = True
        press_ctrl_c(None)
        assert interrupt.pending
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c(None)
        interrupt.pending = False


def test_before_the_first_batch_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), InterruptAtBatchEnd():
        press_ctrl_c(None)


def test_other_threads_and_other_handlers_are_left_alone():
    def use():
        with InterruptAtBatchEnd():
            handlers.append(signal.getsignal(signal.SIGINT))

    def mine(number, frame):
        pass

    handlers = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, mine)
    try:
        use()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert handlers == [signal.default_int_handler, mine]


@pytest.mark.parametrize(("seconds", "kept"), [(1e-9, 7), (3600.0, 4), (None, 4)])
def test_checkpoints_by_the_clock(seconds, kept, tmp_path):
    settings = {"train_losses": TRAIN_LOSSES, "checkpoint_seconds": seconds}
    scripted_run(tmp_path / "part", LOSSES, callbacks=[stop_at(7)], **settings)
    assert step_of(tmp_path / "part") == kept
    scripted_run(tmp_path / "part", LOSSES, TRAIN_LOSSES)
    scripted_run(tmp_path / "whole", LOSSES, TRAIN_LOSSES)
    assert_same(tmp_path / "part", tmp_path / "whole")


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_bad_checkpoint_seconds_are_refused(seconds, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint_seconds is .*; expected a positive number, or None"):
        scripted_run(tmp_path, [3], checkpoint_seconds=seconds)
