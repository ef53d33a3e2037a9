"""The streamed log-mean-exp: exact whatever its chunks, safe in log space, and honest about its error."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import LogMeanExp, importance_log_likelihood
from hvae_tf.bounds.jackknife import jackknife


def normal(*shape, seed, dtype=tf.float64):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=dtype)


def replay(log_weights):
    """A sampler that hands out given log weights in order, whatever the sizes it is asked for."""
    position = 0

    def sample(num_samples, _):
        nonlocal position
        position += num_samples
        return log_weights[position - num_samples : position]

    return sample


def direct(log_weights):
    """Value and standard error by the textbook, from all weights at once."""
    weights = np.exp(log_weights)
    mean = weights.mean(axis=0)
    return np.log(mean), weights.std(axis=0, ddof=1) / mean / np.sqrt(len(weights))


@pytest.mark.parametrize("chunk_size", [1, 7, 100, 299, 300, 5000])
def test_chunks_do_not_matter(chunk_size, seed):
    log_weights = normal(300, 3, seed=seed)
    estimate = importance_log_likelihood(replay(log_weights), 300, seed, chunk_size)
    value, standard_error = direct(log_weights.numpy())
    np.testing.assert_allclose(estimate.value, value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(estimate.standard_error, standard_error, rtol=1e-10)


def test_merging_unlike_parts_equals_one_pass(seed):
    log_weights = normal(100, 3, seed=seed)
    parts = [LogMeanExp.of(part) for part in tf.split(log_weights, [1, 60, 39])]
    merged, whole = parts[0].merge(parts[1]).merge(parts[2]), LogMeanExp.of(log_weights)
    for value, expected in zip(merged, whole, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_every_chunk_has_noise_of_its_own_and_a_seed_gives_the_same_again():
    drawn = []

    def sample(num_samples, pair):
        drawn.append(tf.random.stateless_normal([num_samples], pair, dtype=tf.float64).numpy())
        return drawn[-1]

    first = importance_log_likelihood(sample, 250, 3, chunk_size=100)
    assert [len(chunk) for chunk in drawn] == [100, 100, 50]
    assert len(np.unique(np.concatenate(drawn))) == 250
    again, as_pair, other = (importance_log_likelihood(sample, 250, s, chunk_size=100) for s in (3, (0, 3), 4))
    assert first.value == again.value == as_pair.value
    assert first.value != other.value


def spread_of_z_scores(log_weights):
    """Standard deviation over repeats of (estimate - truth) / its own standard error; the true log mean is 0."""
    estimate = LogMeanExp.of(log_weights).estimate()
    return np.std(estimate.value / estimate.standard_error)


def log_normal_weights(num_samples, num_repeats, seed, scale=0.5):
    """Log weights whose weights have mean one."""
    return scale * normal(num_samples, num_repeats, seed=seed) - 0.5 * scale**2


def test_standard_error_is_calibrated(seed):
    assert spread_of_z_scores(log_normal_weights(1000, 2000, seed)) == pytest.approx(1.0, abs=0.1)


def test_samples_counted_twice_are_seen(seed):
    doubled = tf.repeat(log_normal_weights(500, 2000, seed), 2, axis=0)
    assert spread_of_z_scores(doubled) > 1.3


def test_the_effective_sample_size_tells_where_the_error_cannot_be_trusted(seed):
    """Calibrated weights have many effective samples; where the error is too small, there are but a few."""
    light, heavy = log_normal_weights(200, 2000, seed), log_normal_weights(200, 2000, seed, scale=3.0)
    assert spread_of_z_scores(light) < 1.2
    assert np.median(LogMeanExp.of(light).estimate().effective_sample_size) > 100
    assert spread_of_z_scores(heavy) > 1.4
    assert np.median(LogMeanExp.of(heavy).estimate().effective_sample_size) < 10


def test_effective_sample_size_on_constants():
    log_weights = tf.math.log(tf.constant([[1.0, 1.0], [1.0, 1e-30], [1.0, 1e-30], [1.0, 1e-30]], tf.float64))
    np.testing.assert_allclose(LogMeanExp.of(log_weights).estimate().effective_sample_size, [4.0, 1.0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shift", [-5000.0, 5000.0])
def test_huge_and_tiny_weights(shift, dtype, seed):
    log_weights = normal(200, seed=seed, dtype=dtype)
    near, far = (LogMeanExp.of(log_weights + s).estimate() for s in (0.0, shift))
    rounding = 10.0 * abs(shift) * np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(far.value - shift, near.value, rtol=0, atol=rounding)
    np.testing.assert_allclose(far.standard_error, near.standard_error, rtol=10.0 * rounding)


@pytest.mark.parametrize("estimate_of", [LogMeanExp.over, lambda chunks: jackknife(tf.concat(chunks, 0))])
@pytest.mark.parametrize("shift", [-1e3, -1e5, -1e6])
def test_float32_keeps_the_error_of_large_log_weights(shift, estimate_of):
    """Of equal weights it is 0, and all of them are effective; the mean is as good as float32 can write it."""
    chunks = [tf.fill([10], np.float32(shift))] * 100
    found = estimate_of(chunks)
    estimate = found.estimate() if isinstance(found, LogMeanExp) else found
    assert {part.dtype for part in estimate} == {tf.float32}
    np.testing.assert_array_equal(estimate.value, np.float32(shift))
    np.testing.assert_allclose(estimate.effective_sample_size, 1000.0, rtol=1e-6)
    assert estimate.standard_error < 1e-6
    one_more = estimate_of([*chunks[1:], tf.fill([10], np.float32(shift + 2.0))])
    unlike = one_more.estimate() if isinstance(one_more, LogMeanExp) else one_more
    expected = direct(np.repeat([0.0, 2.0], [990, 10]))[1]
    np.testing.assert_allclose(unlike.standard_error, expected, rtol=5e-3)  # the jackknife differs by its second order


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=lambda dtype: dtype.name)
def test_samples_of_half_types_are_counted(dtype):
    """Ten thousand weights of one: bfloat16 has no whole numbers to count them by from 256 on."""
    found = LogMeanExp.over([tf.zeros([10, 1], dtype)] * 1000).estimate()
    assert found.value.dtype == tf.float32
    np.testing.assert_allclose(found.value, 0.0, atol=1e-6)


def test_weights_of_unlike_size_merge():
    tiny, huge = (LogMeanExp.of(tf.constant([shift], tf.float64)) for shift in (-3000.0, 3000.0))
    estimate = tiny.merge(huge).estimate()
    np.testing.assert_allclose(estimate.value, 3000.0 - np.log(2.0), rtol=1e-14)
    np.testing.assert_allclose(estimate.standard_error, 1.0, rtol=1e-10)  # one of two samples holds everything


def test_equal_weights_have_no_error():
    estimate = importance_log_likelihood(lambda num_samples, _: tf.fill([num_samples], -90.0), 1000, 0)
    np.testing.assert_allclose(estimate.value, -90.0, rtol=1e-6)
    assert 0.0 <= estimate.standard_error < 1e-6


def test_one_sample_has_no_standard_error():
    estimate = importance_log_likelihood(lambda num_samples, _: tf.fill([num_samples, 2], -3.0), 1, 0)
    np.testing.assert_allclose(estimate.value, [-3.0, -3.0], rtol=1e-6)
    assert np.all(np.isnan(estimate.standard_error))


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(0, 10), (-5, 10), (10, 0), (10, -1)])
def test_counts_below_one_are_refused(num_samples, chunk_size):
    with pytest.raises(ValueError, match="expected an integer of at least 1"):
        importance_log_likelihood(replay(tf.zeros([10])), num_samples, 0, chunk_size)


def test_seeds_of_numpy_are_seeds():
    def sample_log_weights(size, pair):
        return tf.random.stateless_normal([size], pair)

    values = [importance_log_likelihood(sample_log_weights, 5, seed).value for seed in (3, np.int64(3), (0, 3))]
    assert values[0] == values[1] == values[2]
