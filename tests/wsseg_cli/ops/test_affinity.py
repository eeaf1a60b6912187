import numpy as np
import pytest
import torch
from golden_cases import Case, golden

from wsseg_cli.errors import DataError
from wsseg_cli.ops.affinity import (
    Pairs,
    affinity_loss,
    feature_affinity,
    neighbour_pairs,
    pair_labels,
    pair_offsets,
)
from wsseg_cli.ops.paths import offset_paths, path_affinity, path_pairs


def directions(values: torch.Tensor, pairs: Pairs) -> torch.Tensor:
    return values.unflatten(-1, (len(pairs.offsets), -1))


@golden("psa_pair_indices")
def test_pair_list(case: Case) -> None:
    pairs = neighbour_pairs(tuple(case.arguments["size"]), case.arguments["radius"])
    one, other = directions(pairs.index(), pairs)
    assert bool((one == one[0]).all())
    case.check_all({"ind_from": one[0], "ind_to": other, "pairs": pairs.index().T})


@golden("psa_affinity_labels")
def test_labels_of_pairs(case: Case) -> None:
    side = case.arguments["cropsize"]
    pairs = neighbour_pairs((side, side), case.arguments["radius"])
    labels = pair_labels(torch.from_numpy(case.inputs["label"]), pairs)
    case.check_all(
        {
            "bg_pos": directions(labels.background, pairs),
            "fg_pos": directions(labels.foreground, pairs),
            "neg": directions(labels.negative, pairs),
        }
    )


@golden("psa_affinity_loss")
def test_loss_and_gradient(case: Case) -> None:
    mask = torch.from_numpy(case.inputs["label"])
    pairs = neighbour_pairs(tuple(mask.shape[-2:]), case.arguments["radius"])
    affinity = torch.from_numpy(case.inputs["aff"]).requires_grad_()
    loss = affinity_loss(affinity.flatten(1), pair_labels(mask, pairs))
    loss.total.backward()
    case.check_all(
        {
            "loss": loss.total,
            "bg_loss": loss.background,
            "fg_loss": loss.foreground,
            "neg_loss": loss.negative,
            **{f"{name}_count": n for name, n in zip(("bg", "fg", "neg"), loss.counts, strict=True)},
            "grad_aff": affinity.grad,
        }
    )


@golden("irn_path_index")
def test_paths(case: Case) -> None:
    size, radius = tuple(case.arguments["size"]), case.arguments["radius"]
    pairs, paths = path_pairs(size, radius), offset_paths(radius)
    one, other = directions(pairs.index(), pairs)
    large = offset_paths(case.arguments["large_radius"])
    lengths = sorted({len(path) for path in large})
    got = {
        "search_dst": pairs.offsets,
        "src_indices": one[0],
        "dst_indices": other,
        "search_dst_large": [path[0] for path in large],
        "path_lengths_large": lengths,
        "paths_per_length_large": [sum(len(path) == n for path in large) for n in lengths],
    }
    cells = torch.arange(size[0] * size[1]).view(size)
    window = dict(pairs.windows())
    for length in sorted({len(path) for path in paths}):
        group = [path for path in paths if len(path) == length]
        got[f"paths_len{length}"] = np.asarray(group)
        got[f"path_indices_len{length}"] = torch.stack(
            [torch.stack([pairs.cut(cells, window[path[0]], cell) for cell in path]) for path in group]
        )
    case.check_all(got)


@golden("irn_affinity_labels")
def test_labels_of_path_pairs(case: Case) -> None:
    mask = torch.from_numpy(case.inputs["label"])
    pairs = path_pairs(tuple(mask.shape), case.arguments["radius"])
    labels = pair_labels(mask, pairs)
    case.check_all(
        {
            "bg_pos": directions(labels.background, pairs),
            "fg_pos": directions(labels.foreground, pairs),
            "neg": directions(labels.negative, pairs),
        }
    )


@pytest.mark.parametrize(("radius", "number"), [(0, 0), (1, 0), (2, 4), (4, 22), (5, 34), (10, 152)])
def test_number_of_directions(radius: int, number: int) -> None:
    assert len(pair_offsets(radius)) == len(offset_paths(radius)) == number


