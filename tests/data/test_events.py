"""Events of any shape in three splits: what is accepted, what is refused, where a decoder's bias starts."""

import dataclasses

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from hvae_tf.data import DataError, EventData, ImageData, from_arrays

SETTINGS = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def images(n=20, shape=(3, 4, 1), seed=0):
    return np.random.default_rng(seed).random((n, *shape)).astype(np.float32)


def test_mean_logit_is_per_channel():
    half = np.array([0.25, 0.75], np.float32).reshape(1, 2, 1, 1)
    colours = np.concatenate([np.broadcast_to(half, (6, 2, 2, 1)), np.zeros((6, 2, 2, 1), np.float32)], axis=-1)
    data = from_arrays("colours", colours, colours)
    np.testing.assert_allclose(data.mean_logit(), [0.0, np.log(0.001 / 0.999)], atol=1e-6)


def test_mean_logit_averages_logits_of_images(digits):
    mean = digits.intensities("train").astype(np.float64).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(digits.mean_logit(), [np.mean(np.log(mean / (1 - mean)))], rtol=1e-6)


def test_a_set_of_one_constant_is_found():
    blank = np.zeros((60, 6, 5, 1), np.uint8)
    with pytest.raises(DataError, match="each of one value only"):
        from_arrays("blank", blank, blank, 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": images()[:, :, :, 0]}, "the train split has shape"),
        ({"test": images(0)}, "the test split has shape"),
        ({"train": [1, 2]}, "the train split has shape"),
        ({"validation": images(4, (4, 3, 1))}, r"the validation split holds float32 events of shape \(4, 3, 1\)"),
        ({"test": images().astype(np.float64)}, "the test split holds float64"),
        ({"train": images().astype(np.int32)}, "the train split is int32"),
        ({"validation": images() + 0.5}, r"the validation split has values from .*; expected 0 to 1"),
        ({"test": images() - 0.5}, "the test split has values from -"),
        ({"test": np.where(images() < 0.5, np.nan, images())}, "the test split holds \\d+ values that are not finite"),
        ({"test": np.ones((3, 3, 4, 1), np.float32)}, "each of one value only"),
    ],
)
def test_bad_images_are_refused(change, message):
    good = ImageData("good", images(), images(4), images(4))
    with pytest.raises(DataError, match=message):
        dataclasses.replace(good, **change)


# -- events of any shape ----------------------------------------------------------------------------------------------

SHAPES = [(4,), (1,), (7, 3), (2, 5, 3), (2, 3, 4, 2)]


