"""The version of this distribution. Its pyproject.toml reads it here."""

VERSION = "0.1.0"
