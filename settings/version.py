"""The version of this code, written here alone.

The wheel, `bin/vc --version` and the OpenAPI descriptions read it. A release is the commit that git's tag `v` and this
version names: see CONTRIBUTING.md.
"""

VERSION = "0.1.0"
