import pytest

from jevons.gateway.arrivals import ArrivalWindow


def test_rates_are_over_the_last_minute_and_means_over_the_same_requests():
    window = ArrivalWindow(started=1_000.0)
    for second in range(120):
        window.add(1_000.0 + second, "chat", 100.0 if second < 60 else 300.0, 50.0, score_bin=19)
    said = window.message(1_119.5)["chat"]
    assert said["perSecond"] == pytest.approx(1.0)
    assert (said["inputTokens"], said["outputTokens"]) == (300.0, 50.0)
    assert window.last_arrival == 1_119.0


def test_a_ramp_is_seen_while_it_happens():
    """5/s for 15 s after silence: the minute's mean says 1.25/s, the last 15 s surely had (75 - sqrt(75)) / 15 = 4.4/s."""
    window = ArrivalWindow(started=1_000.0)
    for second in range(15):
        for _ in range(5):
            window.add(1_100.0 + second, "chat", 1.0, 1.0)
    assert window.message(1_114.5)["chat"]["perSecond"] == pytest.approx(4.4226, abs=1e-3)


def test_a_young_source_does_not_dilute_its_rate():
    window = ArrivalWindow(started=1_000.0)
    for second in range(10):
        for _ in range(5):
            window.add(1_000.0 + second, "chat", 1.0, 1.0)
    assert window.message(1_010.0)["chat"]["perSecond"] > 3.5


def test_one_lone_request_is_one_a_minute():
    window = ArrivalWindow(started=1_000.0)
    window.add(1_001.0, "chat", 1.0, 1.0)
    assert window.message(1_002.0)["chat"]["perSecond"] == pytest.approx(1 / 60, abs=1e-4)


def test_scores_fade_by_half_in_ten_minutes_and_rates_to_nothing_in_one():
    window = ArrivalWindow(started=0.0)
    for _ in range(8):
        window.add(1_000.0, "chat", 1.0, 1.0, score_bin=3)
    said = window.message(1_600.0)["chat"]
    assert said["scores"][3] == pytest.approx(4.0)
    assert (said["perSecond"], said["inputTokens"], sum(said["scores"])) == (0.0, 0.0, pytest.approx(4.0))
