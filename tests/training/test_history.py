"""The history of names that are not logged at every epoch, and of folders that such names once made unusable."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.training import load_checkpoint, save_checkpoint
from hvae_tf.training.history import add_row, as_csv, mended
from tests.training.scripted import scripted_run, stop_at

NAN = float("nan")


class Logs(keras.callbacks.Callback):
    """Logs `fid`, the number of the epoch, at the end of some epochs."""

    def __init__(self, *epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.epochs:
            logs["fid"] = epoch + 1.0


def cells(folder, name):
    with open(folder / "history.csv") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_a_name_may_be_logged_now_and_then(tmp_path):
    _, result = scripted_run(tmp_path, [4, 3, 2, 1], callbacks=[Logs(2, 4)])
    np.testing.assert_array_equal(result.history["fid"], [NAN, 2.0, NAN, 4.0])
    assert cells(tmp_path, "fid") == ["", "2.0", "", "4.0"]
    assert cells(tmp_path, "val_loss") == ["4.0", "3.0", "2.0", "1.0"]
    _, again = scripted_run(tmp_path, [4, 3, 2, 1])
    np.testing.assert_array_equal(again.history["fid"], result.history["fid"])


@pytest.mark.parametrize(
    ("before", "after", "column"),
    [((), (2, 3), [NAN, 2.0, 3.0]), ((1,), (), [1.0, NAN, NAN])],
    ids=["added", "removed"],
)
def test_a_callback_may_come_or_go_on_a_resume(before, after, column, tmp_path):
    scripted_run(tmp_path, [3, 2, 1], callbacks=[Logs(*before), stop_at(4)])
    _, result = scripted_run(tmp_path, [3, 2, 1], callbacks=[Logs(*after)], tensorboard=True)
    np.testing.assert_array_equal(result.history["fid"], column)
    points = []  # TensorBoard has no point where there is no number
    for path in (tmp_path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            points += [(event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value if "fid" in v.tag]
    assert points == [(epoch, value) for epoch, value in enumerate(column, 1) if value == value]


def test_a_folder_that_unequal_columns_broke_is_mended(tmp_path):
    scripted_run(tmp_path, [3, 2, 1], callbacks=[stop_at(8)])
    groups, progress, configuration = load_checkpoint(tmp_path / "checkpoint.bin")
    progress.history["fid"] = [2.0]  # as it was left, with no history.csv of this epoch
    save_checkpoint(tmp_path / "checkpoint.bin", groups, progress, configuration)
    _, result = scripted_run(tmp_path, [3, 2, 1], tensorboard=True)
    np.testing.assert_array_equal(result.history["fid"], [NAN, 2.0, NAN])
    assert cells(tmp_path, "fid") == ["", "2.0", ""]


def test_short_columns_are_filled_where_their_epochs_were():
    """Such a folder failed at the first epoch at which a name came or was missing."""
    early, late = {"fid": [1.0]}, {"fid": [2.0]}
    rest = {"loss": [3.0, 2.0], "learning_rate": [0.1, 0.1]}
    np.testing.assert_array_equal(mended(early | rest, 2)["fid"], [1.0, NAN])  # before the first row's last name
    np.testing.assert_array_equal(mended(rest | late, 2)["fid"], [NAN, 2.0])
    rest = {"loss": [3.0, 2.0, 1.0], "learning_rate": [0.1, 0.1, 0.1]}
    np.testing.assert_array_equal(mended(early | rest, 3)["fid"], [NAN, NAN, 1.0])
    np.testing.assert_array_equal(mended(rest | {"fid": [1.0, 2.0]}, 3)["fid"], [1.0, 2.0, NAN])
    assert mended(rest, 3) == rest


def test_columns_stay_as_long_as_there_are_epochs():
    history = {}
    for row in ({"a": 1}, {"b": 2.0}, {"a": 3.0, "b": 4.0}):
        add_row(history, row)
    np.testing.assert_array_equal(history["a"], [1.0, NAN, 3.0])
    np.testing.assert_array_equal(history["b"], [NAN, 2.0, 4.0])
    assert as_csv(history) == "epoch,a,b\n1,1.0,\n2,,2.0\n3,3.0,4.0\n"
