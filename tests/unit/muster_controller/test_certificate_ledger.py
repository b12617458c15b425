from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from muster_controller.adapters.identity_x509.ledger import CertificateLedger
from muster_protos.errors import PermanentError


def _serials(ledger: CertificateLedger, now_s: int = 100) -> set[int]:
    return {certificate.serial for certificate in ledger.revoked(now_s)}


def test_every_certificate_of_a_revoked_device_is_revoked_and_no_later_one(tmp_path: Path) -> None:
    ledger = CertificateLedger(tmp_path / "issued")
    for serial in (1, 2):
        ledger.issued("a", serial, 1000, 100)
    ledger.issued("b", 3, 1000, 100)
    ledger.revoke("a", 100)
    ledger.issued("a", 4, 1000, 100)
    assert _serials(ledger) == {1, 2}
    assert _serials(CertificateLedger(tmp_path / "issued")) == {1, 2}


def test_expired_certificate_leaves_the_list() -> None:
    ledger = CertificateLedger()
    ledger.issued("a", 1, 500, 100)
    ledger.issued("a", 2, 1000, 100)
    ledger.revoke("a", 100)
    assert _serials(ledger, 600) == {2}


def test_torn_last_line_was_never_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "issued"
    CertificateLedger(path).issued("a", 1, 1000, 100)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:9])
    ledger = CertificateLedger(path)
    ledger.issued("a", 2, 1000, 100)
    ledger.revoke("a", 100)
    assert _serials(CertificateLedger(path)) == {1, 2}


def test_damage_elsewhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "issued"
    path.write_text('["issued", "a", "1", 1000]\nnonsense\n["revoked", "a", 1]\n')
    with pytest.raises(PermanentError, match="line 2"):
        CertificateLedger(path)


def test_long_ledger_forgets_what_has_expired_and_keeps_every_meaning(tmp_path: Path) -> None:
    path = tmp_path / "issued"
    facts = [["issued", f"d{n % 50}", format(n, "x"), 500 if n < 1100 else 1000] for n in range(1200)]
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    ledger = CertificateLedger(path)
    ledger.revoke("d1", 100)
    ledger.issued("d1", 5000, 1000, 100)
    before = _serials(ledger, 600)
    again = CertificateLedger(path, now_s=600)
    assert _serials(again, 600) == before == {1101, 1151}
    assert len(path.read_text().splitlines()) < 200
    again.revoke("d1", 700)
    assert _serials(CertificateLedger(path), 700) == {1101, 1151, 5000}


def test_line_that_a_full_disk_tore_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "issued"
    ledger = CertificateLedger(path)
    ledger.issued("a", 1, 1000, 100)
    whole = path.read_bytes()
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:7]))
        with pytest.raises(PermanentError, match="No space left"):
            ledger.issued("a", 2, 1000, 100)
    assert path.read_bytes() == whole
    ledger.issued("a", 3, 1000, 100)
    ledger.revoke("a", 100)
    assert _serials(CertificateLedger(path)) == {1, 3}


def test_ledger_does_not_grow_with_what_has_expired(tmp_path: Path) -> None:
    for ledger in (CertificateLedger(), CertificateLedger(tmp_path / "issued")):
        ledger.issued("b", 1, 10_000, 0)
        for n in range(2, 2_500):
            ledger.issued("a", n, n, n)
        ledger.revoke("b", 2_500)
        assert _serials(ledger, 2_500) == {1}
        assert ledger.count < 1_100
    assert len((tmp_path / "issued").read_text().splitlines()) < 1_100
