"""The errors a user can cause or must be told about, each one clear message."""


class InputError(Exception):
    """Something the user gave cannot be used; the message names the file, key and value, and what is allowed."""


class ConfigError(InputError):
    """A configuration holds an unknown key, a wrong type or an impossible value."""


class CorpusError(InputError):
    """A corpus is missing, damaged, undecodable, empty, or too small for what is asked of it."""


class DeviceError(InputError):
    """The device asked for does not exist here."""


class DivergedError(Exception):
    """A loss became NaN or infinite.

    Args:
        phase: ``train`` or ``finetune``.
        epoch: epoch within the phase, from 1.
        step: minibatch within the epoch, from 1; ``None`` when it showed in validation.
    """

    def __init__(self, phase: str, epoch: int, step: int | None) -> None:
        self.phase, self.epoch, self.step = phase, epoch, step
        where = f"step {step}" if step is not None else "validation"
        super().__init__(f"loss not finite in phase {phase}, epoch {epoch}, {where}")

    def __reduce__(self) -> tuple[type, tuple[str, int, int | None]]:
        return type(self), (self.phase, self.epoch, self.step)
