"""Run a program that dies with its parent.

As a script: `python parent_death.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT …]`. It becomes the
program, so the caller's child keeps its pid. Only Linux can tie the two; elsewhere the program
runs on. It is a script of its own because code between fork and exec of a threaded process may
deadlock (Python 3.12 warns of it).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # prctl(2)
SAME_USER = -1


def wrap(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    uid: int = SAME_USER,
    gid: int = SAME_USER,
) -> list[str]:
    """Return the command that runs `command` and sends it `death_signal` when its parent dies.

    The parent is the thread that starts it (prctl(2)). `uid` and `gid` change the user.
    """
    arguments = [os.getpid(), int(death_signal), uid, gid]
    return [sys.executable, "-I", "-S", __file__, *map(str, arguments), *command]


def main() -> None:
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if uid != SAME_USER:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if prctl:
        prctl(PR_SET_PDEATHSIG, death_signal)  # last: the kernel resets it when the user changes
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execvp(sys.argv[5], sys.argv[5:])  # noqa: S606 - the program and arguments of the caller


if __name__ == "__main__":
    main()
