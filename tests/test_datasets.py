"""The data sets."""

import re
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import datasets
from companion.backend import array, to_numpy
from companion.datasets import text as text_module

windows = text_module._windows
RANDOM = {
    "clusters": (2000, 20, 10),
    "quadrants": (500, 2, 2),
    "spirals": (300, 2, 2),
    "moons": (300, 2, 2),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def test_digits_are_the_published_ones(created):
    x, y = (to_numpy(a) for a in datasets.digits())
    assert x.shape == (1797, 64)
    assert x.dtype == np.float64
    assert (x.min(), x.max()) == (0, 1)
    assert (x * 16).sum() == 561718
    assert_array_equal(np.bincount(y), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert_array_equal(x[0, :16] * 16, first)


def test_a_digit_looks_like_itself():
    """The nearest class mean names most digits: pixels and labels belong together."""
    x, y = (to_numpy(a) for a in datasets.digits())
    means = np.stack([x[y == k].mean(axis=0) for k in range(10)])
    nearest = ((x[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == y).mean() > 0.85


def check_split(n):
    x = array(np.arange(3 * n).reshape(n, 3) / 1.0)
    (xa, ya), (xb, yb) = (
        tuple(map(to_numpy, part)) for part in datasets.split((x, array(np.arange(n))), rng(), 0.2)
    )
    assert (len(xa), len(xb)) == (n - n // 5, n // 5)
    assert_array_equal(np.sort(np.concatenate([ya, yb])), np.arange(n))
    for x, y in ((xa, ya), (xb, yb)):
        assert_array_equal(x[:, 0], 3 * y)
    assert not np.array_equal(ya, np.sort(ya))


def test_split(created):
    check_split(50)


def test_a_split_that_tears_pairs_apart_is_caught(monkeypatch):
    from companion.datasets import real

    rows = real._rows
    monkeypatch.setattr(
        real, "_rows", lambda x, y, r: (rows(x, y, r)[0], rows(x, y, np.roll(r, 1))[1])
    )
    with pytest.raises(AssertionError):
        check_split(50)


@pytest.mark.parametrize("name", RANDOM)
def test_shapes_and_dtypes(created, name):
    n, d, k = RANDOM[name]
    x, y = (to_numpy(a) for a in getattr(datasets, name)(rng=rng()))
    assert x.shape == (n, d)
    assert x.dtype == np.float64
    assert y.shape == (n,)
    assert y.dtype == np.int64
    assert_array_equal(np.unique(y), np.arange(k))


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_alone_decides(name):
    make = getattr(datasets, name)
    first, again, other = make(rng=rng(1)), make(rng=rng(1)), make(rng=rng(2))
    assert_array_equal(to_numpy(first[0]), to_numpy(again[0]))
    assert not np.array_equal(to_numpy(first[0]), to_numpy(other[0]))


def test_clusters_lie_around_their_centres():
    centers = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    x, y = map(to_numpy, datasets.clusters(900, rng=rng(), centers=centers, num_classes=2))
    nearest = ((x[:, None] - centers) ** 2).sum(axis=-1).argmin(axis=1)
    assert_array_equal(y, nearest % 2)
    assert (x - centers[nearest]).std() == pytest.approx(0.35, rel=0.05)


def test_a_test_set_of_clusters_has_the_same_centres():
    (xa, ya), (xb, yb) = (map(to_numpy, datasets.clusters(rng=rng(i))) for i in (0, 1))
    nearest = ((xb[:, None] - xa) ** 2).sum(axis=-1).argmin(axis=1)
    assert (ya[nearest] == yb).mean() > 0.95


def test_xor_is_beyond_an_affine_map():
    x, y = map(to_numpy, datasets.xor())
    design = np.c_[x, np.ones(4)]
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(0.25)


def test_spirals_without_noise_lie_on_their_arms():
    x, y = map(to_numpy, datasets.spirals(rng=rng(), num_classes=3, turns=2, noise=0))
    radius = np.hypot(x[:, 0], x[:, 1])
    angle = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi)
    turn = (angle - 2 * radius - y / 3) % 1
    assert_allclose(np.minimum(turn, 1 - turn), 0, atol=1e-9)


def test_moons_without_noise_are_half_circles():
    x, y = map(to_numpy, datasets.moons(rng=rng(), noise=0))
    center = np.stack([y, y / 2], axis=1)
    assert_allclose(np.hypot(*(x - center).T), 1)
    assert_array_equal(x[:, 1] - y / 2 >= 0, y == 0)


def test_curve(created):
    x, y = map(to_numpy, datasets.curve(np.abs, 5, -2, 2))
    assert_array_equal(x, [[-2], [-1], [0], [1], [2]])
    assert_array_equal(y, abs(x))


# Text ---------------------------------------------------------------------------------------


def test_the_text_is_that_of_the_novel():
    file = resources.files(datasets).joinpath("pride_and_prejudice.txt")
    text = file.read_text("ascii")
    assert len(file.read_bytes()) == len(text) == 190_786
    assert text.startswith(
        "Chapter 1\nIt is a truth universally acknowledged, that a single man in possession of a "
        "good fortune, must be in want of a wife.\n"
    )
    assert re.findall(r"^Chapter (\d+)$", text, re.M) == [str(i) for i in range(1, 20)]
    assert text.endswith("coquetry of an elegant female.\n")
    assert not re.search(r"  |\n\n| \n|\n |gutenberg", text.lower())
    # one in eight letters of English is an e; the whole text is prose, not a list
    letters = re.sub("[^a-z]", "", text.lower())
    assert letters.count("e") / len(letters) == pytest.approx(0.127, abs=0.003)


@pytest.mark.parametrize("name", ["digits.npz", "pride_and_prejudice.txt"])
def test_every_file_has_a_source_and_a_licence(name):
    notes = resources.files(datasets).joinpath("README.md").read_text("utf-8")
    _, note = notes.split(f"## `{name}`\n")
    note = note.split("\n## ")[0]
    assert "- Source: " in note
    assert "- Licence: " in note


def check_characters(**options):
    """Hold the windows to the text: in order, the targets one further, nothing in both sets."""
    text = resources.files(datasets).joinpath("pride_and_prejudice.txt").read_text("ascii")
    t = options.get("t", 64)
    train, validation, vocabulary = datasets.characters(**options)
    assert vocabulary == "".join(sorted(set(text)))
    places = []
    for (x, y), step in ((train, options.get("stride", t)), (validation, t)):
        x, y = to_numpy(x), to_numpy(y)
        assert x.shape == y.shape
        assert x.shape[1] == t
        assert x.dtype == y.dtype == np.int64
        assert_array_equal(x[:, 1:], y[:, :-1])
        found = text.find(datasets.decode([*x[0], y[0, -1]], vocabulary))
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            window = text[found + i * step :][: t + 1]
            assert datasets.decode([*a, b[-1]], vocabulary) == window
        places.append((found, found + (len(x) - 1) * step + t + 1))
    (start, end), (later, last) = places
    cut = len(text) - round(options.get("validation", 0.1) * len(text))
    assert start == 0
    assert end <= cut == later
    assert cut - end < options.get("stride", t)
    assert len(text) - last < t


@pytest.mark.parametrize(
    "options",
    [{}, {"t": 10}, {"t": 100, "stride": 25}, {"t": 7, "stride": 50}, {"validation": 0.3}],
    ids=str,
)
def test_characters(created, options):
    check_characters(**options)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, t, s: (array(a[: len(a) // t * t].reshape(-1, t)),) * 2,
        lambda a, t, s: windows(a[::-1].copy(), t, s),
        lambda a, t, s: windows(a, t, 1),
        lambda a, t, s: tuple(w[:-1] for w in windows(a, t, s)),
    ],
    ids=["target is the input", "backwards", "stride ignored", "last window lost"],
)
def test_wrong_windows_are_caught(monkeypatch, wrong):
    monkeypatch.setattr(text_module, "_windows", wrong)
    with pytest.raises(AssertionError):
        check_characters(t=50)


@given(text=st.text("ab c\n", max_size=20))
def test_decoding_undoes_encoding(text):
    indices = datasets.encode(text, "\n abc")
    assert tuple(indices.shape) == (len(text),)
    assert datasets.decode(indices, "\n abc") == text


def test_encoding_follows_the_backend(created):
    indices = datasets.encode("cab", "abc")
    assert isinstance(indices, type(array(1.0 * np.ones(1))))
    assert_array_equal(to_numpy(indices), [2, 0, 1])
    assert datasets.decode(indices, "abc") == "cab"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.split((np.ones((4, 1)), np.ones(3)), rng()), "as many y as x; got 3 and"),
        (lambda: datasets.split((np.ones((4, 1)), np.ones(4)), rng(), 1.5), "both sides of 4; got"),
        (lambda: datasets.characters(0), "t must be a positive number of characters; got 0"),
        (lambda: datasets.characters(stride=0), "stride must be a positive number .* got 0"),
        (
            lambda: datasets.characters(validation=0),
            "validation must leave a window of 64 .* got 0",
        ),
        (lambda: datasets.characters(validation=1), "on both sides of 190786; got 1"),
        (lambda: datasets.characters(validation=-1), "on both sides of 190786; got -1"),
        (lambda: datasets.characters(100_000), "validation must leave a window of 100000"),
        (lambda: datasets.encode("abc", "ab"), "text must consist of characters .* got 'c'"),
        (lambda: datasets.decode([0, 2], "ab"), "indices must be 0 to 1; got 2"),
        (lambda: datasets.decode([-1], "ab"), "indices must be 0 to 1; got -1"),
        (lambda: datasets.decode([[0]], "ab"), r"indices must have shape \(t,\); got \(1, 1\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
