"""Makes docs/settings.md from settings.groups: `.local/venv/bin/python docs/make_settings.py > docs/settings.md`.

Knows the shape of the model, and no single setting.
"""

from collections.abc import Iterator

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from settings import Settings
from settings.kept import OF_HISTORY, OF_STATE, variable
from tools.stack.layout import HOME_VARIABLE
from tools.stack.machine.disk import DiskLimits
from tools.stack.machine.disk import variable as disk_variable
from tools.stack.machine.environment import JAVA_OPTIONS_VARIABLE
from tools.stack.machine.ports import DEFAULT_PORTS, environment_variable

HEAD = """\
# Settings

Made from `settings/groups` by `.local/venv/bin/python docs/make_settings.py > docs/settings.md`; a test fails when
this page is out of date.

Every setting is an environment variable, `VIEW_COUNTS_<GROUP>_<FIELD>`. They are read once, when a process starts,
and checked as a whole: a value out of range, or values that do not fit each other, end the process with an error that
names the field, the value and the rule. The count job reads them where `flink run` is typed; they travel with the
job, so a change takes effect when the job is submitted anew (see [operations](operations.md)).

A `host` list or a broker list is separated by commas. Units stand at the end of a name: `_ms`, `_s`, `_bytes`, `_max`.
"""
KEPT_HEAD = """
## Kept settings

State of the count job, and history, know these by name and value, and go on under no others
([decision 39](decisions/0039-state-and-history-know-their-settings.md)). What is asked for is asked for by
`--accept-settings`.

| variable | state | history |
|---|---|---|
"""
STACK_HEAD = """
## The local stack

Of `make run` and `bin/vc` alone. No other variable of the terminal reaches a part of the stack, save for PATH, TZ, TERM
and LD_LIBRARY_PATH (`tools/stack/machine/environment.py`), and a variable that begins with `VIEW_COUNTS_` and is on no
list of this page is refused.

| variable | default | meaning |
|---|---|---|"""
STACK = (
    (HOME_VARIABLE, "`.local/stack` in the clone", "Where it keeps its data and logs."),
    (
        JAVA_OPTIONS_VARIABLE,
        "",
        (
            "Options for each of its JVMs, as JDK_JAVA_OPTIONS takes them. "
            "Where this is not set, `run` takes `-XX:TieredStopAtLevel=1`, with which they start sooner."
        ),
    ),
    (disk_variable("start_mib"), f"`{DiskLimits.start_mib}`", "It does not start with less room there, in MiB."),
    (disk_variable("warn_mib"), f"`{DiskLimits.warn_mib}`", "It says so when less is left while it runs."),
    (disk_variable("stop_mib"), f"`{DiskLimits.stop_mib}`", "It is stopped in good order when less is left."),
)
PORTS_HEAD = """
### Its ports

The local stack chooses the addresses of its parts and tells the services and the job; these variables change the
ports (`tools/stack/machine/ports.py`).

| variable | default |
|---|---|"""
DURATIONS = (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))
SIZES = (("MiB", 1 << 20), ("KiB", 1 << 10))
SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def limits(field: FieldInfo) -> str:
    """What a value must hold, as far as the field itself says."""
    found = [f"{sign} {getattr(rule, name):,}" for rule in field.metadata for kind, name, sign in SIGNS
             if isinstance(rule, kind)]  # fmt: skip
    found += [f"`{rule.pattern}`" for rule in field.metadata if getattr(rule, "pattern", None)]
    if any(isinstance(rule, MinLen) for rule in field.metadata) and not any(
        isinstance(rule, MaxLen) for rule in field.metadata
    ):
        found.append("not empty")
    return ", ".join(found)


def default(name: str, value: object) -> str:
    """The default as one would type it and, for large numbers, as one can read it."""
    if not isinstance(value, int) or value < 10_000:
        return f"`{value}`"
    units = DURATIONS if name.endswith("_ms") else SIZES if "_bytes" in name else ()
    readable = next((f"{value // size} {unit}" for unit, size in units if value % size == 0), f"{value:,}")
    return f"`{value}` ({readable})"


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield HEAD
    for group, outer in Settings.model_fields.items():
        model = outer.annotation
        assert model is not None
        yield f"## {group}\n\n{model.__doc__}\n\n| variable | default | limits | meaning |\n|---|---|---|---|"
        for name, field in model.model_fields.items():
            of = f"`{variable(f'{group}.{name}')}`"
            cells = (of, default(name, field.default), limits(field), field.description or "")
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""
    yield KEPT_HEAD.strip("\n")
    for name in dict.fromkeys((*OF_STATE, *OF_HISTORY)):
        state, history = (changes.get(name, "-") for changes in (OF_STATE, OF_HISTORY))
        yield f"| `{variable(name)}` | {state} | {history} |"
    yield ""
    yield STACK_HEAD.lstrip("\n")
    for row in STACK:
        yield f"| `{row[0]}` | {row[1]} | {row[2]} |"
    yield PORTS_HEAD
    for name, port in DEFAULT_PORTS.items():
        yield f"| `{environment_variable(name)}` | {port} |"


if __name__ == "__main__":
    print("\n".join(lines()))
