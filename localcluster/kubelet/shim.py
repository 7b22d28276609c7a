"""The parent of one container: starts it, keeps its log, enforces its memory limit, records how it ended.

Run as `python -I -S shim.py RUN_FOLDER ALIVE_FD` with the start order as JSON-free text on stdin (see `encode_order`). It
outlives the server: everything the server must know later is in RUN_FOLDER.

- `started`  "<shim pid> <container pid> <kernel start time of the container> <time ns>", written before the command runs
- `exit`     "<exit code> <signal> <oom 0|1> <time ns>", then a line of text if the command could not be started
- `log`      one line per output line: RFC 3339 time with nanoseconds, stdout|stderr, F (full) or P (partial), the bytes
- ALIVE_FD   the write end of a named pipe: one byte when the command runs and signals are understood; its closing tells
             the server that this process is gone

SIGTERM is passed on to the container's process group. SIGINT kills everything below this process. When the main process
ends, whatever it left behind is killed, unless a stop was asked for: then the rest may end by itself until SIGINT comes.

Imports only what starts fast; imports nothing of the package.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost more to import than everything else here
    from collections.abc import Callable

MAXIMUM_LINE = 16 * 1024
SAMPLE_SECONDS = 0.25
PR_SET_CHILD_SUBREAPER = 36
END_OF_ORDER = b"\0end\0"


def encode_order(argv: list[str], env: dict[str, str], cwd: str, memory_limit: int) -> bytes:
    """The start order: counts first, then NUL-separated strings, then a marker that shows it is whole."""
    parts = [str(memory_limit), cwd, str(len(argv)), *argv, *(f"{name}={value}" for name, value in env.items())]
    return "\0".join(parts).encode("utf-8", "surrogateescape") + END_OF_ORDER


def decode_order(data: bytes) -> tuple[list[bytes], dict[bytes, bytes], bytes, int]:
    if not data.endswith(END_OF_ORDER):
        raise ValueError("the start order is cut off")
    limit, cwd, count, *rest = data[: -len(END_OF_ORDER)].split(b"\0")
    argv, variables = rest[: int(count)], rest[int(count) :]
    env = dict(variable.split(b"=", 1) for variable in variables)
    return argv, env, cwd, int(limit)


def main() -> int:
    folder, alive = sys.argv[1], int(sys.argv[2])
    os.set_inheritable(alive, False)
    try:
        argv, env, cwd, limit = decode_order(sys.stdin.buffer.read())
    except ValueError:
        return 2
    os.set_blocking(alive, False)
    Shim(folder, alive).run(argv, env, cwd, limit)
    return 0


class Shim:
    def __init__(self, folder: str, alive: int) -> None:
        self.folder = folder
        self.alive = alive
        self.pid = 0
        self.failure = ""
        self.finished = 0
        self.status: int | None = None
        self.stopping = False
        self.killed = False
        self.oom = False

    def run(self, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, limit: int) -> None:
        become_subreaper()
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        log = Log(os.path.join(self.folder, "log"))
        outputs = self.start(argv, env, cwd)
        self.follow(outputs, wake_read, log, limit)
        log.close()
        self.record_exit()

    def start(self, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes) -> dict[int, str]:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        go_read, go_write = os.pipe()
        fail_read, fail_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(go_write)
            run_command(argv, env, cwd, out_write, err_write, go_read, fail_write)
        for descriptor in (out_write, err_write, go_read, fail_write):
            os.close(descriptor)
        record = f"{os.getpid()} {self.pid} {start_time(self.pid)} {time.time_ns()}\n"
        write_record(os.path.join(self.folder, "started"), record)
        os.write(go_write, b"g")
        os.close(go_write)
        failure = os.read(fail_read, 4096)
        os.close(fail_read)
        if failure:
            self.failure = failure.decode("utf-8", "replace")
        else:
            tell(self.alive)
        return {out_read: "stdout", err_read: "stderr"}

    def follow(self, outputs: dict[int, str], wake: int, log: Log, limit: int) -> None:
        poll = select.poll()
        for descriptor in (*outputs, wake):
            poll.register(descriptor, select.POLLIN)
        next_sample = time.monotonic() + SAMPLE_SECONDS
        while outputs or self.status is None:
            timeout = max(next_sample - time.monotonic(), 0) * 1000 if limit and self.status is None else None
            for descriptor, _ in poll.poll(timeout):
                if descriptor == wake:
                    self.handle_signals(os.read(wake, 512))
                elif not self.copy(descriptor, outputs[descriptor], log):
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    del outputs[descriptor]
            if limit and self.status is None and time.monotonic() >= next_sample:
                self.sample(limit)
                next_sample = time.monotonic() + SAMPLE_SECONDS
        self.kill_tree()

    def copy(self, descriptor: int, stream: str, log: Log) -> bool:
        data = os.read(descriptor, 65536)
        log.write(stream, data)
        return bool(data)

    def handle_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers:
            self.stopping = True
            signal_group(self.pid, signal.SIGTERM)
        if signal.SIGINT in numbers:
            self.killed = True
            self.kill_tree()
        self.reap()

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status
                self.finished = time.time_ns()
                if not self.stopping:
                    self.kill_tree()

    def kill_tree(self) -> None:
        """SIGKILL to all processes below; again until no new ones appear, as they may be forking."""
        for _ in range(100):
            if self.status is None or self.stopping:
                signal_group(self.pid, signal.SIGKILL)
            below = descendants(os.getpid())
            if not below:
                return
            for pid in below:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
            time.sleep(0.002)
            self.reap_quietly()

    def reap_quietly(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status, self.finished = status, time.time_ns()

    def sample(self, limit: int) -> None:
        pids = descendants(os.getpid())
        if sum(resident(pid) for pid in pids) <= limit:
            return
        # Forked workers share pages; the proportional size counts each page once, but costs more to read.
        if sum(proportional(pid) for pid in pids) > limit:
            self.oom = True
            self.kill_tree()

    def record_exit(self) -> None:
        status = self.status if self.status is not None else 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 128 + number if number else os.WEXITSTATUS(status)
        text = f"{code} {number} {int(self.oom)} {self.finished or time.time_ns()}\n{self.failure}"
        write_record(os.path.join(self.folder, "exit"), text)


class Log:
    """Appends output to the log file line by line; memory is bounded by one line per stream."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.rest = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Add output; empty data is the stream's end."""
        now = time.time_ns()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
        head = f"{moment}.{now % 10**9:09d}Z {stream} ".encode()
        full, partial = head + b"F ", head + b"P "
        lines = (self.rest[stream] + data).split(b"\n")
        rest = lines.pop()
        records = []
        for line in lines:
            while len(line) > MAXIMUM_LINE:
                records.append(partial + line[:MAXIMUM_LINE])
                line = line[MAXIMUM_LINE:]
            records.append(full + line)
        while len(rest) >= MAXIMUM_LINE or (rest and not data):
            records.append(partial + rest[:MAXIMUM_LINE])
            rest = rest[MAXIMUM_LINE:]
        self.rest[stream] = rest
        if records:
            self.append(b"\n".join(records) + b"\n")

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except OSError:
                return  # a full disk must not stop the container

    def close(self) -> None:
        os.close(self.descriptor)


