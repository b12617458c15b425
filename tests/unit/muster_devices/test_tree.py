from pathlib import Path

from muster_devices.tree import exists, find, read_int, read_text


def test_text_loses_white_space_and_trailing_nul(plant):
    root = plant({"sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert read_text(root, "sys/firmware/devicetree/base/model") == "Raspberry Pi 5 Model B Rev 1.0"


def test_missing_file_and_folder_are_none(plant):
    root = plant({"sys/a/b": "1"})
    assert read_text(root, "sys/missing") is None
    assert read_text(root, "sys/a") is None


def test_no_number_is_none_and_not_zero(plant):
    root = plant({"n": "12\n", "empty": "", "word": "N/A"})
    assert read_int(root, "n") == 12
    assert read_int(root, "empty") is None
    assert read_int(root, "word") is None
    assert read_int(root, "missing") is None


def test_find_sorts_numbers_as_numbers(plant):
    root = plant({f"zone{n}/temp": "1" for n in (10, 2, 1)})
    assert list(find(root, "zone*")) == ["zone1", "zone2", "zone10"]


def test_find_below_a_missing_folder_finds_nothing(tmp_path: Path):
    assert list(find(tmp_path, "sys/class/thermal/*")) == []
    assert not exists(tmp_path, "sys")
