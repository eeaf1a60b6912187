import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.errors import DataError
from wsseg_cli.ops.affinity import neighbour_pairs
from wsseg_cli.ops.paths import path_affinity, path_pairs
from wsseg_cli.ops.random_walk import (
    edge_walk,
    enlarged,
    pooled,
    random_walk,
    transition_matrix,
    walk_radius,
)

CELL = 8


def background(case: Case, cams: torch.Tensor) -> torch.Tensor:
    if "alpha" in case.arguments:
        return (1 - cams.amax(0)) ** case.arguments["alpha"]
    return torch.full(cams.shape[1:], case.arguments["background"])


@golden("psa_random_walk", "seam_random_walk", "wseg_random_walk")
def test_walk(case: Case) -> None:
    a = case.arguments
    walked, got = walk_of(case)
    height, width = a["size"]
    big = enlarged(walked, CELL)
    values = torch.tensor([0, *(case.inputs["classes"] + 1).tolist()], dtype=torch.uint8)
    case.check_all({**got, "scores": big[:, ::2, ::2], "pred": values[big.argmax(0)][:height, :width]})


def walk_of(case: Case) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    a, dense = case.arguments, torch.from_numpy(case.inputs["aff_dense"])
    cams = torch.from_numpy(case.inputs["cam"])
    absent = torch.zeros_like(cams[:1])
    coarse = pooled(torch.cat([background(case, cams)[None], cams, absent]), CELL)
    pairs = neighbour_pairs((coarse.shape[1], coarse.shape[2]), a["radius"])
    one, other = pairs.index()
    affinity = dense[one, other]
    rebuilt = torch.eye(len(dense))
    rebuilt[one, other] = rebuilt[other, one] = affinity
    assert torch.equal(rebuilt, dense)
    walked = random_walk(coarse, transition_matrix(affinity, pairs, a["beta"]), 2 ** a["logt"])
    outputs = {"cam_pooled": coarse[:-1], "cam_walked": walked[:-1], "cam_walked_absent_max": walked[-1].abs().max()}
    return walked[:-1], outputs


@golden("irn_random_walk")
def test_walk_around_edges(case: Case) -> None:
    a = case.arguments
    cams, edge = torch.from_numpy(case.inputs["cam"]), torch.from_numpy(case.inputs["edge"])
    pairs = path_pairs(tuple(edge.shape[1:]), a["radius"], "full")
    one, other = pairs.index()
    dense = torch.eye(edge[0].numel())
    dense[one, other] = dense[other, one] = path_affinity(edge, pairs)[0]
    walked = edge_walk(cams, edge[0], radius=a["radius"], beta=a["beta"], steps_log2=a["exp_times"])
    height, width = a["image_size"]
    big = enlarged(walked, 4)[:, :height, :width]
    big = big / big.max()
    planes = torch.cat([torch.full_like(big[:1], a["sem_seg_bg_thres"]), big])
    case.check_all(
        {
            "rw": walked[:, None],
            "affinity_rows": dense[::37],
            "rw_up": big,
            "pred": case.inputs["keys"][planes.argmax(0)].astype("uint8"),
        }
    )


def dense_walk(
    scores: torch.Tensor, affinity: torch.Tensor, index: torch.Tensor, beta: float, steps: int
) -> torch.Tensor:
    cells = scores.shape[1] * scores.shape[2]
    matrix = torch.eye(cells, dtype=torch.float64)
    matrix[index[0], index[1]] = matrix[index[1], index[0]] = affinity.double() ** beta
    matrix = torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    return (scores.flatten(1).double() @ matrix).view(scores.shape)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    h=st.integers(1, 8),
    w=st.integers(1, 12),
    radius=st.integers(0, 5),
    border=st.sampled_from(["reference", "full"]),
    beta=st.sampled_from([0.5, 1.0, 8.0]),
    steps=st.sampled_from([0, 1, 64]),
    count=st.integers(0, 3),
)
def test_the_sparse_walk_is_the_dense_walk(
    seed: int, h: int, w: int, radius: int, border: str, beta: float, steps: int, count: int
) -> None:
    torch.manual_seed(seed)
    pairs = neighbour_pairs((h, w), radius, border)
    index = pairs.index()
    affinity, scores = torch.rand(index.shape[1]), torch.rand(count, h, w) * 2 - 1
    affinity[torch.rand(len(affinity)) < 0.2] = 0
    got = random_walk(scores, transition_matrix(affinity, pairs, beta), steps)
    want = dense_walk(scores, affinity, index, beta, steps)
    assert got.shape == scores.shape and got.dtype == scores.dtype
    assert torch.allclose(got.double(), want, atol=1e-5)
    if count:
        assert float(got.max()) <= float(scores.max()) + 1e-6 and float(got.min()) >= float(scores.min()) - 1e-6