def run_command(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, out: int, err: int, go: int, fail: int) -> None:
    """In the forked child: wait for the start record, then become the command. Never returns."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        if os.read(go, 1) != b"g":
            os._exit(1)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(fail, f"{error.strerror}: {os.fsdecode(error.filename or argv[0])}".encode())
    os._exit(127)


def tell(pipe: int) -> None:
    try:
        os.write(pipe, b"s")
    except OSError:
        return  # nobody reads: the server is away and will look at the records


def write_record(path: str, text: str) -> None:
    temporary = path + ".tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, text.encode("utf-8", "replace"))
    os.close(descriptor)
    os.rename(temporary, path)


def signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        return


def become_subreaper() -> None:
    """Orphans below us become our children, so none can escape by daemonising. Linux only; else the group must do."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_time(pid: int) -> str:
    """The kernel's start time of a process, which with the pid identifies it for good; "0" where unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return "0"


def descendants(root: int) -> list[int]:
    """All living processes below `root`."""
    children_of = listed_children if os.path.exists(f"/proc/{root}/task/{root}/children") else scanned_children()
    found, queue = [], [root]
    while queue:
        below = children_of(queue.pop())
        found += below
        queue += below
    return found


def listed_children(pid: int) -> list[int]:
    """The kernel's own list; zombies that nobody waited for yet are in it too, and are left out."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:
        return [child for child in found if living_parent(child)]
    return [child for child in found if living_parent(child)]


def scanned_children() -> Callable[[int], list[int]]:
    """For kernels without that list: one pass over /proc answers for every process."""
    children: dict[int, list[int]] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in names:
        parent = living_parent(int(name)) if name.isdigit() else 0
        if parent:
            children.setdefault(parent, []).append(int(name))
    return lambda pid: children.get(pid, [])


def living_parent(pid: int) -> int:
    """The parent's pid, 0 for a zombie or no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[1])


def resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return resident(pid)
    return 0


if __name__ == "__main__":
    sys.exit(main())
