"""Reads secrets and certificates from the files that settings name. Knows no setting.

A file is read when a client is made, in the process that needs it. So a secret is in no environment, no argument and no
job graph.
"""

from pathlib import Path


class SecretFileError(RuntimeError):
    """A file of a secret or a certificate cannot be used. The text names setting, path and remedy, not the content."""


def readable(setting: str, path: str) -> str:
    """The path of a file, for a library that reads it by itself and whose errors would not name it.

    `setting` is for errors, as GROUP.FIELD. Raises SecretFileError.
    """
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise _unreadable(setting, path, error) from error


def read_secret(setting: str, path: str) -> str:
    """The content of a file. `setting` is for errors, as GROUP.FIELD. Raises SecretFileError.

    A line break is refused and not removed, because Java's clients take the content as it is.
    """
    place = f"{setting}={path}"
    try:
        secret = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(setting, path, error) from error
    except UnicodeDecodeError:
        # Its text would quote bytes of the secret.
        raise SecretFileError(f"{place} is not UTF-8; write the secret as text") from None
    if not secret:
        raise SecretFileError(f"{place} is empty; write the secret into it")
    if not secret.isprintable():
        raise SecretFileError(
            f"{place} has a line break or another control character; write the secret alone, for example by "
            f"printf %s, which ends no line"
        )
    return secret


def _unreadable(setting: str, path: str, error: OSError) -> SecretFileError:
    return SecretFileError(
        f"{setting}={path} cannot be read ({error.strerror}); mount the file there, readable for this user"
    )
