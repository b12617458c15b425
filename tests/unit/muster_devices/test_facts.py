import pytest

from muster_devices.facts import arch, available_bytes, board_model, device_facts, soc, usable_cores, usable_ram_bytes
from muster_protos.model import Emulation

_PI = {
    "etc/os-release": 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-v8\n",
    "proc/sys/kernel/arch": "aarch64\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
    "proc/self/status": "Name:\tpython3\nCpus_allowed_list:\t0-3\n",
    "proc/meminfo": "MemTotal:        1892352 kB\nMemFree:  10 kB\nMemAvailable:    1500000 kB\n",
}


def test_facts_of_a_raspberry_pi(plant):
    facts = device_facts(plant(_PI), device_id="kitchen")
    assert facts.device_id == "kitchen"
    assert facts.device_class == "pi"
    assert facts.soc == "bcm2711"
    assert facts.cpu_model == "Cortex-A72"
    assert facts.cores == 4
    assert facts.ram_bytes == 1892352 * 1024
    assert facts.os == "Debian GNU/Linux 12 (bookworm)"
    assert facts.kernel == "6.6.51+rpt-rpi-v8"


def test_facts_of_a_jetson(plant):
    root = plant(
        {
            "sys/firmware/devicetree/base/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "sys/firmware/devicetree/base/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
            "dev/nvhost-gpu": "",
        }
    )
    facts = device_facts(root)
    assert (facts.device_class, facts.soc, facts.accelerator) == ("jetson", "tegra234", "NVIDIA Tegra GPU")


def test_facts_of_a_phone_in_termux(plant):
    facts = device_facts(plant({"system/build.prop": ""}))
    assert (facts.device_class, facts.os) == ("phone", "Android")


def test_an_unknown_machine_is_generic_and_its_memory_unknown(plant):
    facts = device_facts(plant({"etc/os-release": "PRETTY_NAME=Void\n"}))
    assert (facts.device_class, facts.ram_bytes, facts.accelerator) == ("generic", None, "")


def test_an_emulated_device_has_the_profiles_class_and_memory_but_the_hosts_name(plant):
    facts = device_facts(plant(_PI), emulation=Emulation("phone", ("how",)), emulated_memory_bytes=512 << 20)
    assert (facts.device_class, facts.ram_bytes, facts.cpu_model) == ("phone", 512 << 20, "Cortex-A72")


def test_emulation_never_adds_memory(plant):
    facts = device_facts(plant(_PI), emulation=Emulation("jetson"), emulated_memory_bytes=1 << 40)
    assert facts.ram_bytes == 1892352 * 1024


@pytest.mark.parametrize(("allowed", "quota", "cores"), [("0-3", "max", 4), ("0-3", "150000", 2), ("0,2", "max", 2)])
def test_cores_respect_affinity_and_quota(plant, allowed, quota, cores):
    root = plant(
        {
            **_PI,
            "proc/self/status": f"Cpus_allowed_list:\t{allowed}\n",
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/cpu.max": f"{quota} 100000\n",
        }
    )
    assert usable_cores(root) == cores


def test_a_quarter_of_a_core_is_one_core(plant):
    root = plant(
        {
            **_PI,
            "proc/self/cgroup": "1:cpu:/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1250\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "5000\n",
        }
    )
    assert usable_cores(root) == 1


def test_memory_is_the_control_groups_when_that_is_less(plant):
    root = plant(
        {
            **_PI,
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/memory.max": "1000000\n",
            "sys/fs/cgroup/memory.current": "400000\n",
        }
    )
    assert usable_ram_bytes(root) == 1_000_000
    assert available_bytes(root) == 600_000


def test_board_and_soc_of_a_pc(plant):
    root = plant({"sys/class/dmi/id/product_name": "ThinkPad X1\n"})
    assert (board_model(root), soc(root)) == ("ThinkPad X1", "")


def test_arch_comes_from_the_tree(plant):
    assert arch(plant({"proc/sys/kernel/arch": "x86_64\n"})) == "x86_64"


def test_this_machine_has_cores_and_memory():
    facts = device_facts()
    assert facts.cores >= 1
    assert facts.ram_bytes is not None
    assert facts.ram_bytes > 64 << 20
