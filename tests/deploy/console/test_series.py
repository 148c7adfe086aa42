"""Samples of metrics: values, rates and quantiles over the scrapes of the last minutes."""

from deploy.console.observation.series import KEPT_SECONDS, Series


def scraped(*pages: tuple[float, str]) -> Series:
    series = Series()
    for at, text in pages:
        series.add(text, at=at)
    return series


def test_a_rate_is_the_increase_within_the_window_and_a_restart_counts_as_none() -> None:
    counter = '# TYPE events_total counter\nevents_total{topic="orders"} %d\n'
    series = scraped((0, counter % 10), (10, counter % 30), (20, counter % 30), (30, counter % 5))
    assert series.rate("events_total", window_seconds=30) == 20 / 30
    assert series.rate("events_total", window_seconds=10, topic="orders") == 0
    assert series.rate("events_total", topic="users") == 0


def test_a_series_that_begins_within_the_window_began_at_zero() -> None:
    empty, first = "other 1\n", "events_total 6\nother 1\n"
    assert scraped((0, empty), (10, first)).rate("events_total") == 0.6


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    buckets = 'delay_bucket{le="0.1"} %d\ndelay_bucket{le="1"} %d\ndelay_bucket{le="+Inf"} %d\n'
    series = scraped((0, buckets % (0, 0, 0)), (10, buckets % (90, 99, 100)))
    assert [series.quantile("delay", q) for q in (0.5, 0.95, 1.0)] == [0.1, 1.0, float("inf")]
    assert scraped((0, buckets % (1, 1, 1)), (10, buckets % (1, 1, 1))).quantile("delay", 0.5) is None


def test_what_the_last_scrape_lacks_has_no_value_and_what_is_old_is_dropped() -> None:
    series = scraped((0, 'lag{consumer="a"} 3\nlag{consumer="b"} 4\n'), (2, 'lag{consumer="a"} 5\n'))
    assert (series.latest("lag"), series.latest("lag", consumer="b")) == (5, None)
    series.add("other 1\n", at=KEPT_SECONDS + 3)
    series.add('lag{consumer="a"} 6\n', at=KEPT_SECONDS + 5)
    ((_, points),) = series.current("lag")
    assert [(point.at, point.value) for point in points] == [(KEPT_SECONDS + 5, 6)]


def test_a_long_run_of_equal_values_needs_two_points() -> None:
    series = scraped(*((second, "size 7\n") for second in range(100)), (100, "size 8\n"))
    ((_, points),) = series.current("size")
    assert [(point.at, point.value) for point in points] == [(0, 7), (99, 7), (100, 8)]
