"""Certificates for a server and its clients, made when they are needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_OPENSSL = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def make_certificates(home: Path) -> None:
    """ca, server and client in `home`: .crt and .key each. Elliptic curves, because RSA keys take long to make."""
    config = home / "openssl.cnf"
    config.write_text(_OPENSSL)
    for name in ("ca", "server", "client"):
        signer = [] if name == "ca" else ["-CA", "ca.crt", "-CAkey", "ca.key"]
        command = ["openssl", "req", "-x509", "-config", config.name, "-extensions", name, "-subj", f"/CN=test {name}"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        done = subprocess.run(
            [*command, *key, *signer, "-days", "2", "-out", f"{name}.crt"], cwd=home, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"openssl: {done.stderr}")
