"""Run a program that dies with its parent: `python tether.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT …]`.

It becomes the program, so the caller's child keeps its pid. Linux only: elsewhere nothing ties the two.
A script of its own, because code between fork and exec of a threaded process may deadlock (and Python 3.12 warns).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)
KEEP = -1


def main() -> None:
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if uid != KEEP:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if prctl:
        prctl(PR_SET_PDEATHSIG, death_signal)  # last: the kernel forgets it when the user changes
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execvp(sys.argv[5], sys.argv[5:])  # noqa: S606 - the program and its arguments are the caller's


if __name__ == "__main__":
    main()
