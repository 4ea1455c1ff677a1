"""Errors while the local world is started. Each text names the part, the reason and the remedy."""

from shared.errors import ConfigurationError, PipelineError


class SandboxError(PipelineError):
    """A part of the local world could not be installed, started or used."""

    code = "sandbox"


class SettingError(SandboxError, ConfigurationError):
    """A setting keeps a part or a process from starting; no start succeeds until it is changed."""

    code = "configuration"


class PortTakenError(SettingError):
    code = "port_taken"
