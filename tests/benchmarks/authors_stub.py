"""A stand-in for a clone of the authors' program: its files and interface, in code written for these tests."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "weight_drop.py": """
import torch


class WeightDrop(torch.nn.Module):
    def __init__(self, module, weights, dropout=0):
        super().__init__()
        self.module, self.name, self.dropout = module, weights[0], dropout
        raw = module._parameters.pop(self.name)
        module.register_parameter(self.name + "_raw", torch.nn.Parameter(raw.detach()))

    def forward(self, inputs, state):
        lstm, raw = self.module, getattr(self.module, self.name + "_raw")
        recurrent = torch.nn.functional.dropout(raw, self.dropout, self.training)
        weights = [lstm.weight_ih_l0, recurrent, lstm.bias_ih_l0, lstm.bias_hh_l0]
        outputs, *state = torch.lstm(inputs, state, weights, True, 1, 0.0, self.training, False, False)
        return outputs, tuple(state)
""",
    "locked_dropout.py": """
import torch


class LockedDropout(torch.nn.Module):
    def forward(self, x, dropout=0.5):
        if self.training and dropout:
            x = x * torch.empty_like(x[:1]).bernoulli_(1 - dropout) / (1 - dropout)
        return x
""",
    "embed_regularize.py": """
import torch


def embedded_dropout(embed, words, dropout=0.1):
    weight = embed.weight
    if dropout:
        weight = weight * torch.empty_like(weight[:, :1]).bernoulli_(1 - dropout) / (1 - dropout)
    return weight[words]
""",
    "model.py": """
import torch
from embed_regularize import embedded_dropout
from locked_dropout import LockedDropout
from weight_drop import WeightDrop


class RNNModel(torch.nn.Module):
    def __init__(
        self, rnn_type, ntoken, ninp, nhid, nlayers,
        dropout=0.5, dropouth=0.5, dropouti=0.5, dropoute=0.1, wdrop=0, tie_weights=False,
    ):
        super().__init__()
        print("its layers")
        self.encoder = torch.nn.Embedding(ntoken, ninp)
        self.widths = [ninp, *[nhid] * (nlayers - 1), ninp]
        lstms = [torch.nn.LSTM(*pair) for pair in zip(self.widths, self.widths[1:])]
        self.rnns = torch.nn.ModuleList(WeightDrop(lstm, ["weight_hh_l0"], wdrop) for lstm in lstms)
        self.decoder = torch.nn.Linear(ninp, ntoken)
        if tie_weights:
            self.decoder.weight = self.encoder.weight
        self.lock = LockedDropout()
        self.strengths = [*[dropouth] * (nlayers - 1), dropout]
        self.dropouti, self.dropoute = dropouti, dropoute

    def init_hidden(self, bsz):
        zeros = [self.decoder.bias.new_zeros(1, bsz, width) for width in self.widths[1:]]
        return [(zero, zero) for zero in zeros]

    def forward(self, input, hidden, return_h=False):
        x = self.lock(embedded_dropout(self.encoder, input, self.dropoute if self.training else 0), self.dropouti)
        states, raw, dropped = [], [], []
        for rnn, state, strength in zip(self.rnns, hidden, self.strengths):
            x, state = rnn(x, state)
            states.append(state)
            raw.append(x)
            x = self.lock(x, strength)
            dropped.append(x)
        flat = x.flatten(0, 1)
        return (flat, states, raw, dropped) if return_h else (flat, states)
""",
    "splitcross.py": """
import torch


class SplitCrossEntropyLoss(torch.nn.Module):
    def __init__(self, hidden_size, splits, verbose=False):
        super().__init__()

    def forward(self, weight, bias, hiddens, targets, verbose=False):
        logs = (hiddens @ weight.T + bias).log_softmax(1)
        return -logs[range(len(targets)), targets].float().mean().type_as(weight)
""",
    "utils.py": """
def repackage_hidden(h):
    return [tuple(part.detach() for part in pair) for pair in h]


def batchify(data, bsz, args):
    rows = len(data) // bsz
    return data[: rows * bsz].reshape(bsz, rows).T.contiguous()


def get_batch(source, i, args, seq_len=None, evaluation=False):
    rows = source[i : i + (seq_len or args.bptt) + 1]
    return rows[:-1], rows[1:].flatten()
""",
    "main.py": """
raise SystemExit("a script: it would read its options and train")


def evaluate(data_source, batch_size=10):
    model.eval()
    total, state = 0, model.init_hidden(batch_size)
    for start in range(0, len(data_source) - 1, args.bptt):
        words, following = get_batch(data_source, start, args)
        flat, state = model(words, repackage_hidden(state))
        total += len(words) * criterion(model.decoder.weight, model.decoder.bias, flat, following).item()
    return total / len(data_source)


def train():
    start, state, group = 0, model.init_hidden(args.batch_size), optimizer.param_groups[0]
    base = group["lr"]
    while start + 2 < len(train_data):
        length = int(np.random.normal(args.bptt, 5))
        group["lr"] = base * length / args.bptt
        words, following = get_batch(train_data, start, args, length)
        flat, state, raw, dropped = model.train()(words, repackage_hidden(state), return_h=True)
        last, steps = dropped[-1], raw[-1].diff(dim=0)
        penalties = [args.alpha * last.square().mean(), args.beta * steps.square().mean()]
        optimizer.zero_grad()
        (criterion(model.decoder.weight, model.decoder.bias, flat, following) + sum(penalties)).backward()
        if args.clip:
            torch.nn.utils.clip_grad_norm_(params, args.clip)
        optimizer.step()
        start += length
    group["lr"] = base
""",
}


def write_stub(folder: Path, file: str | None = None, right: str = "", wrong: str = "") -> Path:
    """The stand-in, in one place of one file other than it should be if asked for."""
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        if name == file:
            assert text.count(right) == 1, f"{name} has {right!r} {text.count(right)} times"
            text = text.replace(right, wrong)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
