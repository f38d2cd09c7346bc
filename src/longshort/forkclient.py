"""Forkclient: what DVC finds as `longshort` while a retraining's forkserver runs.

It hands a stage to the server and ends as the stage ended; whatever else, and whatever the server does not take, is run by
the real `longshort`. A program by itself: it is run by path, without site-packages, and imports nothing that is slow, since
every stage pays for it. The server speaks the same words with `send` and `receive`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

VARIABLE = "LONGSHORT_FORKSERVER"  # the address of who runs this stage, in the environment of the stage's command
MOST_FILES = 4


def send(channel: socket.socket, words: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send words, and open files with them."""
    data = json.dumps(words).encode()
    socket.send_fds(channel, [struct.pack("!I", len(data))], files)
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next words and files; None for words when the other end has gone."""
    head, files, _, _ = socket.recv_fds(channel, 4, MOST_FILES, socket.MSG_CMSG_CLOEXEC)
    head += _exactly(channel, 4 - len(head)) if head else b""
    data = _exactly(channel, *struct.unpack("!I", head)) if len(head) == 4 else b""
    return (json.loads(data) if data else None), files


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := channel.recv(size - len(data))):
        data += more
    return data if len(data) == size else b""


def of_our_session(channel: socket.socket) -> bool:
    """Whether the other end is a process of our session: nobody else is served, and nobody else is told our environment."""
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False


def hand_over(address: str, arguments: list[str], environment: dict[str, str]) -> int | None:
    """Let the server run a command with our files, folder and umask; how it ended (below 0: by that signal), None when it was not taken."""
    umask = os.umask(0)
    os.umask(umask)
    words = {"arguments": arguments, "folder": os.getcwd(), "environment": environment, "umask": umask}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(f"\0{address}")
            if not of_our_session(channel):
                return None
            send(channel, words, (0, 1, 2))
            if receive(channel)[0] is None:
                return None
        except OSError:
            return None
        try:
            ended, _ = receive(channel)
        except OSError:
            ended = None
    if ended is None:
        print("longshort: the process that ran this stage was ended. Run the same command again to go on.", file=sys.stderr)
        return 1
    return int(ended["code"])


def main() -> NoReturn:
    """Be `longshort`: the first argument is where this stands in PATH, the others are the command's."""
    place, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the server sees us go and ends the stage; a traceback says nothing
    environment = dict(os.environ)
    address = environment.pop(VARIABLE, None)
    folders = environment.get("PATH", "").split(os.pathsep)
    environment["PATH"] = os.pathsep.join(folder for folder in folders if folder != os.path.dirname(place))  # noqa: PTH120
    if address and arguments[:1] == ["stage"]:
        code = hand_over(address, arguments, environment)
        if code is not None and code < 0:  # who waits for us shall see the signal too
            signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
            os.kill(os.getpid(), -code)
        if code is not None:
            os._exit(abs(code))
    os.execvpe("longshort", ["longshort", *arguments], environment)


if __name__ == "__main__":
    main()
