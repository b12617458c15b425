"""Two living agents are told from one that was started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster_controller.core.clones import Runs, Sighting, seen_again


def walk(*run_ids: str) -> list[str]:
    """For each hello the run that it is a clone of, "" when it proves none."""
    runs, found = Runs(), []
    for run_id in run_ids:
        runs, other = seen_again(runs, Sighting(run_id, f"boot-{run_id}"))
        found.append(other.run_id if other else "")
    return found


def test_an_agent_that_is_started_again_and_again_is_no_clone() -> None:
    assert walk("a", "b", "c", "d") == ["", "", "", ""]


def test_reconnects_and_repeated_hellos_of_one_run_are_no_clone() -> None:
    assert walk("a", "a", "a") == ["", "", ""]


def test_a_run_that_speaks_after_its_successor_is_a_clone() -> None:
    assert walk("a", "b", "a") == ["", "", "b"]


def test_two_that_take_turns_are_seen_each_time() -> None:
    assert walk("a", "b", "a", "b", "a") == ["", "", "b", "a", "b"]


def test_an_agent_that_is_too_old_to_name_its_run_is_left_alone() -> None:
    assert walk("", "a", "", "b", "") == ["", "", "", "", ""]


def test_a_clone_is_found_beside_a_crash_loop_of_six() -> None:
    assert walk("a", *(f"crash-{n}" for n in range(6)), "a")[-1] == "crash-5"


@given(st.lists(st.integers(0, 50).map(str), unique=True, max_size=40))
def test_runs_that_never_come_back_never_alarm(run_ids: list[str]) -> None:
    assert not any(walk(*run_ids))


def test_the_text_names_address_and_boot() -> None:
    assert Sighting("0123456789", "boot-1", "192.0.2.7:40112").text() == "192.0.2.7:40112 (boot boot-1, run 01234567)"
