"""The fast engine: the LSTM and the softmax written for speed. Measurements and limits: docs/performance.md."""