@pytest.mark.parametrize(
    ("size", "border", "number"),
    [
        ((1, 1), "full", 0),
        ((1, 1), "reference", 0),
        ((4, 20), "reference", 0),
        ((20, 8), "reference", 0),
        ((5, 9), "reference", 34),
        ((1, 3), "full", 3),
    ],
)
def test_pairs_of_small_grids(size: tuple[int, int], border: str, number: int) -> None:
    assert neighbour_pairs(size, 5, border).index().shape == (2, number)


def test_full_border_links_every_close_pair_once() -> None:
    pairs = neighbour_pairs((6, 7), 3, "full").index()
    y, x = np.divmod(np.arange(42), 7)
    near = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 < 9
    want = {(i, j) for i, j in zip(*np.nonzero(near), strict=True) if i < j}
    assert {(int(i), int(j)) for i, j in pairs.T} == want and pairs.shape[1] == len(want)


def test_ten_cells_are_alone_under_the_published_border() -> None:
    linked = set(neighbour_pairs((20, 30), 5).index().flatten().tolist())
    alone = {divmod(i, 30) for i in range(600) if i not in linked}
    assert alone == {(0, 0), (0, 1), (0, 2), (0, 3), (18, 0), (19, 0), (19, 1), (18, 29), (19, 28), (19, 29)}


def test_feature_affinity_by_hand() -> None:
    features = torch.tensor([[[[0.0, 1.0, 3.0]], [[0.0, 1.0, 1.0]]]])
    pairs = neighbour_pairs((1, 3), 2, "full")
    assert feature_affinity(features, pairs)[0].tolist() == pytest.approx(np.exp([-1.0, -1.0]).tolist())


def test_one_edge_cuts_all_paths_across_it() -> None:
    edge = torch.zeros(1, 5, 5)
    edge[:, :, 2] = 0.75
    pairs = path_pairs((5, 5), 4, "full")
    one, other = pairs.index() % 5
    crosses = (torch.minimum(one, other) <= 2) & (torch.maximum(one, other) >= 2)
    got = path_affinity(edge, pairs)[0]
    assert bool((got[crosses] == 0.25).all()) and bool((got[~crosses] == 1).all())


def test_counts_of_several_processes_give_the_loss_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    pairs = neighbour_pairs((9, 12), 3)
    mask = torch.randint(0, 3, (4, 9, 12))
    affinity = torch.rand(4, pairs.index().shape[1])
    whole = affinity_loss(affinity, pair_labels(mask, pairs))
    halves = [(affinity[:2], pair_labels(mask[:2], pairs)), (affinity[2:], pair_labels(mask[2:], pairs))]
    mean = whole.counts / 2
    parts = [affinity_loss(a, labels, lambda counts: mean).total for a, labels in halves]
    assert float(sum(parts) / 2) == pytest.approx(float(whole.total), rel=1e-5)


def test_no_pair_gives_no_loss() -> None:
    pairs = neighbour_pairs((3, 3), 2)
    loss = affinity_loss(torch.rand(1, pairs.index().shape[1]), pair_labels(torch.full((1, 3, 3), 255), pairs))
    assert float(loss.total) == 0.0
    tiny = neighbour_pairs((1, 1), 5)
    assert float(affinity_loss(torch.zeros(1, 0), pair_labels(torch.zeros(1, 1, 1), tiny)).total) == 0.0


def test_many_classes_are_no_special_case() -> None:
    pairs = neighbour_pairs((1, 2), 2, "full")
    labels = pair_labels(torch.tensor([[[300, 300]]]), pairs, first_ignored=1000)
    assert labels.foreground.tolist() == [[1.0]]


def test_sizes_must_agree() -> None:
    pairs = path_pairs((4, 5), 2)
    for call in (
        lambda: feature_affinity(torch.zeros(1, 2, 5, 4), pairs),
        lambda: pair_labels(torch.zeros(5, 4), pairs),
        lambda: path_affinity(torch.zeros(1, 5, 4), pairs),
    ):
        with pytest.raises(DataError, match=r"5, 4\).*grid \(4, 5\)"):
            call()
