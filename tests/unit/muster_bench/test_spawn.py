import os

from muster_bench.spawn import child_environment


def test_a_child_gets_no_secret_of_its_parents_environment():
    own = {"PATH": "/bin", "MUSTER_TOKEN": "s", "AWS_SECRET_ACCESS_KEY": "s", "LC_ALL": "C", "PYTHONWARNINGS": "error"}
    assert child_environment(own) == {"PATH": "/bin", "LC_ALL": "C", "OPENBLAS_NUM_THREADS": "1"}


def test_relative_import_paths_become_absolute_because_the_child_starts_elsewhere():
    found = child_environment({"PYTHONPATH": f"src{os.pathsep}/lib"})["PYTHONPATH"].split(os.pathsep)
    assert found == [os.path.join(os.getcwd(), "src"), "/lib"]  # noqa: PTH109, PTH118
