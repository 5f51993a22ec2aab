"""Containers that compiled code reads: lists, dicts, sets, arrays of NumPy and caches that change between calls."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data

import weft as wf
from weft import nn

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}

numbers = [1.0, 2.0, 3.0]


@report("pytorch/pytorch#120861")
def a_global_list_that_is_an_argument_too(compiled: Any) -> Any:
    """The last item of a global list and of a list that is passed, which are one object first and two later."""

    @compiled
    def run(items: Any, x: Any) -> Any:
        return x + numbers[-1] + items[-1]

    x = data(2)
    return [run(numbers, x), run(numbers[::-1], x), run([1.0, 2.0], x), run([1.0, 2.0, 3.0, 2.0], x)]


@report("pytorch/pytorch#183994")
def a_numpy_scalar_of_a_module(compiled: Any) -> Any:
    """A NumPy number held by a module, with another value and another dtype later."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = np.float64(2.0)

        def forward(self, x: Any) -> Any:
            return x * float(self.scale)

    net = Net()
    run, found = compiled(net), []
    for scale in (np.float64(2.0), np.float64(3.0), np.float32(0.1)):
        net.scale = scale
        found.append(run(data(3)))
    return found


@report("pytorch/pytorch#112335", "pytorch/pytorch#183994")
def numpy_arrays_of_a_closure_that_are_written(compiled: Any) -> Any:
    """The elements of arrays in a list change between calls."""
    arrays = [np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)]

    @compiled
    def run(x: Any) -> Any:
        return x + wf.asarray(np.asarray(arrays))

    found = [run(data(2, 2))]
    arrays[0][1] = 10.0
    found.append(run(data(2, 2)))
    arrays[1] = np.array([7.0, 8.0], np.float32)
    return [*found, run(data(2, 2))]


@report("pytorch/pytorch#146598")
def a_cached_function_whose_global_changes(compiled: Any) -> Any:
    """What ``functools.cache`` keeps stays, whatever the global that was read in it becomes."""
    box = [1.0]

    @functools.cache
    def scale(key: int) -> float:
        return box[0] + key

    @compiled
    def run(x: Any) -> Any:
        return x * scale(1)

    found = [run(data(3))]
    box[0] = 5.0
    found.append(run(data(3)))
    scale.cache_clear()
    return [*found, run(data(3))]


@report("pytorch/pytorch#141258", "pytorch/pytorch#183994")
def numbers_that_numpy_computes(compiled: Any) -> Any:
    """An element of an array, its sum and its double, of an array that changes between calls."""
    array = np.array([1.0, 2.0], np.float32)

    @compiled
    def element(x: Any) -> Any:
        return x + float(array[0])

    @compiled
    def total(x: Any) -> Any:
        return x * round(float(np.floor(array.sum())))

    @compiled
    def doubled(x: Any) -> Any:
        return x + wf.asarray(array * 2.0)

    found = [run(data(2)) for run in (element, total, doubled)]
    array[0] = 10.0
    return [*found, *(run(data(2)) for run in (element, total, doubled))]


@report("pytorch/pytorch#196167", "pytorch/pytorch#106559")
def members_of_a_set(compiled: Any) -> Any:
    """What is in a set, and how many, decides."""
    chosen = {"a"}

    @compiled
    def run(x: Any) -> Any:
        return x * 2.0 if "b" in chosen else x + 1.0

    @compiled
    def counted(x: Any) -> Any:
        return x * len(chosen)

    found = [run(data(2)), counted(data(2))]
    chosen.add("b")
    found += [run(data(2)), counted(data(2))]
    chosen.clear()
    return [*found, run(data(2)), counted(data(2))]


@report("pytorch/pytorch#98928")
def a_list_deep_in_an_object(compiled: Any) -> Any:
    """An item is appended to a list in a dict that an object has; another item is replaced."""

    class Config:
        def __init__(self) -> None:
            self.values = {"weights": [1.0, 2.0], "names": {"inner": (3.0,)}}

    config = Config()

    @compiled
    def run(x: Any) -> Any:
        return x * sum(config.values["weights"]) + config.values["names"]["inner"][0]

    found = [run(data(2))]
    config.values["weights"].append(4.0)
    found.append(run(data(2)))
    config.values["weights"][0] = 5.0
    found.append(run(data(2)))
    config.values["names"]["inner"] = (7.0,)
    return [*found, run(data(2))]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_what_containers_hold_is_read_at_every_call(case: Case) -> None:
    check(case)
