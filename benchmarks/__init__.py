"""How fast training is and in how much memory, measured; see docs/performance.md."""
