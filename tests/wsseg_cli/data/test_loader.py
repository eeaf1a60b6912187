from __future__ import annotations

from wsseg_cli.data.loader import StepSampler, epoch_order, steps_per_epoch


def steps(
    start: int = 0, parts: int = 1, rank: int = 0, world: int = 1, count: int = 10
) -> list[list[tuple[int, int]]]:
    return list(StepSampler(count, 4, parts, 7, range(start, 6), rank, world))


def test_an_epoch_shows_every_image_at_most_once() -> None:
    first = [i for batch in steps()[:2] for _, i in batch]
    assert len(set(first)) == 8 and first == epoch_order(7, 0, 10)[:8].tolist()
    assert steps()[2][0][0] == 1


def test_a_later_start_is_the_same_sequence() -> None:
    assert steps(start=3) == steps()[3:]


def test_processes_and_parts_share_the_same_batch() -> None:
    halves = [steps(rank=r, world=2) for r in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == steps()
    parts = steps(parts=2)
    assert [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)] == steps()


def test_fewer_images_than_a_batch_repeat() -> None:
    assert steps_per_epoch(3, 4) == 1
    batch = steps(count=3)[0]
    assert len(batch) == 4 and {i for _, i in batch} == {0, 1, 2}
