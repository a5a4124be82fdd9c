"""Charts: whatever the numbers and the words, a valid drawing within its frame, and a table that adds up."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.charts import distribution, numbers, small, timeline
from superimap.charts.drawing import Chart, Series, Texture

START = datetime(2026, 11, 28, 21, 7, tzinfo=UTC)
BOUNDS = (0.005, 0.05, 1.0, 60.0, 86400.0)
HOSTILE = "\"'><script>alert(1)</script>\u202e\x00&"

any_number = st.floats() | st.integers(-(10**20), 10**20).map(float)
any_words = st.text("xyz<>&\"' é\u202e\x00", max_size=30) | st.just(HOSTILE)  # none is "nan"
any_series = st.builds(
    Series,
    name=any_words,
    values=st.lists(any_number, max_size=50),
    tone=st.sampled_from(["main", "good", "bad", "warn", "soft"]),
    texture=st.sampled_from(Texture),
)


def check_drawing(svg: str) -> ElementTree.Element:
    """Check that a drawing is XML without inline style, and that all numbers are finite and within the frame."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.attrib["role"] == "img" and root.attrib["aria-label"]
    for element in root.iter():
        assert not {"style", "onload", "href"} & element.attrib.keys()
        for name in {"x", "y", "d"} & element.attrib.keys():
            for found in re.findall(r"[-+.\w]+", re.sub(r"[MLHVhvz]", " ", element.attrib[name])):
                assert -1 <= abs(float(found)) <= max(width, height) + 1, element.attrib
        assert not re.search(r"\b(nan|inf)\b", (element.text or "").lower())
    return root


def column(chart: Chart, place: int) -> float:
    return sum(float(row[place].replace(",", "")) for row in chart.rows)


@given(
    st.lists(any_series, max_size=4),
    st.lists(any_series, max_size=2),
    st.sampled_from([1.0, 300.0, 86400.0]),
    st.sampled_from([numbers.short_count, numbers.duration_text]),
)
def test_a_timeline_of_any_numbers_is_a_valid_drawing(bars, lines, step, show):
    drawn = timeline.timeline(START, step, bars, key=HOSTILE, label="label" + HOSTILE, lines=lines, show=show)

    check_drawing(drawn.svg)
    assert "<script" not in drawn.svg and "\x00" not in drawn.svg and "\u202e" not in drawn.svg
    assert all(len(row) == len(drawn.headings) for row in drawn.rows)
    assert drawn.is_empty == (not any(any(each.numbers) for each in (*bars, *lines)))


@given(st.lists(any_number, max_size=8), any_words)
def test_a_distribution_of_any_numbers_is_a_valid_drawing(histogram, name):
    drawn = distribution.distribution(histogram, BOUNDS, key="k", label="l", name=name)

    check_drawing(drawn.svg)
    assert drawn.is_empty == (not any(numbers.cleaned(histogram[: len(BOUNDS) + 1])))


@given(st.lists(any_number, max_size=50), any_words, st.none() | any_number)
def test_a_small_chart_of_any_numbers_is_a_valid_drawing(values, name, top):
    check_drawing(small.sparkline(values, label=f"l{name}", top=top))
    check_drawing(small.strip(values, [name] * 3, label="l"))


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=3, max_size=20), min_size=1, max_size=3))
def test_the_table_below_a_timeline_adds_up_to_its_numbers(rows):
    series = [Series(f"s{place}", values) for place, values in enumerate(rows)]

    drawn = timeline.timeline(START, 1800, series, key="k", label="l")

    for place, values in enumerate(rows, 1):
        assert column(drawn, place) == sum(values)


@given(st.lists(st.integers(0, 10**9), max_size=6))
def test_the_table_below_a_distribution_adds_up_to_its_numbers(histogram):
    drawn = distribution.distribution(histogram, BOUNDS, key="k", label="l", name="n")

    assert column(drawn, 1) == sum(histogram)
    assert not histogram or not any(histogram) or drawn.rows[-1][2] == "100 %"


@given(any_number, st.booleans())
def test_ticks_of_values_are_round_and_reach_the_largest(largest, is_whole):
    ticks = numbers.value_ticks(largest, is_whole=is_whole)

    assert ticks[0] == 0 and ticks[-1] >= numbers.drawable(largest) * (1 - 1e-9)
    assert 2 <= len(ticks) <= numbers.TICKS_WANTED + 2
    assert not is_whole or ticks[1] >= 1


@given(st.floats(1.0, 3e8))
def test_ticks_of_time_are_round_few_and_within(seconds):
    end = START + timedelta(seconds=seconds)
    ticks = numbers.time_ticks(START, end)

    assert len(ticks) <= numbers.TIME_LABELS_WANTED + 1
    assert all(START <= tick < end and tick.second == 0 for tick in ticks)


@pytest.mark.parametrize(
    ("histogram", "share", "bound"),
    [
        ([], 0.5, None),
        ([0, 0], 0.5, None),
        ([1, 1], 0.5, 0.005),
        ([1, 2], 0.5, 0.05),
        ([0, 0, 0, 0, 0, 1], 0.5, math.inf),
        ([99, 0, 1], 0.95, 0.005),
        ([90, 0, 10], 0.95, 1.0),
    ],
)
def test_a_quantile_is_the_bound_that_holds_the_share(histogram, share, bound):
    assert numbers.quantile_bound(histogram, BOUNDS, share) == bound


@pytest.mark.parametrize(
    ("value", "count", "duration"),
    [(0, "0", "0 ms"), (0.005, "0.005", "5 ms"), (950, "950", "15.8 min"), (1200, "1.2k", "20 min"),
     (3e6, "3M", "34.7 d"), (math.nan, "0", "0 ms"), (-4, "0", "0 ms"), (math.inf, "1e+03T", "1.16e+10 d")],
)  # fmt: skip
def test_numbers_of_an_axis_are_short(value, count, duration):
    assert (numbers.short_count(value), numbers.duration_text(value)) == (count, duration)


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(1, 3, "33.3 %"), (9999, 10_000, "99.9 %"), (1, 10**6, "0.1 %"), (5, 5, "100 %"), (0, 0, "0 %")],
)  # fmt: skip
def test_a_share_is_rounded_to_neither_end(part, whole, said):
    assert numbers.share_text(part, whole) == said


def test_series_differ_without_colour_and_one_failure_among_thousands_is_seen():
    drawn = timeline.timeline(
        START,
        1800,
        [Series("delivered", [100_000], "good"), Series("failed", [1], "bad", Texture.HATCHED)],
        key="k",
        label="l",
    ).svg

    areas = re.findall(r'<path fill="url\(#k-hatched-bad\)" d="M[\d.]+ [\d.]+h[\d.]+v([\d.]+)', drawn)
    assert [float(height) >= 1 for height in areas] == [True, True]  # in the legend, and in the chart
    assert '<pattern id="k-hatched-bad"' in drawn


def test_a_line_ends_before_an_interval_that_is_not_over():
    lines = [Series("mails", [5, 5, 1], "ink")]
    drawn = {
        has_open_end: timeline.timeline(
            START, 1800, [], key="k", label="l", lines=lines, has_open_end=has_open_end
        )
        for has_open_end in (False, True)
    }

    paths = {key: re.findall(r'class="line ink" d="(M[^"]*)"', each.svg) for key, each in drawn.items()}
    assert {key: path.count("L") for key, (*_, path) in paths.items()} == {False: 2, True: 1}
    assert drawn[True].rows == drawn[False].rows
