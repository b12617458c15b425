"""What is done for an interpreter that does not verify files; the contract test has the rest."""

from types import SimpleNamespace

import pytest

from muster_bench.errors import ModelLoadError
from muster_bench.null_model import null_bytes
from muster_bench.runtimes import session_litert
from muster_protos.model import Format


@pytest.fixture
def loaded(monkeypatch):
    """The files that a tflite-runtime was given."""
    paths: list[str] = []

    def interpreter(model_path, **options):
        paths.append(model_path)
        raise ValueError("as far as this test goes")

    resolvers = SimpleNamespace(AUTO=0, BUILTIN_WITHOUT_DEFAULT_DELEGATES=1)
    module = SimpleNamespace(__name__="tflite_runtime.interpreter", OpResolverType=resolvers, Interpreter=interpreter)
    monkeypatch.setattr(session_litert, "import_interpreter", lambda: (module, "2.14.0"))
    return paths


def test_tflite_runtime_never_sees_a_file_whose_offsets_lead_out_of_it(loaded, tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(null_bytes(Format.TFLITE)[:20] + b"\xff" * 40)
    with pytest.raises(ModelLoadError, match=r"^litert: "):
        session_litert.LiteRtSession(path, "cpu", 1)
    assert loaded == []


def test_tflite_runtime_is_given_a_sound_file(loaded, tmp_path):
    path = tmp_path / "sound.tflite"
    path.write_bytes(null_bytes(Format.TFLITE))
    with pytest.raises(ModelLoadError, match="as far as this test goes"):
        session_litert.LiteRtSession(path, "cpu", 1)
    assert loaded == [str(path)]
