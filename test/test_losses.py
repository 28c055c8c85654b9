"""Losses and positive samples against values worked out by hand, and against what must be better than what."""

import numpy as np
import pytest
import torch

from aenet_ros.workbench.training import losses, positives, trust_terms
from aenet_ros.workbench.training.batches import Batch


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def plane(values):
    return torch.tensor(np.asarray(values, np.float32))[None, None]


def textures(seed=0, size=64):
    """Two smooth random planes with different structure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 1, 1, size // 8, size // 8, generator=generator)
    a, b = (torch.nn.functional.interpolate(part, size=(size, size), mode="bicubic").clamp(0, 1) for part in coarse)
    return a, b


def test_gradients_and_larger_by_hand():
    right, down = positives.gradients(plane([[1, 4, 2], [1, 1, 5]]))
    assert right[0, 0].tolist() == [[3, -2, 0], [0, 4, 0]]
    assert down[0, 0].tolist() == [[0, -3, 3], [0, 0, 0]]
    assert positives.larger_magnitude(plane([[-3, 1]]), plane([[2, -2]]))[0, 0].tolist() == [[-3, -2]]


def test_box_by_hand():
    """Radius 1 on 1, 2, 3, 4 along one row: means of (1,2), (1,2,3), (2,3,4), (3,4)."""
    assert positives.box(plane([[1, 2, 3, 4]]), 1)[0, 0].tolist() == [[1.5, 2.0, 3.0, 3.5]]


def test_box_equals_a_plain_sum_over_windows():
    x, _ = textures(3, 24)
    padded = np.pad(x[0, 0].numpy(), 3, constant_values=np.nan)
    wanted = [[np.nanmean(padded[i : i + 7, j : j + 7]) for j in range(24)] for i in range(24)]
    assert np.allclose(positives.box(x, 3)[0, 0].numpy(), wanted, atol=1e-5)


def test_gradient_domain_returns_what_is_consistent():
    """Where both sources are the same plane, its gradients and the anchor agree, so the solution is that plane."""
    a, _ = textures()
    assert torch.allclose(positives.gradient_domain(a, a), a, atol=1e-4)


def test_gradient_domain_solves_its_equation():
    a, b = textures(1, 32)
    x = positives.gradient_domain(a * 0.4 + 0.3, b * 0.4 + 0.3, screen=0.5)[0, 0].double().numpy()
    a, b = (part[0, 0].double().numpy() * 0.4 + 0.3 for part in (a, b))
    wanted = []
    for axis in (1, 0):
        of_a, of_b = np.diff(a, axis=axis), np.diff(b, axis=axis)
        wanted.append(np.where(abs(of_a) > abs(of_b), of_a, of_b) - np.diff(x, axis=axis))
    residual = 0.5 * (x - np.maximum(a, b))
    residual[:, 1:] -= wanted[0]
    residual[:, :-1] += wanted[0]
    residual[1:] -= wanted[1]
    residual[:-1] += wanted[1]
    assert abs(residual).max() < 1e-4


@pytest.mark.parametrize("fuse", [*positives.CLASSICAL, positives.near_maximum, positives.exposure_adjusted])
@pytest.mark.parametrize("size", [(40, 56), (45, 33)])
def test_classical_fusions_keep_shape_and_range(fuse, size):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, *size, generator=generator)
    fused = fuse(a, b)
    assert fused.shape == a.shape
    assert float(fused.min()) >= 0.0
    assert float(fused.max()) <= 1.0


def test_the_positive_is_never_the_flat_average():
    a, b = textures(2)
    positive = positives.positive_sample(a, b, "infrared")
    average = (a + b) / 2
    assert float(positives.quality(positive, a, b)) > float(positives.quality(average, a, b))


def test_positive_picks_the_sharp_halves_of_a_focus_stack():
    sharp = positives.box(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(5)), 1)
    soft = positives.box(sharp, 4)
    left = torch.arange(64) < 32
    near, far = torch.where(left, sharp, soft), torch.where(left, soft, sharp)
    positive = positives.positive_sample(near, far, "focus")
    assert float((positive - sharp).abs().mean()) < 0.3 * float((near - sharp).abs().mean())


def test_similarity_is_perfect_for_equal_planes():
    a, _ = textures()
    structure, information = losses.structure_and_information(a, a, a)
    assert float(structure) == pytest.approx(0.0, abs=1e-3)
    assert float(information) == pytest.approx(0.0, abs=0.02)


def test_similarity_falls_with_blur_and_noise():
    a, b = textures()
    noise = 0.05 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    good = [float(value) for value in losses.structure_and_information(a, a, b)]
    for worse in (positives.box(a, 4), (a + noise).clamp(0, 1)):
        assert all(float(value) > best for value, best in zip(losses.structure_and_information(worse, a, b), good, strict=True))


def test_flicker_by_hand():
    """Sources change by 0.1 and 0.2, the fused frame by 0.5: 0.3 is explained by neither."""
    a, b, fused = (torch.tensor([0.3, 0.3 + step]).view(2, 1, 1, 1).expand(2, 1, 8, 8) for step in (0.1, -0.2, 0.5))
    assert float(losses.temporal_loss(fused, a, b, 1)) == pytest.approx(0.3)
    assert float(losses.temporal_loss(a, a, b, 1)) == 0.0
    assert float(losses.temporal_loss(fused, a, b, 0)) == 0.0


def test_artefacts_by_hand():
    """A ramp of 0.2 a pixel from crisp ramps of 0.1: too steep by 0.2 less 1.06 times 0.1, but for the flat last column."""
    steps = torch.arange(5.0).expand(1, 1, 5, 5)
    value = float(losses.artefact_loss(0.2 * steps, 0.1 * steps, 0.0 * steps))
    assert value == pytest.approx(0.8 * (0.2 - 1.06 * 0.1), abs=1e-3)


def test_soft_pairs_are_raised_by_a_tenth_and_crisp_ones_not():
    steps = torch.arange(8.0).expand(1, 1, 8, 8)
    assert float(positives.gradient_gain(0.01 * steps, 0.0 * steps)) == pytest.approx(1.1)
    assert float(positives.gradient_gain(0.12 * steps, 0.0 * steps)) == pytest.approx(1.0)


def batch_of(a, b, kind="infrared"):
    return Batch(a, b, a, b, positives.positive_sample(a, b, kind), (kind,), 0)


def test_every_term_is_finite_with_a_gradient_on_flat_input():
    """Flat crops are common (sky, night): no term may divide by their zero deviation."""
    flat = torch.zeros(1, 1, 64, 64)
    for value in (0.0, 0.5, 1.0, 1.5):
        raw = torch.full((1, 1, 64, 64), value, requires_grad=True)
        loss = losses.weighted_sum(losses.loss_terms(raw, batch_of(flat, flat)), losses.LossWeights())
        loss.backward()
        assert torch.isfinite(loss)
        assert bool(torch.isfinite(raw.grad).all())


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_prefers_the_positive_to_luma_blur_and_black(seed):
    """A warm square in a cool scene of little contrast, and a textured rgb picture."""
    texture, other = textures(seed, 96)
    thermal = (0.2 + 0.1 * other).clone()
    thermal[..., 40:56, 40:56] = 0.9
    luma = 0.3 + 0.3 * texture
    batch = batch_of(thermal, luma)

    def loss(fused):
        return float(losses.weighted_sum(losses.loss_terms(fused, batch), losses.LossWeights()))

    best = loss(batch.positive)
    flat = torch.zeros_like(luma)
    assert all(best < loss(worse) for worse in (luma, positives.box(batch.positive, 2), flat))


def test_invented_structure_by_hand():
    """A ramp of 1 grey level a pixel is 8 grey levels over 8 pixels; flat sources have none of it."""
    ramp = torch.arange(128.0).expand(1, 1, 128, 128) / 255
    flat = torch.zeros_like(ramp)
    assert float(trust_terms.invented_structure(ramp, flat, flat)) == pytest.approx(8.0, rel=5e-3)
    assert float(trust_terms.invented_structure(ramp, ramp, flat)) == pytest.approx(0.0, abs=1e-3)
    assert float(trust_terms.invented_structure(flat, ramp, flat)) == 0.0, "structure that is lost is not invented"


def test_a_blotch_is_invented_and_fine_texture_is_not():
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    blotch = 0.2 * torch.exp(-((rows - 64) ** 2 + (columns - 64) ** 2) / (2 * 20**2))[None, None]
    checkers = 0.1 * ((rows + columns) % 2)[None, None]
    flat = torch.full((1, 1, 128, 128), 0.5)
    assert float(trust_terms.invented_structure(flat - blotch, flat, flat)) > 1.0
    assert float(trust_terms.invented_structure(flat + checkers, flat, flat)) < 0.01


def hot_square(level):
    square = torch.full((1, 1, 96, 96), 0.2)
    square[..., 44:52, 44:52] = level
    return square


def test_a_hot_target_may_not_be_lost():
    thermal, luma = hot_square(0.8), torch.full((1, 1, 96, 96), 0.5)
    lost, kept = (float(trust_terms.hot_shortfall(fused, thermal, luma)) for fused in (luma, thermal))
    assert kept == 0.0
    # 0.65 of the contrast is wanted; 16 to 36 pixels of half size are hot, and 20 are added to their number.
    assert 0.25 < lost < 0.5
    half = float(trust_terms.hot_shortfall(0.5 + 0.05 * (thermal - 0.2), thermal, luma))
    assert kept < half < lost


def test_a_cold_target_is_no_hot_one():
    thermal = hot_square(0.05)
    assert float(trust_terms.hot_shortfall(torch.zeros_like(thermal), thermal, thermal)) == 0.0


def test_mesh_by_hand():
    """Steps at every fourth column have all of their energy in one phase; an even ramp has none of it."""
    columns = torch.arange(65)
    stairs = (0.01 * (columns // 4)).expand(1, 1, 64, 65)
    ramp = (0.01 * columns).expand(1, 1, 64, 65)
    flat = torch.zeros_like(ramp)
    assert float(losses.mesh_loss(stairs, flat, flat)) > 10.0
    assert float(losses.mesh_loss(stairs.mT, flat.mT, flat.mT)) > 10.0
    assert float(losses.mesh_loss(ramp, flat, flat)) == pytest.approx(0.0, abs=1e-3)
    assert float(losses.mesh_loss(stairs, stairs, flat)) == 0.0, "the source has it"
