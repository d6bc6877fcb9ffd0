"""Named streams of random numbers, so that taking one regularizer away leaves every other draw as it was."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping

import torch


class Streams:
    """Independent generators by name, all derived from one seed.

    Args:
        seed: the run's seed.
        device: where the generators draw. The same seed gives other draws on another kind of device.

    A name always gives the same stream, whatever other streams exist or were drawn from.

    Raises:
        ValueError: the seed is not an integer.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        try:
            self.seed = operator.index(seed)  # 1.0 would draw other numbers than 1
        except TypeError:
            raise ValueError(f"seed: given {seed!r}, expected an integer") from None
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        if name not in self._generators:
            digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
            # 63 bits: manual_seed takes a signed 64-bit number
            seed = int.from_bytes(digest[:8], "big") >> 1
            self._generators[name] = torch.Generator(self.device).manual_seed(seed)
        return self._generators[name]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Where every stream drawn from so far is: bytes on CPU, by name."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take every stream to where :meth:`state_dict` found it."""
        self._generators.clear()
        for name, position in state.items():
            self[name].set_state(position)
