"""The version of this code. It is written only here.

The wheel, `bin/vc --version` and the OpenAPI descriptions read it. A release is the commit with the git tag v and this
version: see CONTRIBUTING.md.
"""

VERSION = "0.1.0"
