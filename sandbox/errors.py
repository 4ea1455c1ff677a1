"""What can go wrong while the local world is started. Each text says which part, why, and what to do."""

from shared.errors import PipelineError


class SandboxError(PipelineError):
    """A local part could not be had, started, or used."""

    code = "sandbox"


class PortTakenError(SandboxError):
    code = "port_taken"
