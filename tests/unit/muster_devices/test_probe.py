from muster_devices.probe import disk_free_bytes, probe_inventory
from muster_protos.codec import decode, encode
from muster_protos.model import Emulation, Inventory, Isolation, RuntimeSupport


def test_the_inventory_of_this_machine_is_complete_and_travels(tmp_path):
    runtime = RuntimeSupport("onnxruntime", "1.31.0", ("cpu",), ("onnx",))
    inventory = probe_inventory(
        "d1", "0.1.0", links=("grpc",), runtimes=(runtime,), labels={"room": "lab"}, state_dir=tmp_path
    )
    assert inventory.device_id == "d1"
    assert inventory.boot_id
    assert inventory.cores >= 1
    assert inventory.disk_free_bytes
    assert inventory.emulation is None
    assert {sensor.kind for sensor in inventory.sensors} == {"power", "temperature", "battery", "frequency", "throttle"}
    assert decode(Inventory, encode(inventory)) == inventory


def test_an_emulated_inventory_says_so(plant):
    root = plant({"proc/meminfo": "MemTotal: 8000000 kB\n"})
    emulation = Emulation("pi", ("cpu quota 25 % of one core by cgroup v1, period 5 ms",))
    inventory = probe_inventory(
        "d1", "0.1.0", root=root, emulation=emulation, emulated_memory_bytes=512 << 20, isolation=Isolation.CGROUP
    )
    assert inventory.emulation == emulation
    assert (inventory.device_class, inventory.ram_bytes, inventory.isolation) == ("pi", 512 << 20, Isolation.CGROUP)


def test_an_unknown_disk_is_none(tmp_path):
    assert disk_free_bytes(None) is None
    assert disk_free_bytes(tmp_path / "missing") is None