def real(n=30, shape=(4,), seed=0):
    return 100.0 * np.random.default_rng(seed).normal(size=(n, *shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_real_values_of_any_shape_stay_as_they_are(shape):
    train, test = real(30, shape), real(6, shape, 1)
    data = from_arrays("real", train, test, max_value=None, limit=(20, 5, 6))
    assert isinstance(data, ImageData) == (len(shape) == 3)
    assert data.event_shape == shape
    assert data.values("test").dtype == np.float32
    np.testing.assert_array_equal(data.values("test"), test.astype(np.float32))
    assert {row.tobytes() for row in data.train} <= {row.tobytes() for row in train}


@pytest.mark.parametrize("shape", SHAPES)
def test_intensities_of_any_shape_are_binarised(shape):
    intensities = np.random.default_rng(0).random((30, *shape))
    data = from_arrays("soft", intensities, intensities)
    assert set(np.unique(data.binarised("test"))) == {0.0, 1.0}
    assert data.binarised("test").shape == (30, *shape)


def test_what_needs_intensities_says_so():
    data = from_arrays("wine", real(30, (2, 2, 1)), real(5, (2, 2, 1)), max_value=None)
    for use in (lambda: data.binarised("test"), lambda: data.intensities("test"), data.mean_logit):
        with pytest.raises(ValueError, match="wine has no max_value, so its values cannot be binarised"):
            use()


def test_bytes_without_a_maximum_are_classes():
    classes = np.random.default_rng(0).integers(0, 5, [30, 4]).astype(np.uint8)
    data = from_arrays("classes", classes, classes, max_value=None)
    np.testing.assert_array_equal(data.values("test"), classes)


@pytest.mark.parametrize(
    ("train", "max_value", "message"),
    [
        ([[1.0]], None, r"own: train has shape \(1, 1\); expected a NumPy array"),
        (np.float64(3.0), None, r"own: train has shape \(\)"),
        (real(9, ()), None, r"the train split has shape \(7,\); expected an array of events \[n, \.\.\.\]"),
        (real(9, (0,)), None, r"the train split has shape \(7, 0\)"),
        (real(9).astype(np.float16), None, "is float16; expected uint8 of any finite values, or finite floats"),
        (real(9).astype(object), None, "is object"),
        (real(9).astype(complex), None, "is complex128"),
        (real(9), 1, "expected 0 to 1"),
        (real(9) * 1e38, None, "expected any finite values"),
        (np.ones((9, 4)), None, "each of one value only"),
        (np.ones((9, 1)), None, "each of one value only"),
        (np.ones((9, 4)), 0, "max_value is 0; expected a number above 0, or None"),
        (np.ones((9, 4)), float("nan"), "max_value is nan"),
    ],
)
def test_bad_events_are_refused(train, max_value, message):
    with pytest.raises(DataError, match=message):
        from_arrays("own", train, train, max_value)


def test_numbers_that_float32_cannot_tell_apart_are_refused():
    """Timestamps: 50 of them would be one number, and nothing would say so."""
    table = real(60)
    table[:, 1] = 1.7e9 + np.arange(60) % 50
    with pytest.raises(DataError, match=r"train split: in float32, .*, value 1 of an event would be off by up to \d\d"):
        from_arrays("own", table[:50], table[50:], None)
    table[:, 1] -= 1.7e9
    assert len(np.unique(from_arrays("own", table[:50], table[50:], None).values("train")[:, 1])) > 30
    for constant in (1e8, 0.1, 1 / 3, 0.1 * (1 + 1e-16 * np.arange(60))):  # without a spread nothing is to be told
        table[:, 1] = constant
        assert from_arrays("own", table[:50], table[50:], None).event_shape == (4,)
    table[:, 1] = 1e6 * np.arange(60)  # it is training's spread that counts
    test = table[50:].copy()
    test[:, 1] = 1e7 + 0.01 * np.arange(10)
    assert len(from_arrays("own", table[:50], test, None).test) == 10


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool])
def test_whole_numbers_of_any_type_are_taken(dtype):
    counts = np.random.default_rng(0).integers(0, 2, size=(30, 4)).astype(dtype)
    for max_value in (None, 1):
        data = from_arrays("own", counts[:20], counts[20:], max_value, validation=counts[:5])
        np.testing.assert_array_equal(data.values("train"), counts[:20].astype(np.float32))


def test_a_split_that_is_given_is_kept():
    table, y = real(30), np.eye(3)[np.arange(30) % 3]
    parts, of_parts = (table[:20], table[25:], table[20:25]), (y[:20], y[20:25], y[25:])
    train, test, validation = parts
    data = from_arrays("own", train, test, None, validation=validation, contexts=of_parts)
    for split, part, context in zip(("train", "validation", "test"), (train, validation, test), of_parts, strict=True):
        np.testing.assert_array_equal(data.values(split), part.astype(np.float32))
        np.testing.assert_array_equal(data.contexts[split], context)
    assert len(from_arrays("own", train, test, None, validation=validation, limit=(9, 2, 3)).train) == 9
    with pytest.raises(DataError, match="2 arrays of contexts; expected train's, validation's and test's"):
        from_arrays("own", train, test, None, validation=validation, contexts=of_parts[:2])
    with pytest.raises(DataError, match="3 arrays of contexts; expected train's and test's"):
        from_arrays("own", train, test, None, contexts=of_parts)
    with pytest.raises(ValueError, match="validation_fraction is given beside validation"):
        from_arrays("own", train, test, None, validation=validation, validation_fraction=0.1)
    mixed = from_arrays("own", np.arange(40).reshape(10, 4), real(5).astype(np.float32), None)
    assert mixed.train.dtype == np.float32


def test_floats_are_in_units_of_the_maximum():
    grey = 255.0 * images(12)
    data = from_arrays("grey", grey, grey[:3], 255)
    np.testing.assert_allclose(data.values("test"), images(12)[:3], rtol=1e-6)
    refused = r"grey holds floats up to 1\.0.* where max_value is 255; expected floats in \[0, 255\], or max_value=1"
    with pytest.raises(DataError, match=refused):
        from_arrays("grey", grey / grey.max(), grey[:3] / grey.max(), 255)
    assert from_arrays("units", grey / 255, grey / 255, 1).values("test").max() == np.max(images(12))
    dark = dataclasses.replace(data, train=grey / 255)  # the other splits tell the scale
    assert dark.values("train").max() < 1 / 255


