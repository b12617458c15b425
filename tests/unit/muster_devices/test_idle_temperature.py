from muster_devices.idle_temperature import KEPT_S, IdleTemperature, idle_temperature


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def learnt(*readings):
    """The idle temperature after (s, C) readings."""
    clock = Clock()
    idle = IdleTemperature(clock)
    for clock.now, celsius in readings:
        idle.observe(celsius)
    return idle.celsius


def test_nothing_is_known_before_the_first_reading():
    assert learnt() is None
    assert learnt((0, None)) is None


def test_the_lowest_calm_reading_counts():
    assert learnt((0, 45.0), (60, 41.0), (120, 58.0)) == 41.0


def test_a_reading_is_forgotten_after_six_hours_because_the_room_warms_up():
    assert learnt((0, 41.0), (60, 50.0), (KEPT_S, 46.0)) == 41.0
    assert learnt((0, 41.0), (60, 50.0), (120, 46.0), (KEPT_S + 1, 47.0)) == 46.0


def test_a_process_has_one_memory_for_each_tree(tmp_path):
    assert idle_temperature(tmp_path) is idle_temperature(tmp_path)
    assert idle_temperature(tmp_path) is not idle_temperature(tmp_path / "other")
