"""Our figures beside a baseline, in one run."""

from shared.stop_signals import accept_interrupts

accept_interrupts()  # `make bench &` in a script ends with SIGINT as well