@pytest.mark.parametrize("bad", [np.full((30, 2), np.nan), np.array([["a", "b"]] * 30), np.full((30, 2), None)])
def test_contexts_are_finite_numbers(bad):
    table, good = real(30), np.zeros((30, 2))
    with pytest.raises(DataError, match=r"own: the contexts of the test split are .*; expected finite real numbers"):
        from_arrays("own", table, table, None, contexts=(good, bad))
    assert from_arrays("own", table, table, None, contexts=(good.astype(bool), good)).contexts["train"].dtype == bool


@pytest.mark.parametrize("shape", [(4,), (3, 4, 1)], ids=["rows", "images"])
def test_data_sets_can_be_compared_and_kept_in_sets(shape):
    first, second = (from_arrays("own", images(12, shape), images(3, shape)) for _ in range(2))
    assert first == first
    assert first != second  # two objects: equal events have equal fingerprints
    assert first.fingerprint == second.fingerprint
    assert len({first, second}) == 2


@st.composite
def events(draw, dtype=None, ndim=None):
    """Valid events in [0, 1] and their event shape."""
    ndim = draw(st.integers(1, 4)) if ndim is None else ndim
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim)))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8])) if dtype is None else dtype
    seed, n = draw(st.integers(0, 99)), draw(st.integers(2, 6))
    values = np.random.default_rng(seed).random((n, *shape)).astype(dtype)
    values[0].flat[0], values[-1].flat[-1] = 0, 1  # not all of one value
    return values


@SETTINGS
@hypothesis.given(events=events(), bad=st.sampled_from([np.nan, np.inf, -np.inf, -1e-3, 1.001, 300.0]), data=st.data())
def test_one_bad_value_anywhere_is_found(events, bad, data):
    hypothesis.assume(events[0].size > 1)
    events = events.astype(np.float64)
    good = EventData("any", events, events, events)
    place = tuple(data.draw(st.integers(0, size - 1)) for size in events.shape)
    wrong = events.copy()
    wrong[place] = bad
    split = data.draw(st.sampled_from(["train", "validation", "test"]))
    told = r"has values from .*" if np.isfinite(bad) else "holds 1 values that are not finite"
    with pytest.raises(DataError, match=rf"any: the {split} split {told}; expected 0 to 1"):
        dataclasses.replace(good, **{split: wrong})
    if np.isfinite(bad):  # a table of real numbers may hold it
        assert dataclasses.replace(good, max_value=None, **{split: wrong}).event_shape == events.shape[1:]
    else:
        with pytest.raises(DataError, match=rf"the {split} split {told}; expected any finite values"):
            dataclasses.replace(good, max_value=None, **{split: wrong})


@SETTINGS
@hypothesis.given(events=events(), other=events(), split=st.sampled_from(["validation", "test"]))
def test_another_shape_or_dtype_is_found(events, other, split):
    hypothesis.assume(events[0].size > 1 and other[0].size > 1)
    good = EventData("any", events, events, events)
    if (other.dtype, other.shape[1:]) == (events.dtype, events.shape[1:]):
        assert len(getattr(dataclasses.replace(good, **{split: other}), split)) == len(other)
    else:
        with pytest.raises(DataError, match=f"the {split} split holds .* events of shape"):
            dataclasses.replace(good, **{split: other})


@SETTINGS
@hypothesis.given(events=events(), dtype=hnp.scalar_dtypes())
def test_only_bytes_and_floats_are_taken(events, dtype):
    hypothesis.assume(events[0].size > 1 and dtype not in (np.uint8, np.float32, np.float64))
    wrong = np.zeros(events.shape, dtype)
    with pytest.raises(DataError, match=r"the train split is .*; expected uint8 of 0 to 1, or floats"):
        EventData("any", wrong, wrong, wrong)


@SETTINGS
@hypothesis.given(events=events())
def test_images_are_events_of_rank_three(events):
    if events.ndim == 4:
        assert ImageData("any", events, events, events).image_shape == events.shape[1:]
    else:
        with pytest.raises(DataError, match=r"expected images \[n, height, width, channels\], n > 0"):
            ImageData("any", events, events, events)
