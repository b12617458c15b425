"""``python -m muster_agent.keys KEY_PATH [CHALLENGE]``: a short-lived child for the device's key and requests for it.

``cryptography`` costs 10 MiB, so the agent itself never imports it. The key never leaves the device: a key that exists
is kept (joining twice is the same device), and only the certificate request is printed, as PEM on standard output. With
CHALLENGE (base64) the request holds it, so that its signature proves the key at this moment; no key is made then.
"""

from __future__ import annotations

import sys
from pathlib import Path

from muster_devices.durable import replace_file


def main(arguments: list[str]) -> int:
    """Returns 0, or 1 with one line on standard error."""
    if len(arguments) not in (1, 2):
        print("expected the path of the key and perhaps a challenge", file=sys.stderr)
        return 2
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        print("expected the package cryptography, found none; pip install cryptography", file=sys.stderr)
        return 1
    path, challenge = Path(arguments[0]), arguments[1] if len(arguments) == 2 else ""
    try:
        if not path.exists() and not challenge:
            _make_key(path)
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        print(f"expected a key at {path}, found: {error}", file=sys.stderr)
        return 1
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        print(f"expected a P-256 key at {path}, found another kind; move it away and join again", file=sys.stderr)
        return 1
    sys.stdout.write(_request(key, challenge).decode())
    return 0


def _make_key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace_file(path, pem)


def _request(key: object, challenge: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import AttributeOID, NameOID

    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("expected a P-256 key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "muster device")])  # the fleet's CA decides the id
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
