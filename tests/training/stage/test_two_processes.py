"""Two processes compute the same batch as one."""

import pytest
import torch
import two_processes
from faulty_disk import server, team


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of a single process, and of each of two processes."""
    folder = tmp_path_factory.mktemp("two")
    for world in (1, 2):
        started = [server().Process(target=two_processes.main, args=(folder, rank)) for rank in team(world)]
        for process in started:
            process.start()
        for process in started:
            process.join(120)
            assert process.exitcode == 0
    return [torch.load(folder / f"{name}.pt") for name in ("0-of-1", "0-of-2", "1-of-2")]


@pytest.mark.parametrize("case", ["image None", "image 1", "batch None", "batch 1"])
def test_loss_and_gradient_are_those_of_the_whole_batch(found, case):
    alone, *both = found
    for one in both:
        torch.testing.assert_close(one[case], alone[case], rtol=1e-4, atol=1e-7)


def test_batch_norm_of_an_average_is_shared(found):
    alone, *both = found
    assert [one["statistics"]["seen"] for one in found] == [8, 4, 4]
    for one in both:
        torch.testing.assert_close(one["statistics"]["mean"], alone["statistics"]["mean"])


def test_each_process_has_its_own_dropout_and_the_first_that_of_a_single_one(found):
    alone, first, second = (one["dropout"] for one in found)
    assert torch.equal(first, alone)
    assert not torch.equal(second, alone)
