import os
import signal

from muster_compression import cli
from muster_compression.workspace import staging


def test_sigterm_cleans_up_and_says_so(tmp_path, monkeypatch, capsys):
    def work(options):
        with staging(tmp_path / "out") as folder:
            (folder / "half.onnx").write_bytes(b"x")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "_report", work)
    assert cli.main(["report", str(tmp_path)]) == 143
    assert capsys.readouterr().err == "ended by SIGTERM; nothing half-made was left\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
