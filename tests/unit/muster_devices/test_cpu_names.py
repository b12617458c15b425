from muster_devices.cpu_names import cpu_model


def _arm(*parts, implementer="0x41"):
    blocks = (f"processor\t: {n}\nCPU implementer\t: {implementer}\nCPU part\t: {p}\n" for n, p in enumerate(parts))
    return "\n".join(blocks)


def test_x86_says_its_name_once(plant):
    block = "processor\t: {}\nmodel name\t: AMD EPYC\nflags\t\t: fpu\n\n"
    assert cpu_model(plant({"proc/cpuinfo": block.format(0) + block.format(1)})) == "AMD EPYC"


def test_raspberry_pi_5_is_named_by_its_part_number(plant):
    assert cpu_model(plant({"proc/cpuinfo": _arm("0xd0b", "0xd0b", "0xd0b", "0xd0b")})) == "Cortex-A76"


def test_big_little_names_each_kind_of_core(plant):
    assert cpu_model(plant({"proc/cpuinfo": _arm("0xd05", "0xd05", "0xd41", "0xd44")})) == (
        "Cortex-A55 + Cortex-A78 + Cortex-X1"
    )


def test_unknown_arm_core_keeps_its_numbers(plant):
    assert cpu_model(plant({"proc/cpuinfo": _arm("0xfff", implementer="0x99")})) == "ARM implementer 0x99 part 0xfff"


def test_no_cpuinfo_is_an_empty_name(tmp_path):
    assert cpu_model(tmp_path) == ""
