import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from awd.fast import cross_entropy
from awd.fast.cross_entropy import FastCrossEntropy
from tests.awd.strategies import bounded

ROWS, WIDTH, WORDS = 23, 6, 11
# of the logits multiplied at a time, in bytes; of those normalised at a time
PIECES = {"all at once": (1 << 24, 1 << 18), "blocks": (8 * WORDS * 7, 1 << 18), "rows": (1, 1), "both": (2000, 50)}


def arguments(dtype: torch.dtype = torch.float64, rows: int = ROWS, width: int = WIDTH, words: int = WORDS, seed=0):
    draw = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, generator=draw).to(dtype) for shape in ((rows, width), (words, width), (words,))]
    return [part.requires_grad_() for part in parts], torch.randint(words, (rows,), generator=draw)


def plain(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(x @ weight.T + bias, targets)


def fast(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, operand: torch.dtype | None = None) -> Tensor:
    return FastCrossEntropy.apply(x, weight, bias, targets, operand or x.dtype)


def cut(patch: pytest.MonkeyPatch, block: int, chunk: int) -> None:
    patch.setattr(cross_entropy, "_BLOCK", {"cpu": block})
    patch.setattr(cross_entropy, "_CHUNK", {"cpu": chunk})


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.usefixtures("packed")
def test_loss_and_gradients_are_those_of_a_plain_softmax(monkeypatch, pieces):
    cut(monkeypatch, *pieces)
    leaves, targets = arguments()
    found, expected = fast(*leaves, targets), plain(*leaves, targets)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    for mine, theirs in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)


# measured at most: 1.2e-7 in float32; 3.4e-3 in bfloat16, which has 8 bits of mantissa (and at least 4e-4)
@pytest.mark.parametrize(
    ("operand", "least", "most"), [(torch.float32, 0, 4e-7), (torch.bfloat16, 1e-4, 1e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.usefixtures("packed")
def test_in_single_precision_it_is_as_exact_as_what_it_multiplies(monkeypatch, pieces, operand, least, most):
    cut(monkeypatch, *pieces)
    leaves, targets = arguments(torch.float32)
    found = fast(*leaves, targets, operand)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = plain(*exact, targets)
    gradients = torch.autograd.grad(found, leaves)
    pairs = [(found, expected), *zip(gradients, torch.autograd.grad(expected, exact), strict=True)]
    for mine, theirs in pairs:
        assert mine.dtype == torch.float32
        assert least <= relative_error(mine, theirs) <= most


@pytest.mark.parametrize("pieces", [PIECES["all at once"], PIECES["both"]], ids=["all at once", "both"])
def test_the_gradients_are_those_of_finite_differences(monkeypatch, pieces):
    cut(monkeypatch, *pieces)
    leaves, targets = arguments(rows=7, width=3, words=5)
    assert torch.autograd.gradcheck(lambda *parts: fast(*parts, targets), leaves)


@bounded(60)
@given(
    rows=st.integers(1, 30),
    width=st.integers(1, 12),
    words=st.integers(1, 40),
    block=st.integers(1, 1000),
    chunk=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_no_shape_and_no_cut_changes_the_function(rows, width, words, block, chunk, seed):
    leaves, targets = arguments(torch.float64, rows, width, words, seed)
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, block, chunk)
        found = fast(*leaves, targets)
    expected = plain(*leaves, targets)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


def test_an_incoming_gradient_scales_all_three():
    leaves, targets = arguments()
    whole = torch.autograd.grad(fast(*leaves, targets), leaves)
    for mine, theirs in zip(torch.autograd.grad(-2.5 * fast(*leaves, targets), leaves), whole, strict=True):
        torch.testing.assert_close(mine, -2.5 * theirs)


def test_a_graph_that_is_kept_gives_the_same_gradients_again():
    leaves, targets = arguments()
    loss = fast(*leaves, targets)
    first = [gradient.clone() for gradient in torch.autograd.grad(loss, leaves, retain_graph=True)]
    for gradient in torch.autograd.grad(loss, leaves, retain_graph=True):
        gradient.zero_()  # the caller's own
    torch.testing.assert_close(list(torch.autograd.grad(loss, leaves)), first, rtol=0, atol=0)


def test_its_gradients_cannot_be_differentiated_once_more():
    leaves, targets = arguments()
    (gradient,) = torch.autograd.grad(fast(*leaves, targets), leaves[:1], create_graph=True)
    assert not gradient.requires_grad


def test_a_tied_matrix_gets_the_gradients_of_both_its_uses():
    (_, weight, bias), targets = arguments()
    tokens = torch.arange(ROWS) % WORDS
    gradients = [
        torch.autograd.grad(loss(F.embedding(tokens, weight), weight, bias, targets), (weight, bias))
        for loss in (fast, plain)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_needs_no_gradient_gets_none_and_the_others_theirs(frozen):
    leaves, targets = arguments()
    leaves[frozen].requires_grad_(False)
    fast(*leaves, targets).backward()
    found = [leaf.grad for leaf in leaves]
    assert found.pop(frozen) is None
    learning = [leaf for leaf in leaves if leaf.requires_grad]
    torch.testing.assert_close(found, list(torch.autograd.grad(plain(*leaves, targets), learning)))


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_logits_far_out_do_not_overflow(operand):
    leaves, targets = arguments(torch.float32)
    with torch.no_grad():
        leaves[0].mul_(1e4)
    loss = fast(*leaves, targets, operand)
    assert loss.item() == pytest.approx(plain(*leaves, targets).item(), rel=1e-2)
    assert loss > 1e3
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_divergence_is_seen_in_the_loss(where, value, operand):
    leaves, targets = arguments(torch.float32)
    with torch.no_grad():
        leaves[where].view(-1)[0] = value
    assert plain(*leaves, targets).isnan()
    assert fast(*leaves, targets, operand).isnan()


@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arguments_need_not_be_contiguous(dtype):
    leaves, targets = arguments(dtype)
    strided = [
        leaves[0].detach().t().contiguous().t(),
        leaves[1].detach().repeat_interleave(2, dim=1)[:, ::2],
        leaves[2].detach().repeat_interleave(3)[::3],
    ]
    assert not any(part.is_contiguous() for part in strided)
    strided = [part.requires_grad_() for part in strided]
    found, expected = fast(*strided, targets.repeat_interleave(2)[::2]), plain(*leaves, targets)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, strided), torch.autograd.grad(expected, leaves))


def test_arguments_are_left_as_they_were():
    leaves, targets = arguments()
    before = [leaf.detach().clone() for leaf in leaves]
    fast(*leaves, targets).backward()
    torch.testing.assert_close([leaf.detach() for leaf in leaves], before, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_is_the_same_loss(mode):
    leaves, targets = arguments()
    with mode():
        alone = fast(*leaves, targets)
    assert not alone.requires_grad
    assert alone.item() == fast(*leaves, targets).item()
