"""``python -m muster_agent.claim``: a short-lived child that puts a join link's claim together.

Reads ``{"secret", "fleet_id", "ends_s", "signature"}`` as JSON from standard input, since arguments show in process
lists, and prints certificate and key as PEM. ``cryptography`` costs 10 MiB, so the agent itself never imports it.
"""

from __future__ import annotations

import json
import sys

from muster_protos.errors import MusterError


def main() -> int:
    """Returns 0, or 1 with one line on standard error."""
    try:
        from muster_protos.broker_join import claim_certificate

        fields = json.load(sys.stdin)
        certificate, key = claim_certificate(
            str(fields["secret"]), str(fields["fleet_id"]), int(fields["ends_s"]), str(fields["signature"])
        )
    except ImportError:
        print("expected the package cryptography, found none; pip install cryptography", file=sys.stderr)
        return 1
    except (MusterError, ValueError, KeyError, OverflowError, OSError) as error:
        print(f"expected a join link over a broker, found: {error}", file=sys.stderr)
        return 1
    sys.stdout.write((certificate + key).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
