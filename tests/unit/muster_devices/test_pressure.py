from muster_devices.pressure import PressureReading, over_a_run, read_pressure

_LINE = "some avg10={} avg60=9.00 avg300=9.00 total=5\nfull avg10=8.00 avg60=0.00 avg300=0.00 total=0\n"


def test_some_avg10_of_each_resource(plant):
    root = plant(
        {
            "proc/pressure/cpu": _LINE.format("2.94"),
            "proc/pressure/memory": _LINE.format("0.00"),
            "proc/pressure/io": _LINE.format("0.36"),
            "proc/loadavg": "1.25 0.50 0.10 2/100 4242\n",
        }
    )
    assert read_pressure(root) == PressureReading(2.94, 0.0, 0.36, 1.25)


def test_a_kernel_without_psi_gives_none_and_the_reason(plant):
    reading = read_pressure(plant({"proc/loadavg": "0.10 0 0 1/1 1\n"}))
    assert (reading.cpu_percent, reading.load) == (None, 0.1)
    assert "no pressure information for cpu, memory, io" in reading.unavailable_reason


def test_the_record_holds_before_and_after():
    pressure = over_a_run(PressureReading(1.0, 2.0, 3.0, 4.0), PressureReading(5.0, 6.0, None, 8.0, "no io"))
    assert (pressure.cpu_before, pressure.cpu_after, pressure.io_before, pressure.io_after) == (1.0, 5.0, 3.0, None)
    assert (pressure.load_before, pressure.load_after, pressure.unavailable_reason) == (4.0, 8.0, "no io")
