from pathlib import Path

from muster_devices.boot import boot_id


def test_boot_id_is_the_kernels(plant):
    root = plant({"proc/sys/kernel/random/boot_id": "fe7af845-2a2e-4165-8320-ea528d46d801\n"})
    assert boot_id(root) == "fe7af845-2a2e-4165-8320-ea528d46d801"


def test_closed_boot_id_falls_back_to_the_boot_time(plant):
    root = plant({"proc/stat": "cpu 1 2 3\nbtime 1763629200\nprocesses 7\n"})
    assert boot_id(root) == "btime-1763629200"


def test_boot_id_of_nothing_is_empty(tmp_path: Path):
    assert boot_id(tmp_path) == ""


def test_this_machine_keeps_its_boot_id():
    assert boot_id() == boot_id() != ""
