"""AWD-LSTM written from its equations: NumPy in float64, a loop a layer, a time step and a gate, backprop by hand.

It knows nothing of the package: weights are arrays under the names of a state dict; masks are any object with the
attributes ``embedding``, ``input``, ``hidden``, ``output`` and ``weight``, each an array or ``None`` (``hidden`` and
``weight``: one per boundary and one per layer). A mask of ``input``, ``hidden`` or ``output`` has one row for all steps
or one for each. A vector in place of a weight mask is of the hidden state as the gates read it. Gates are stacked as
torch stacks them: input, forget, cell, output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
State = list[tuple[Array, Array]]


@dataclass
class Step:
    """What backpropagation needs of one time step of a layer."""

    x: Array
    h_before: Array
    c_before: Array
    gates: list[Array]
    c: Array


@dataclass
class Result:
    cross_entropy: float
    activation: float
    temporal: float
    state: State
    gradients: dict[str, Array]

    @property
    def total(self) -> float:
        return self.cross_entropy + self.activation + self.temporal


def one(mask: Array | None) -> Array | float:
    return 1.0 if mask is None else mask


def at(mask: Array | None, t: int) -> Array | float:
    """A mask at one time step."""
    return 1.0 if mask is None else mask[t % len(mask)]


def recurrent(mask: Array | None) -> tuple[Array | float, Array | float]:
    """What the recurrent matrix is multiplied by, and what the hidden state that it reads."""
    return (1.0, mask) if mask is not None and mask.ndim == 1 else (one(mask), 1.0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def squash(gate: int, x: Array) -> Array:
    return np.tanh(x) if gate == 2 else sigmoid(x)


def slope(gate: int, y: Array) -> Array:
    """Derivative of ``squash`` where it gave ``y``."""
    return 1 - y**2 if gate == 2 else y * (1 - y)


def rows(gate: int, width: int) -> slice:
    return slice(gate * width, (gate + 1) * width)


def run_layer(weights: dict[str, Array], layer: int, mask: Array | None, xs: list[Array], state: tuple[Array, Array]):
    """The layer's output and what backpropagation needs, each a list over time; and the state after."""
    w_x, w_h, b_x, b_h = (
        weights[f"layers.{layer}.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    of_weights, of_state = recurrent(mask)
    dropped = w_h * of_weights
    h, c = state
    width, outputs, steps = h.shape[1], [], []
    for x in xs:
        gates = []
        for gate in range(4):
            of = rows(gate, width)
            gates.append(squash(gate, x @ w_x[of].T + b_x[of] + (h * of_state) @ dropped[of].T + b_h[of]))
        i, f, g, o = gates
        step = Step(x, h, c, gates, f * c + i * g)
        c = step.c
        h = o * np.tanh(c)
        outputs.append(h)
        steps.append(step)
    return outputs, steps, (h, c)


def unroll_back(
    weights: dict[str, Array], layer: int, mask: Array | None, steps: list[Step], d_outputs: list[Array]
) -> tuple[dict[str, Array], list[Array]]:
    """The layer's gradients and, over time, its inputs'."""
    names = [f"layers.{layer}.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    d_w_x, d_w_h, d_b_x, d_b_h = (np.zeros_like(weights[name]) for name in names)
    of_weights, of_state = recurrent(mask)
    w_x, dropped = weights[names[0]], weights[names[1]] * of_weights
    d_inputs = [np.zeros_like(step.x) for step in steps]
    d_h_after, d_c_after = np.zeros_like(steps[0].h_before), np.zeros_like(steps[0].h_before)
    width = d_h_after.shape[1]
    for t in reversed(range(len(steps))):
        step = steps[t]
        i, f, g, o = step.gates
        d_h = d_outputs[t] + d_h_after
        d_c = d_c_after + d_h * o * (1 - np.tanh(step.c) ** 2)
        d_gates = [d_c * g, d_c * step.c_before, d_c * i, d_h * np.tanh(step.c)]
        d_h_after = np.zeros_like(d_h)
        for gate in range(4):
            of = rows(gate, width)
            d_before = d_gates[gate] * slope(gate, step.gates[gate])
            d_w_x[of] += d_before.T @ step.x
            d_w_h[of] += d_before.T @ (step.h_before * of_state)
            d_b_x[of] += d_before.sum(axis=0)
            d_b_h[of] += d_before.sum(axis=0)
            d_inputs[t] += d_before @ w_x[of]
            d_h_after += d_before @ dropped[of] * of_state
        d_c_after = d_c * f
    return dict(zip(names, (d_w_x, d_w_h * of_weights, d_b_x, d_b_h), strict=True)), d_inputs


def run_window(
    weights: dict[str, Array], masks: Any, tokens: Array, targets: Array, state: State, alpha: float, beta: float
) -> Result:
    """Losses, gradients of their sum, and the state after one window of ``(time, batch)`` tokens.

    A softmax tied to the embedding is one for which ``weights`` has no ``decoder.weight``.
    """
    length, batch = tokens.shape
    embedding, tied = weights["embedding.weight"], "decoder.weight" not in weights
    softmax = embedding if tied else weights["decoder.weight"]
    kept_words = np.broadcast_to(one(masks.embedding), embedding.shape)
    after = [*masks.hidden, masks.output]

    embedded = [np.stack([embedding[word] * kept_words[word] for word in tokens[t]]) for t in range(length)]
    xs = [embedded[t] * at(masks.input, t) for t in range(length)]
    all_steps, state_after, raw = [], [], xs
    for layer in range(len(masks.weight)):
        raw, steps, last = run_layer(weights, layer, masks.weight[layer], xs, state[layer])
        all_steps.append(steps)
        state_after.append(last)
        xs = [output * at(after[layer], t) for t, output in enumerate(raw)]
    dropped = xs

    cross_entropy, d_softmax, d_bias = 0.0, np.zeros_like(softmax), np.zeros(len(softmax))
    d_dropped = [np.zeros_like(output) for output in dropped]
    for t in range(length):
        for b in range(batch):
            logits = softmax @ dropped[t][b] + weights["decoder.bias"]
            probabilities = np.exp(logits - logits.max())
            probabilities /= probabilities.sum()
            cross_entropy -= np.log(probabilities[targets[t, b]]) / (length * batch)
            d_logits = probabilities.copy()
            d_logits[targets[t, b]] -= 1
            d_logits /= length * batch
            d_softmax += np.outer(d_logits, dropped[t][b])
            d_bias += d_logits
            d_dropped[t][b] += d_logits @ softmax

    size = raw[0].size
    activation = alpha * sum((output**2).sum() for output in dropped) / (length * size)
    d_outputs = [(d_dropped[t] + 2 * alpha * dropped[t] / (length * size)) * at(after[-1], t) for t in range(length)]
    temporal = 0.0
    for t in range(length - 1):
        change = raw[t + 1] - raw[t]
        temporal += beta * (change**2).sum() / ((length - 1) * size)
        d_outputs[t + 1] = d_outputs[t + 1] + 2 * beta * change / ((length - 1) * size)
        d_outputs[t] = d_outputs[t] - 2 * beta * change / ((length - 1) * size)

    gradients = {"decoder.bias": d_bias}
    for layer in reversed(range(len(masks.weight))):
        of_layer, d_inputs = unroll_back(weights, layer, masks.weight[layer], all_steps[layer], d_outputs)
        gradients.update(of_layer)
        before = after[layer - 1] if layer else masks.input
        d_outputs = [d_input * at(before, t) for t, d_input in enumerate(d_inputs)]
    d_embedding = np.zeros_like(embedding)
    for t in range(length):
        for b in range(batch):
            word = tokens[t, b]
            d_embedding[word] += d_outputs[t][b] * kept_words[word]
    if tied:
        d_embedding += d_softmax
    else:
        gradients["decoder.weight"] = d_softmax
    gradients["embedding.weight"] = d_embedding
    return Result(cross_entropy, activation, temporal, state_after, gradients)
