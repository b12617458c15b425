"""The fleet's identity with X.509 and Ed25519, kept in a private folder.

In scope: the CA, host and device certificates, the signing key, the admin token, their files, and whether a certificate
still counts. Not in scope: who may have a certificate (``core/join_rules.py``, ``enrolment.py``).
"""

from muster_controller.adapters.identity_x509.authenticator import StoreAuthenticator
from muster_controller.adapters.identity_x509.authority import X509Authority, open_authority
from muster_controller.adapters.identity_x509.folder import open_admin_token
from muster_controller.adapters.identity_x509.signing import Ed25519Signer, Ed25519Verifier

__all__ = [
    "Ed25519Signer",
    "Ed25519Verifier",
    "StoreAuthenticator",
    "X509Authority",
    "open_admin_token",
    "open_authority",
]
