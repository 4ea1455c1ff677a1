"""Errors while the local world is started. Each text names the part, the reason and the remedy."""

from shared.errors import PipelineError


class SandboxError(PipelineError):
    """A part of the local world could not be installed, started or used."""

    code = "sandbox"


class PortTakenError(SandboxError):
    code = "port_taken"
