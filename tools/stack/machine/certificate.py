"""Makes a certificate for this machine's own name, by the program openssl. It is its own authority, and for tests."""

import os
import subprocess
import tempfile
from pathlib import Path

DAYS = 398
# One that ends sooner is made anew.
LEFT_S = 30 * 86_400
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


class CertificateError(RuntimeError):
    """No certificate could be made. The message says why."""


def ensure_certificate(both: Path) -> Path:
    """Make a certificate and its key in one file, which its owner alone may read, unless one is there and valid.

    Returns the file beside it with the certificate alone, for clients. Raises CertificateError.
    """
    public = both.with_suffix(".crt")
    if not (public.exists() and _is_valid(both)):
        both.parent.mkdir(parents=True, exist_ok=True)
        # Only the owner may look into a temporary folder.
        with tempfile.TemporaryDirectory(dir=both.parent) as name:
            _make(Path(name), both, public)
    return public


def _make(folder: Path, both: Path, public: Path) -> None:
    key, certificate, joined = (folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"),
        *("-days", str(DAYS), "-subj", "/CN=localhost", "-addext", NAMES),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    text = certificate.read_text(encoding="ascii")
    with os.fdopen(os.open(joined, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text + key.read_text(encoding="ascii"))
    joined.replace(both)
    certificate.replace(public)


def _is_valid(both: Path) -> bool:
    if not both.exists() or both.stat().st_mode & 0o077:
        return False
    command = ["openssl", "x509", "-noout", "-checkend", str(LEFT_S), "-in", str(both)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _openssl(*arguments: str) -> None:
    try:
        made = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CertificateError(
            "openssl is missing, which makes the certificate of the balancer: apt-get install openssl"
        ) from None
    if made.returncode != 0:
        raise CertificateError(f"openssl could not make a certificate: {made.stderr.strip()}")