def test_cells_without_a_neighbour_keep_their_scores() -> None:
    pairs = neighbour_pairs((12, 14), 5)
    scores = torch.rand(2, 12, 14)
    walked = random_walk(scores, transition_matrix(torch.ones(pairs.index().shape[1]), pairs, 8.0), 256)
    assert torch.allclose(walked[:, 0, :4], scores[:, 0, :4]) and not torch.allclose(walked[:, 5, 5], scores[:, 5, 5])


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_must_be_positive(beta: float) -> None:
    pairs = neighbour_pairs((2, 2), 2, "full")
    with pytest.raises(DataError, match="beta of a random walk"):
        transition_matrix(torch.ones(6), pairs, beta)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_bad_affinities(value: float) -> None:
    pairs = neighbour_pairs((1, 2), 2, "full")
    with pytest.raises(DataError, match="affinities of a random walk"):
        transition_matrix(torch.tensor([value]), pairs, 8.0)
    with pytest.raises(DataError, match="affinities for 1 pairs of a grid"):
        transition_matrix(torch.ones(2), pairs, 8.0)


def test_bad_scores() -> None:
    pairs = neighbour_pairs((2, 3), 2, "full")
    transition = transition_matrix(torch.ones(pairs.index().shape[1]), pairs, 8.0)
    with pytest.raises(DataError, match="NaN"):
        random_walk(torch.full((1, 2, 3), float("nan")), transition, 1)
    with pytest.raises(DataError, match="6 cells"):
        random_walk(torch.zeros(1, 2, 2), transition, 1)
    with pytest.raises(DataError, match="-1 steps"):
        random_walk(torch.zeros(1, 2, 3), transition, -1)
    with pytest.raises(DataError, match="edge map"):
        edge_walk(torch.zeros(1, 2, 3), torch.zeros(3, 2))
    with pytest.raises(DataError, match="negative or not finite"):
        edge_walk(torch.zeros(1, 2, 3), torch.full((2, 3), 1.5))


def test_one_pixel() -> None:
    assert edge_walk(torch.ones(2, 1, 1), torch.full((1, 1), 0.25)).tolist() == [[[0.75]], [[0.75]]]
    assert pooled(torch.ones(1, 1, 1), 8).tolist() == [[[1 / 64]]]


def test_no_class() -> None:
    assert pooled(torch.zeros(0, 9, 17), 8).shape == (0, 2, 3)
    assert enlarged(torch.zeros(0, 2, 3), 8).shape == (0, 16, 24)
    assert edge_walk(torch.zeros(0, 2, 3), torch.zeros(2, 3)).shape == (0, 2, 3)


def test_more_than_255_classes() -> None:
    assert edge_walk(torch.rand(300, 3, 4), torch.rand(3, 4)).shape == (300, 3, 4)


@pytest.mark.parametrize(("size", "radius"), [((56, 56), 5), ((11, 40), 5), ((9, 13), 4), ((10, 40), 4), ((2, 9), 0)])
def test_radius_on_small_grids(size: tuple[int, int], radius: int) -> None:
    assert walk_radius(size) == radius


def test_the_walk_of_a_large_grid_is_quiet_about_sparse_tensors(recwarn: pytest.WarningsRecorder) -> None:
    edge = torch.from_numpy(np.random.default_rng(0).random((30, 40), np.float32))
    edge_walk(torch.rand(2, 30, 40), edge)
    assert not recwarn.list
