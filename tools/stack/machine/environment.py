"""The environment of every process of the stack, which inherits only listed variables of the terminal.

There is a list of allowed variables, because nobody can list all variables that could harm a JVM, a broker or Python: a
proxy for addresses of this machine, the folders of another Flink, the options of a debugger, a locale with another case
of letters. Only computes variables; starts nothing.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from tools.stack.layout import repository

PREFIX = "VIEW_COUNTS_"
# Options for all JVMs of the stack. Java's own variables are not inherited.
JAVA_OPTIONS_VARIABLE = "VIEW_COUNTS_STACK_JAVA_OPTIONS"
# Commands, the libraries of a Python that is not the system's, and the time zone of logs.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "TZ", "TERM")
# These folders come after the user's PATH, which may lack them. Flink starts its Python workers by bash, env and tee.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# With this locale, letters, case and file names do not depend on the terminal.
LOCALE = "C.UTF-8"
LOCAL_ADDRESSES = ("127.0.0.1", "localhost")


def inherited(home: Path, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The first variables of every process of the stack. `home` is an empty folder, in place of the user's own."""
    kept = {name: value for name, value in outer.items() if name in INHERITED or name.startswith(PREFIX)}
    user = user_name()
    options = outer.get(JAVA_OPTIONS_VARIABLE)
    return {
        **kept,
        "PATH": f"{outer.get('PATH') or SYSTEM_PATH}:{SYSTEM_PATH}",
        "HOME": str(home),
        # In some containers the user has no name. Then Python's getpass finds this one.
        "USER": user,
        "LOGNAME": user,
        "LANG": LOCALE,
        "LC_ALL": LOCALE,
        # Parts import the code of this clone, whatever their working folder is.
        "PYTHONPATH": str(repository()),
        "PYTHONNOUSERSITE": "1",
        **({"JDK_JAVA_OPTIONS": options} if options else {}),
    }


def user_name() -> str:
    """The name of the user of this process, which the variable USER need not be."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def without_proxy(outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables with which a client uses no proxy for addresses of this machine."""
    listed = (outer.get("no_proxy") or outer.get("NO_PROXY") or "").split(",")
    names = [name for name in map(str.strip, listed) if name]
    value = ",".join([*names, *(address for address in LOCAL_ADDRESSES if address not in names)])
    return {"no_proxy": value, "NO_PROXY": value}
