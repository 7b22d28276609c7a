"""Kubernetes' expansion of ``$(NAME)`` in commands, arguments and environment values, as its API reference describes it.

``$(NAME)`` becomes the variable's value when it is known and stays as it is when it is not; ``$$`` becomes ``$`` and keeps what
follows from being looked at, so ``$$(NAME)`` gives ``$(NAME)``. Every other ``$`` is itself. Values are expanded in order, each
with those before it.
"""

from typing import Any


def expand(text: str, known: dict[str, str]) -> str:
    out, place = [], 0
    while place < len(text):
        char = text[place]
        following = text[place + 1 : place + 2]
        if char == "$" and following == "$":
            out.append("$")
            place += 2
        elif char == "$" and following == "(" and (end := text.find(")", place)) >= 0:
            name = text[place + 2 : end]
            out.append(known[name] if name in known else text[place : end + 1])
            place = end + 1
        else:
            out.append(char)
            place += 1
    return "".join(out)


def process_of(container: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """(command line, environment) that the container's process gets."""
    env: dict[str, str] = {}
    for variable in container.get("env", []):
        env[variable["name"]] = expand(variable["value"], env)
    return [expand(part, env) for part in [*container.get("command", []), *container.get("args", [])]], env
