"""The environment of every process of the stack: what it may inherit from whoever types, and nothing else.

A list of what is let through, since nobody can list all that a JVM, an SDK, a broker or Python takes from a forgotten
variable: a proxy for addresses of this machine, another Flink's folders, options of a debugger, a locale in which an i
has no dot. Knows names of variables only, starts nothing.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from tools.stack.layout import repository

PREFIX = "VIEW_COUNTS_"
# Options for all of the stack's JVMs; Java's own variables are not let through.
JAVA_OPTIONS_VARIABLE = "VIEW_COUNTS_STACK_JAVA_OPTIONS"
# Where commands and the libraries of a Python that is not the system's are found, and in whose time logs are written.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "TZ", "TERM")
# Behind the user's own, which may lack them: Flink starts its Python workers by bash, env and tee.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# The same letters, case and file names everywhere, whatever the terminal speaks.
LOCALE = "C.UTF-8"
LOCAL_ADDRESSES = ("127.0.0.1", "localhost")


def inherited(home: Path, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every process of the stack begins with. `home` is an empty folder: no part reads the user's own files."""
    kept = {name: value for name, value in outer.items() if name in INHERITED or name.startswith(PREFIX)}
    user = user_name()
    options = outer.get(JAVA_OPTIONS_VARIABLE)
    return {
        **kept,
        "PATH": f"{outer.get('PATH') or SYSTEM_PATH}:{SYSTEM_PATH}",
        "HOME": str(home),
        # Some containers run as a number without a name; then Python's getpass finds this one.
        "USER": user,
        "LOGNAME": user,
        "LANG": LOCALE,
        "LC_ALL": LOCALE,
        # The code of this clone, wherever a part's working folder is.
        "PYTHONPATH": str(repository()),
        "PYTHONNOUSERSITE": "1",
        **({"JDK_JAVA_OPTIONS": options} if options else {}),
    }


def user_name() -> str:
    """Of whom this process runs as, as USER need not say it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def without_proxy(outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables by which a client asks addresses of this machine itself, whatever proxy is there for others."""
    listed = (outer.get("no_proxy") or outer.get("NO_PROXY") or "").split(",")
    names = [name for name in map(str.strip, listed) if name]
    value = ",".join([*names, *(address for address in LOCAL_ADDRESSES if address not in names)])
    return {"no_proxy": value, "NO_PROXY": value}
