"""A process that has imported torch and the toolkit once, and forks a child for every call that it is told to make.

It forks before any thread is started, so a child is as a process of its own is after its imports. Client and server
talk in lines of JSON: a call goes in; its pid, what the child itself writes into `SAYS`, and its exit code come out.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(_TESTS), str(_TESTS.parent), str(_TESTS.parent / "plugins")]
_TICKS = os.sysconf("SC_CLK_TCK")
SAYS = 3
"""File descriptor of a child for lines to the client."""


class Gone(Exception):
    """The server itself has ended."""


class Forks:
    """Client of one server; a context that ends it."""

    def __init__(self, preload: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        """preload: modules to import before the first fork. log: takes the server's stderr. env: all variables."""
        path = os.pathsep.join(PATHS)
        begin = "import os; os.dup2({}, {}); import hardening.forks as forks; forks.serve()"
        reading, writing = os.pipe()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", begin.format(writing, SAYS)],
                stdin=subprocess.PIPE,
                stderr=errors,
                pass_fds=[writing],
                env={**env, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        os.close(writing)
        self._from, self._rest = reading, b""
        self._lines: list[str] = []
        self.pid = 0
        self._send(list(preload))

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        os.close(self._from)

    def call(self, function: str, *arguments: Any, **where: Any) -> None:
        """Let a child call "module:function"; `cwd`, `env` (more variables), `out` and `err` (files) are set before."""
        self._send({"function": function, "arguments": arguments, **where})
        self.pid = int(self._line(None) or 0)

    def says(self, quiet: float) -> Iterator[Any]:
        """Yield what the child says until it ends, its exit code last.

        The code is that of `subprocess`: negative for a signal. None comes in place of it where the child has had so
        many seconds of the processor without a word, or ten times as many on the clock, and is ended for it.
        """
        while (line := self._word(quiet)) is not None:
            said = json.loads(line)
            yield said["code"] if isinstance(said, dict) else said
            if isinstance(said, dict):
                self.pid = 0
                return
        self.end()
        yield None

    def _word(self, quiet: float) -> str | None:
        begun, used = time.monotonic(), seconds_of(self.pid)
        while (line := self._line(time.monotonic() + 0.5)) is None:
            if seconds_of(self.pid) - used > quiet or time.monotonic() - begun > 10 * quiet:
                return None
        return line

    def wait(self, seconds: float) -> int | None:
        """Return the exit code of the child, None if it still runs after so many seconds."""
        line = self._line(time.monotonic() + seconds)
        if line is None:
            return None
        self.pid = 0
        return int(json.loads(line)["code"])

    def end(self, alone: bool = False) -> None:
        """Kill the child with all its group, or alone, and wait for its end."""
        if self.pid:
            with suppress(ProcessLookupError):  # it has just ended
                (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)
            while isinstance(line := self._line(None), str) and not line.startswith("{"):
                pass
            self.pid = 0

    def _send(self, said: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self, until: float | None) -> str | None:
        while not self._lines:
            wait = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._from], [], [], wait)[0]:
                return None
            data = os.read(self._from, 1 << 16)
            if not data:
                raise Gone("the fork server has ended")
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.decode() for line in whole]
        return self._lines.pop(0)


def seconds_of(pid: int) -> float:
    """Return the seconds of the processor that a process has had; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def serve() -> None:
    """Import what the first line names, then make the calls of the others, one after the other."""
    for name in json.loads(sys.stdin.readline()):
        importlib.import_module(name)
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise RuntimeError(f"{threads} threads: a fork would not be like a process of its own")
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(asked)
        status = os.waitpid(pid, 0)[1]
        _say({"code": os.waitstatus_to_exitcode(status)})


def _say(what: Any) -> None:
    os.write(SAYS, json.dumps(what).encode() + b"\n")


def say(what: Any) -> None:
    """Say something other than a mapping to the client."""
    _say(what)


def _child(asked: dict[str, Any]) -> None:
    code = 70
    try:
        os.setsid()
        _say(os.getpid())
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        for place, name in ((1, "out"), (2, "err")):
            file = asked.get(name)
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if file else nothing, place)
        os.chdir(asked.get("cwd") or ".")
        os.environ.update(asked.get("env") or {})
        module, _, function = asked["function"].partition(":")
        code = getattr(importlib.import_module(module), function)(*asked["arguments"]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
