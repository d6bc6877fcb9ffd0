import platform

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from awd.fast import matmul
from awd.fast.matmul import Matrix, packing_works, times, times_transposed, transposed_times
from tests.awd.strategies import bounded

# relative to the sum of magnitudes in a product: bfloat16 rounds operands here and results there to 8 bits
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2**-8}
LAYOUTS = ["rows", "columns", "every other column", "part of wider rows", "one row for all"]
sizes = st.integers(1, 40)


def tensor(layout: str, rows: int, columns: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Random numbers ``(rows, columns)`` that lie in memory as told."""
    wide = torch.randn(max(rows, columns), 2 * max(rows, columns) + 3, generator=generator).to(dtype)
    match layout:
        case "columns":
            return wide[:columns, :rows].contiguous().t()
        case "every other column":
            return wide[:rows, : 2 * columns : 2]
        case "part of wider rows":
            return wide[:rows, 2 : 2 + columns]
        case "one row for all":
            return wide[:1, :columns].expand(rows, columns)
    return wide[:rows, :columns].contiguous()


def assert_is_product(found: Tensor, a: Tensor, b: Tensor, add: Tensor | None = None) -> None:
    """``found`` is ``a @ b + add``, as exact as its type is."""
    added = torch.zeros(()) if add is None else add
    expected = a.double() @ b.double() + added
    magnitude = a.double().abs() @ b.double().abs() + added.abs()
    assert found.shape == expected.shape
    assert found.dtype == a.dtype
    assert ((found.double() - expected).abs() <= TOLERANCE[a.dtype] * magnitude + 1e-30).all()


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
    reason="packed matrices are oneDNN's, on x86",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_this_pytorch_still_has_the_packed_operations(dtype):
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN multiplies no bfloat16 on this processor")
    assert packing_works(dtype), (
        f"PyTorch {torch.__version__} lacks torch.ops.mkldnn._reorder_linear_weight or _linear_pointwise, or they do"
        " something else now: the fast engine is right but slow; see awd/fast/matmul.py"
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_types_that_cannot_be_packed_are_multiplied_unpacked(dtype):
    assert not packing_works(dtype)
    assert Matrix(torch.eye(3, dtype=dtype), 2).times(torch.ones(2, 3, dtype=dtype)).tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize("dtype", TOLERANCE)
@bounded(150)
@given(
    rows=sizes,
    inner=sizes,
    out=sizes,
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
    laid_out_for=sizes,
    seed=st.integers(0, 2**32),
)
def test_every_product_is_torchs_whatever_the_shape_and_the_layout(
    dtype, rows, inner, out, layouts, laid_out_for, seed
):
    draw = torch.Generator().manual_seed(seed)
    x = tensor(layouts[0], rows, inner, dtype, draw)
    weight = tensor(layouts[1], out, inner, dtype, draw)
    add = tensor(layouts[2], rows, out, dtype, draw)
    before = [part.clone() for part in (x, weight, add)]
    with pytest.MonkeyPatch.context() as patch:
        for _ in ("packed", "unpacked"):
            for matrix in (Matrix(weight, rows), Matrix(weight, laid_out_for)):
                assert_is_product(matrix.times(x), x, weight.t())
                assert_is_product(matrix.times(x, add), x, weight.t(), add)
            assert_is_product(times_transposed(x, weight), x, weight.t())
            assert_is_product(times(x, weight.t()), x, weight.t())
            assert_is_product(transposed_times(x.t(), weight.t()), x, weight.t())
            patch.setattr(matmul, "packing_works", lambda dtype: False)
    # what a packed product adds is its caller's
    assert all(torch.equal(part, old) for part, old in zip((x, weight, add), before, strict=True))


def test_a_packed_matrix_stays_as_it_was_when_packed():
    weight, x = torch.eye(4), torch.ones(2, 4)
    if not packing_works(weight.dtype):
        pytest.skip("no packed matrices here")
    matrix = Matrix(weight, 2)
    weight.zero_()
    assert torch.equal(matrix.times(x), x)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.usefixtures("packed")
def test_nan_and_infinity_come_through(dtype):
    for value in (float("nan"), float("inf")):
        x = torch.full((2, 3), value, dtype=dtype)
        assert not Matrix(torch.ones(4, 3, dtype=dtype), 2).times(x, torch.zeros(2, 4, dtype=dtype)).isfinite().any()
