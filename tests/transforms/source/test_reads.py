"""What captured code reads of Python state, wherever it is: a change between calls is seen, and nothing else is one.

A program makes its own state; it gives a function of a tensor, and changes to be made between calls.
"""

from __future__ import annotations

import argparse
import array
import collections
import configparser
import contextvars
import copy
import ctypes
import dataclasses
import datetime
import enum
import functools
import io
import itertools
import json
import logging
import math
import operator
import os
import pathlib
import random
import secrets
import sys
import threading
import time
import types
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from drawn_reads import Drawn
from reported import bits, counted

import weft as wf
from weft import nn

Program = Callable[[], tuple[Callable[[Any], Any], Callable[[], Any]]]
READ: dict[str, Program] = {}
UNREAD: dict[str, Program] = {}
FACTOR: Any = 2.0
SETTINGS: dict[str, Any] = {"lr": 0.5, "log": []}
other = types.ModuleType("other")


class Box:
    """An object with attributes."""

    shared = 2.0

    def __init__(self, **items: Any) -> None:
        self.__dict__.update(items)

    def scaled(self, x: Any) -> Any:
        return x * self.k

    @property
    def twice(self) -> Any:
        return self.k * 2.0

    @classmethod
    def of_class(cls) -> Any:
        return cls.shared

    @staticmethod
    def of_globals() -> Any:
        return FACTOR

    def __getattr__(self, name: str) -> Any:
        if name.startswith("made_"):
            return self.table[name.removeprefix("made_")]
        raise AttributeError(name)


@dataclasses.dataclass(slots=True)
class Slots:
    """Attributes without a dict."""

    k: float = 2.0


@dataclasses.dataclass
class Config:
    k: float = 2.0
    inner: Any = None


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def read(program: Program) -> Program:
    """The change is one of what the function reads."""
    READ[program.__name__] = program
    return program


def unread(program: Program) -> Program:
    """The change is none of what the function reads."""
    UNREAD[program.__name__] = program
    return program


def helper(config: Any) -> Any:
    return config.k


def deep(n: int, config: Any) -> Any:
    return config.k if n == 0 else deep(n - 1, config)


# --- attributes -------------------------------------------------------------------------------------------------------


@read
def attributes_of_objects_in_a_list() -> Any:
    items = [Box(k=2.0), Box(k=3.0)]

    def run(x: Any) -> Any:
        for item in items:
            x = x * item.k
        return x

    return run, lambda: setattr(items[1], "k", 5.0)


@read
def an_attribute_of_an_object_in_a_dict() -> Any:
    table = {"a": Box(k=2.0)}
    return lambda x: x * table["a"].k, lambda: setattr(table["a"], "k", 5.0)


@read
def an_attribute_of_an_object_in_a_dict_of_lists_of_tuples() -> Any:
    table = {"a": [(1, Box(k=2.0))]}
    return lambda x: x * table["a"][0][1].k, lambda: setattr(table["a"][0][1], "k", 5.0)


@read
def an_attribute_of_the_argument_of_a_helper() -> Any:
    config = Box(k=2.0)
    return lambda x: x * helper(config), lambda: setattr(config, "k", 5.0)


@read
def an_attribute_behind_ten_calls() -> Any:
    config = Box(k=2.0)
    return lambda x: x * deep(10, config), lambda: setattr(config, "k", 5.0)


@read
def an_attribute_deep_in_objects() -> Any:
    config = Box(a=Box(b=Box(c=Box(d=Box(e=Box(k=2.0))))))
    return lambda x: x * config.a.b.c.d.e.k, lambda: setattr(config.a.b.c.d.e, "k", 5.0)


@read
def an_object_deep_in_objects_that_is_replaced() -> Any:
    config = Box(a=Box(b=Box(k=2.0)))
    return lambda x: x * helper(config.a.b), lambda: setattr(config.a, "b", Box(k=5.0))


@read
def getattr_with_a_name_that_is_computed() -> Any:
    config = Box(k1=2.0)
    return lambda x: x * getattr(config, f"k{1}"), lambda: setattr(config, "k1", 5.0)


@read
def getattr_with_a_default() -> Any:
    config = Box()
    return lambda x: x * getattr(config, "k", 2.0), lambda: setattr(config, "k", 5.0)


@read
def hasattr_of_an_object() -> Any:
    config = Box()
    return lambda x: x * 2.0 if hasattr(config, "k") else x, lambda: setattr(config, "k", 5.0)


@read
def hasattr_of_an_attribute_that_goes() -> Any:
    config = Box(k=2.0)
    return lambda x: x * 2.0 if hasattr(config, "k") else x, lambda: delattr(config, "k")


@read
def an_attrgetter() -> Any:
    config = Box(a=Box(k=2.0))
    return lambda x: x * operator.attrgetter("a.k")(config), lambda: setattr(config.a, "k", 5.0)


@read
def an_attrgetter_that_map_calls() -> Any:
    items = [Box(k=2.0)]
    return lambda x: x * sum(map(operator.attrgetter("k"), items)), lambda: setattr(items[0], "k", 5.0)


@read
def an_attrgetter_that_sorts() -> Any:
    items = [Box(k=2.0, by=2.0), Box(k=3.0, by=3.0)]

    def run(x: Any) -> Any:
        return x * sorted(items, key=operator.attrgetter("k"))[0].by

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def getattr_that_map_calls() -> Any:
    items = [Box(k=2.0)]
    return lambda x: x * sum(map(getattr, items, ["k"])), lambda: setattr(items[0], "k", 5.0)


@read
def getattr_that_starmap_calls() -> Any:
    items = [Box(k=2.0)]
    return lambda x: x * sum(itertools.starmap(getattr, [(items[0], "k")])), lambda: setattr(items[0], "k", 5.0)


@read
def getattr_of_a_partial() -> Any:
    config = Box(k=2.0)
    return lambda x: x * functools.partial(getattr, config, "k")(), lambda: setattr(config, "k", 5.0)


@read
def a_method_that_a_methodcaller_calls() -> Any:
    table = {"k": 2.0}
    return lambda x: x * operator.methodcaller("get", "k", 1.0)(table), lambda: table.update(k=5.0)


@read
def items_that_map_gets() -> Any:
    table = {"k": 2.0}
    return lambda x: x * sum(map(table.get, ["k"])), lambda: table.update(k=5.0)


@read
def items_by_which_the_least_is_found() -> Any:
    table = {1.0: 2.0, 2.0: 3.0}
    return lambda x: x * min([1.0, 2.0], key=table.get), lambda: table.update({1.0: 5.0})  # type: ignore[arg-type]


@read
def what_an_object_that_map_makes_reads() -> Any:
    table = {"k": 2.0}

    class Made:
        def __init__(self, name: str) -> None:
            self.value = table[name]

    return lambda x: x * sum(made.value for made in map(Made, ["k"])), lambda: table.update(k=5.0)


@read
def a_property_that_is_an_attrgetter() -> Any:
    class Kind(Box):
        rate = property(operator.attrgetter("k"))

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].rate, lambda: setattr(items[0], "k", 5.0)


@read
def a_property_that_is_a_partial() -> Any:
    class Kind(Box):
        rate = property(functools.partial(lambda by, self: self.k * by, 2.0))

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].rate, lambda: setattr(items[0], "k", 5.0)


@read
def an_attribute_that_a_format_names() -> Any:
    config = Box(a=[Box(k=2.0)])
    return lambda x: x * float("{0.k} {0.k}".format(config.a[0])[:3]), lambda: setattr(config.a[0], "k", 5.0)


@read
def a_field_of_ctypes() -> Any:
    class Fields(ctypes.Structure):
        _fields_ = (("k", ctypes.c_int),)

    fields = Fields(2)
    return lambda x: x * fields.k, lambda: setattr(fields, "k", 5)


@read
def a_field_of_ctypes_beside_an_attribute() -> Any:
    class Fields(ctypes.Structure):
        _fields_ = (("k", ctypes.c_int),)

    fields, config = Fields(2), Box(k=2.0)

    def change() -> None:
        fields.k, config.k = 5, 7.0

    return lambda x: x * fields.k * config.k, change


@read
def vars_of_an_object() -> Any:
    config = Box(k=2.0)
    return lambda x: x * vars(config)["k"], lambda: setattr(config, "k", 5.0)


@read
def the_sum_of_vars() -> Any:
    config = Box(a=2.0, b=3.0)
    return lambda x: x * sum(vars(config).values()), lambda: setattr(config, "c", 5.0)


@read
def the_dict_of_an_object() -> Any:
    config = Box(k=2.0)
    return lambda x: x * config.__dict__.get("k", 1.0), lambda: setattr(config, "k", 5.0)


@read
def an_attribute_of_a_class() -> Any:
    class Kind(Box):
        pass

    items = [Kind()]
    return lambda x: x * items[0].shared, lambda: setattr(Kind, "shared", 5.0)


@read
def an_attribute_of_a_class_that_an_object_gets() -> Any:
    items = [Box()]
    return lambda x: x * items[0].shared, lambda: setattr(items[0], "shared", 5.0)


@read
def an_attribute_of_a_class_in_a_dict() -> Any:
    class Kind(Box):
        pass

    table = {"a": Kind}
    return lambda x: x * table["a"].shared, lambda: setattr(Kind, "shared", 5.0)


@read
def a_class_attribute_by_way_of_type() -> Any:
    class Kind(Box):
        pass

    items = [Kind()]
    return lambda x: x * type(items[0]).shared, lambda: setattr(Kind, "shared", 5.0)


@read
def the_class_of_an_object() -> Any:
    class First:
        def k(self) -> float:
            return 2.0

    class Second:
        def k(self) -> float:
            return 5.0

    items: list[Any] = [First()]
    return lambda x: x * items[0].k(), lambda: setattr(items[0], "__class__", Second)


@read
def slots_of_objects_in_a_tuple() -> Any:
    items = (Slots(), Slots())
    return lambda x: x * sum(item.k for item in items), lambda: setattr(items[1], "k", 5.0)


@read
def a_property_of_an_object_in_a_list() -> Any:
    items = [Box(k=2.0)]
    return lambda x: x * items[0].twice, lambda: setattr(items[0], "k", 5.0)


@read
def a_property_that_is_replaced() -> Any:
    class Kind(Box):
        twice = property(lambda self: self.k)

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].twice, lambda: setattr(Kind, "twice", property(lambda self: self.k * 7.0))


@read
def what_getattr_of_a_class_computes() -> Any:
    items = [Box(table={"k": 2.0})]
    return lambda x: x * items[0].made_k, lambda: items[0].table.update(k=5.0)


@read
def a_getattribute_of_a_class() -> Any:
    class Kind(Box):
        def __getattribute__(self, name: str) -> Any:
            found = object.__getattribute__(self, name)
            return found * 2.0 if name == "k" else found

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].k, lambda: setattr(items[0], "k", 5.0)


@read
def a_descriptor() -> Any:
    class Scaled:
        by = 2.0

        def __get__(self, of: Any, kind: Any = None) -> Any:
            return of.k * self.by

    scaled = Scaled()

    class Kind(Box):
        rate = scaled

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].rate, lambda: setattr(scaled, "by", 5.0)


@read
def a_global_by_way_of_globals() -> Any:
    globals()["SCALE"] = 2.0
    return lambda x: x * globals()["SCALE"], lambda: globals().__setitem__("SCALE", 5.0)


@read
def an_attribute_of_a_module() -> Any:
    other.k = 2.0  # type: ignore[attr-defined]
    return lambda x: x * other.k, lambda: setattr(other, "k", 5.0)  # type: ignore[attr-defined]


@read
def an_attribute_of_an_attribute_of_a_module() -> Any:
    other.config = Box(k=2.0)  # type: ignore[attr-defined]
    holder = [other]
    return lambda x: x * holder[0].config.k, lambda: setattr(other.config, "k", 5.0)


@read
def what_is_imported_in_the_function() -> Any:
    other.k = 2.0  # type: ignore[attr-defined]
    sys.modules["other"] = other

    def run(x: Any) -> Any:
        from other import k  # type: ignore[import-not-found]

        return x * k

    return run, lambda: setattr(other, "k", 5.0)


@read
def an_attribute_of_a_function() -> Any:
    def rate() -> float:
        return 1.0

    rate.k = 2.0  # type: ignore[attr-defined]
    items = [rate]
    return lambda x: x * items[0].k, lambda: setattr(rate, "k", 5.0)  # type: ignore[attr-defined]


@read
def a_private_attribute() -> Any:
    class Kind:
        def __init__(self) -> None:
            self.__k = 2.0

        def run(self, x: Any) -> Any:
            return x * [self][0].__k

    kind = Kind()
    return kind.run, lambda: setattr(kind, "_Kind__k", 5.0)


@read
def an_attribute_by_super() -> Any:
    class First:
        k = 2.0

    class Second(First):
        k = 3.0

        def run(self, x: Any) -> Any:
            return x * super().k

    return Second().run, lambda: setattr(First, "k", 5.0)


@read
def an_attribute_that_a_match_names() -> Any:
    items = [Box(k=2.0)]

    def run(x: Any) -> Any:
        match items[0]:
            case Box(k=2.0):
                return x * 2.0
            case _:
                return x * 5.0

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def an_attribute_in_the_constructor_of_a_class() -> Any:
    config = Box(k=2.0)

    class Kind:
        def __init__(self, config: Any) -> None:
            self.k = config.k

    return lambda x: x * Kind(config).k, lambda: setattr(config, "k", 5.0)


@read
def an_attribute_in_a_method_of_a_class_of_the_function() -> Any:
    config = [Box(k=2.0)]

    def run(x: Any) -> Any:
        class Kind:
            def rate(self) -> Any:
                return config[0].k

        return x * Kind().rate()

    return run, lambda: setattr(config[0], "k", 5.0)


@read
def an_attribute_that_is_added_to() -> Any:
    items = [Box(k=2.0)]

    def run(x: Any) -> Any:
        for item in items:
            item.k += 0.0
            x = x * item.k
        return x

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def an_attribute_in_a_comprehension() -> Any:
    items = {"a": Box(k=2.0), "b": Box(k=3.0)}
    return lambda x: x * sum([b.k for a, b in items.items() if a > "a"]), lambda: setattr(items["b"], "k", 5.0)


@read
def an_attribute_in_a_nested_function() -> Any:
    items = [Box(k=2.0)]

    def run(x: Any) -> Any:
        def inner(of: Any) -> Any:
            return of.k

        return x * inner(items[0])

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def an_attribute_of_a_layer_in_a_list() -> Any:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k = 2.0

    net = nn.ModuleList([Layer(), Layer()])
    return lambda x: x * sum(layer.k for layer in net), lambda: setattr(net[1], "k", 5.0)


@read
def a_tensor_in_an_object_in_a_list() -> Any:
    items = [Box(k=wf.asarray(2.0))]
    return lambda x: x * items[0].k, lambda: setattr(items[0], "k", wf.asarray(5.0))


@read
def a_tensor_of_another_dtype_in_an_object() -> Any:
    items = [Box(k=wf.asarray(2.0))]
    return lambda x: x * items[0].k, lambda: setattr(items[0], "k", wf.asarray(5.0, dtype=wf.float64))


# --- functions --------------------------------------------------------------------------------------------------------


@read
def the_closure_of_a_function_in_a_list() -> Any:
    k = 2.0

    def rate() -> float:
        return k

    def change() -> None:
        nonlocal k
        k = 5.0

    items = [rate]
    return lambda x: x * items[0](), change


@read
def a_global_behind_functions_in_a_dict() -> Any:
    table = {"a": {"b": Box.of_globals}}
    globals()["FACTOR"] = 2.0
    return lambda x: x * table["a"]["b"](), lambda: globals().update(FACTOR=5.0)


@read
def the_code_of_a_function_in_a_list() -> Any:
    def rate() -> float:
        return 2.0

    def other_rate() -> float:
        return 5.0

    items = [rate]
    return lambda x: x * items[0](), lambda: setattr(rate, "__code__", other_rate.__code__)


@read
def the_defaults_of_a_function_in_a_list() -> Any:
    def rate(k: float = 2.0) -> float:
        return k

    items = [rate]
    return lambda x: x * items[0](), lambda: setattr(rate, "__defaults__", (5.0,))


@read
def the_keyword_defaults_of_a_function() -> Any:
    def rate(*, k: float = 2.0) -> float:
        return k

    return lambda x: x * rate(), lambda: rate.__kwdefaults__.update(k=5.0)


@read
def a_method_of_a_class_that_is_replaced() -> Any:
    class Kind(Box):
        pass

    items = [Kind(k=2.0)]
    return lambda x: items[0].scaled(x), lambda: setattr(Kind, "scaled", lambda self, x: x * 5.0)


@read
def a_method_of_an_object_that_is_replaced() -> Any:
    items = [Box(k=2.0)]
    return lambda x: items[0].scaled(x), lambda: setattr(items[0], "scaled", lambda x: x * 5.0)


@read
def a_class_method() -> Any:
    class Kind(Box):
        pass

    items = [Kind()]
    return lambda x: x * items[0].of_class(), lambda: setattr(Kind, "shared", 5.0)


@read
def the_forward_of_a_class() -> Any:
    class Layer(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2.0

    return Layer(), lambda: setattr(Layer, "forward", lambda self, x: x * 5.0)


@read
def a_partial_of_an_object() -> Any:
    part = functools.partial(Box.scaled, Box(k=2.0))
    return lambda x: part(x), lambda: setattr(part.args[0], "k", 5.0)


@read
def the_keywords_of_a_partial() -> Any:
    def scaled(x: Any, by: float) -> Any:
        return x * by

    items = [functools.partial(scaled, by=2.0)]
    return lambda x: items[0](x), lambda: items[0].keywords.update(by=5.0)


@read
def a_callable_object_in_a_list() -> Any:
    class Scale(Box):
        def __call__(self, x: Any) -> Any:
            return x * self.k

    items = [Scale(k=2.0)]
    return lambda x: items[0](x), lambda: setattr(items[0], "k", 5.0)


@read
def a_key_of_sorted() -> Any:
    config = Box(k=1.0)
    items = [1.0, 3.0]

    def run(x: Any) -> Any:
        return x * sorted(items, key=lambda v: v * config.k)[0]

    return run, lambda: setattr(config, "k", -1.0)


@read
def a_decorated_function() -> Any:
    config = Box(k=2.0)

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def run(*args: Any) -> Any:
            return function(*args) * config.k

        return run

    @decorated
    def rate(x: Any) -> Any:
        return x + 1.0

    return lambda x: rate(x), lambda: setattr(config, "k", 5.0)


@read
def a_function_that_wefts_decorators_are_around() -> Any:
    config = [Box(k=2.0)]

    class Kind:
        @wf.no_grad()
        def rate(self) -> Any:
            return config[0].k

    @wf.enable_grad()
    def shift() -> Any:
        return config[0].k

    items = [Kind()]
    return lambda x: x * items[0].rate() + shift(), lambda: setattr(config[0], "k", 5.0)


@read
def a_function_that_the_type_of_an_argument_decides() -> Any:
    config = [Box(k=2.0)]

    @functools.singledispatch
    def rate(of: Any) -> Any:
        return 1.0

    @rate.register
    def _(of: float) -> Any:
        return config[0].k

    return lambda x: x * rate(1.0), lambda: setattr(config[0], "k", 5.0)


@read
def what_a_dataclass_reads_when_it_is_made() -> Any:
    config = Box(k=2.0)

    @dataclasses.dataclass
    class Kind:
        v: float

        def __post_init__(self) -> None:
            self.v = self.v * config.k

    return lambda x: x * Kind(1.0).v, lambda: setattr(config, "k", 5.0)


@read
def a_dict_of_pairs_in_lists() -> Any:
    config = Box(pairs=[["a", 2.0]])
    return lambda x: x * dict(config.pairs)["a"], lambda: config.pairs[0].__setitem__(1, 5.0)


@read
def a_function_without_source() -> Any:
    names: dict[str, Any] = {}
    exec("def rate(config): return config.k * K[0]\nK = [2.0]", names)
    config = Box(k=2.0)
    return lambda x: x * names["rate"](config), lambda: names["K"].append(names["K"].pop() + 5.0)


@read
def what_a_function_without_source_gets() -> Any:
    names: dict[str, Any] = {}
    exec("def rate(config): return config.k", names)
    config = Box(k=2.0)
    return lambda x: x * names["rate"](config), lambda: setattr(config, "k", 5.0)


@read
def a_context_manager_of_a_generator() -> Any:
    import contextlib

    config = [Box(k=2.0)]

    @contextlib.contextmanager
    def rate() -> Iterator[float]:
        yield config[0].k

    def run(x: Any) -> Any:
        with rate() as k:
            return x * k

    return run, lambda: setattr(config[0], "k", 5.0)


@read
def a_context_manager_of_a_class() -> Any:
    class Manager(Box):
        def __enter__(self) -> Any:
            return self.k

        def __exit__(self, *_: Any) -> None:
            pass

    items = [Manager(k=2.0)]

    def run(x: Any) -> Any:
        with items[0] as k:
            return x * k

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def operators_of_a_class() -> Any:
    class Number(Box):
        def __add__(self, n: Any) -> Any:
            return self.k + n

        def __len__(self) -> int:
            return int(self.k)

        def __eq__(self, n: object) -> bool:
            return bool(self.k == n)

        __hash__ = None  # type: ignore[assignment]

    number = [Number(k=2.0)]

    def run(x: Any) -> Any:
        return x * (number[0] + 1.0) * len(number[0]) * (2.0 if number[0] == 2.0 else 1.0)

    return run, lambda: setattr(number[0], "k", 5.0)


@read
def items_and_iteration_of_a_class() -> Any:
    class Table(Box):
        def __getitem__(self, key: str) -> Any:
            return self.table[key]

        def __contains__(self, key: str) -> bool:
            return key in self.table

        def __iter__(self) -> Iterator[Any]:
            yield from self.table.values()

    table = [Table(table={"a": 2.0})]

    def run(x: Any) -> Any:
        x = x * table[0]["a"] if "a" in table[0] else x
        for v in table[0]:
            x = x + v
        return x

    return run, lambda: table[0].table.update(a=5.0)


@read
def a_cached_function() -> Any:
    box = [2.0]

    @functools.cache
    def rate(n: int) -> float:
        return box[0] + n

    def change() -> None:
        box[0] = 5.0
        rate.cache_clear()

    return lambda x: x * rate(1), change


@read
def a_cached_tensor() -> Any:
    box = [2.0]

    @functools.lru_cache(maxsize=2)
    def rate(n: int) -> Any:
        return wf.asarray(box[0] + n)

    def change() -> None:
        box[0] = 5.0
        rate.cache_clear()

    return lambda x: x * rate(1), change


@read
def a_cached_method() -> Any:
    class Kind(Box):
        @functools.cache  # noqa: B019
        def rate(self) -> Any:
            return self.k

    items = [Kind(k=2.0)]

    def change() -> None:
        items[0].k = 5.0
        Kind.rate.cache_clear()

    return lambda x: x * items[0].rate(), change


@read
def a_variable_of_the_context() -> Any:
    variable: contextvars.ContextVar[float] = contextvars.ContextVar("variable", default=2.0)
    return lambda x: x * variable.get(), lambda: variable.set(5.0)


@read
def variables_of_the_environment() -> Any:
    os.environ["WEFT_TEST_K"] = "2.0"

    def run(x: Any) -> Any:
        given = os.environ["WEFT_TEST_K"], os.getenv("WEFT_TEST_K", "1"), os.environ.get("WEFT_TEST_K", "1")
        return x * sum(map(float, given))

    return run, lambda: os.environ.update(WEFT_TEST_K="5.0")


@read
def an_object_by_a_weak_reference() -> Any:
    config = Box(k=2.0)
    reference = weakref.ref(config)
    return lambda x: x * reference().k, lambda: setattr(config, "k", 5.0)  # type: ignore[union-attr]


@read
def an_attribute_of_a_thread() -> Any:
    local = threading.local()
    local.k = 2.0
    items = [local]
    return lambda x: x * items[0].k, lambda: setattr(local, "k", 5.0)


@read
def an_attribute_of_a_namespace_in_a_namespace() -> Any:
    config = types.SimpleNamespace(a=types.SimpleNamespace(k=2.0))
    return lambda x: x * helper(config.a), lambda: setattr(config.a, "k", 5.0)


@read
def a_property_that_is_cached() -> Any:
    class Kind(Box):
        @functools.cached_property
        def rate(self) -> Any:
            return self.k * 2.0

    items = [Kind(k=2.0)]
    items[0].rate  # noqa: B018 - the function finds it there
    return lambda x: x * items[0].rate, lambda: items[0].__dict__.update(rate=5.0)


@read
def an_attribute_of_a_metaclass() -> Any:
    class Meta(type):
        @property
        def rate(cls) -> Any:
            return SETTINGS["meta"]

    class Kind(metaclass=Meta):
        pass

    SETTINGS["meta"] = 2.0
    items = [Kind]
    return lambda x: x * items[0].rate, lambda: SETTINGS.update(meta=5.0)


@read
def a_conditional_attribute_that_is_stored_under_a_value() -> Any:
    box = Box(k=2.0)
    items = [box]

    def run(x: Any) -> Any:
        inner = Box(k=items[0].k)
        if x.sum() > 100.0:
            inner.k = 3.0
        return x * inner.k

    return run, lambda: setattr(box, "k", 5.0)


@read
def an_attribute_read_in_a_branch_of_a_value() -> Any:
    items = [Box(k=2.0)]

    def run(x: Any) -> Any:
        if x.sum() > 0.0:
            y = x * items[0].k
        else:
            y = x
        return y

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def an_attribute_read_in_a_loop_of_values() -> Any:
    items = [Box(k=2.0)]

    def run(x: Any) -> Any:
        while x.sum() < 100.0:
            x = x * items[0].k
        return x

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def a_nested_partial_of_a_method() -> Any:
    part = functools.partial(functools.partial(Box(k=2.0).scaled))
    return lambda x: part(x), lambda: setattr(part.func.__self__, "k", 5.0)  # type: ignore[attr-defined]


@read
def a_lambda_in_an_object() -> Any:
    k = [2.0]
    items = [Box(act=lambda x: x * k[0])]
    return lambda x: items[0].act(x), lambda: k.__setitem__(0, 5.0)


@read
def a_function_that_a_list_gets() -> Any:
    items = [lambda x: x * 2.0]

    def run(x: Any) -> Any:
        for function in items:
            x = function(x)
        return x

    return run, lambda: items.append(lambda x: x + 5.0)


@read
def a_method_of_a_base_that_a_subclass_gets() -> Any:
    class Kind(Box):
        pass

    items = [Kind(k=2.0)]
    return lambda x: x * items[0].twice, lambda: setattr(Kind, "twice", property(lambda self: 9.0))


@read
def a_static_method_that_is_replaced() -> Any:
    class Kind:
        @staticmethod
        def rate() -> float:
            return 2.0

    items = [Kind()]
    return lambda x: x * items[0].rate(), lambda: setattr(Kind, "rate", staticmethod(lambda: 5.0))


@read
def a_class_method_that_is_replaced() -> Any:
    class Kind:
        @classmethod
        def rate(cls) -> float:
            return 2.0

    items = [Kind]
    return lambda x: x * items[0].rate(), lambda: setattr(Kind, "rate", classmethod(lambda cls: 5.0))


@read
def a_default_that_is_an_object() -> Any:
    def rate(config: Any = Box(k=2.0)) -> Any:  # noqa: B008
        return config.k

    return lambda x: x * rate(), lambda: setattr(rate.__defaults__[0], "k", 5.0)


@read
def what_a_generator_function_reads() -> Any:
    config = Box(k=2.0)

    def rates(of: Any) -> Iterator[Any]:
        yield of.k
        yield 1.0

    return lambda x: x * sum(rates(config)), lambda: setattr(config, "k", 5.0)


@read
def a_list_of_indices() -> Any:
    config = Box(indices=[0, 1])
    return lambda x: x[config.indices], lambda: config.indices.__setitem__(0, 1)


@read
def an_array_of_indices_that_is_stored_by() -> Any:
    config = Box(indices=np.array([0]))

    def run(x: Any) -> Any:
        y = x * 1.0
        y[config.indices] = 7.0
        return y

    return run, lambda: config.indices.__setitem__(0, 1)


@read
def an_array_that_a_tensor_takes() -> Any:
    config = Box(array=np.array([1.0, 2.0], np.float32))

    def run(x: Any) -> Any:
        y = x * 1.0
        y[:] = config.array
        return y

    return run, lambda: config.array.__setitem__(0, 5.0)


@read
def the_shape_that_a_list_says() -> Any:
    config = Box(shape=[1, 2])
    return lambda x: x.reshape(config.shape), lambda: config.shape.reverse()


@read
def keywords_that_a_dict_says() -> Any:
    config = Box(options={"axis": 0, "keepdims": False})
    return lambda x: x.sum(**config.options), lambda: config.options.update(keepdims=True)


@read
def text_that_a_list_is_joined_to() -> Any:
    config = Box(names=["a"])
    return lambda x: x * len(",".join(config.names)), lambda: config.names.append("b")


@read
def the_smallest_of_a_list_of_objects() -> Any:
    items = [Box(k=2.0), Box(k=3.0)]
    return lambda x: x * min(items, key=lambda item: item.k).k, lambda: setattr(items[0], "k", 5.0)


@read
def pairs_of_zip_and_enumerate() -> Any:
    config = Box(a=[1.0, 2.0], b=[3.0, 4.0])

    def run(x: Any) -> Any:
        for n, (a, b) in enumerate(zip(config.a, config.b, strict=True)):
            x = x * a + b * n
        return x

    return run, lambda: config.b.__setitem__(1, 5.0)


@read
def a_list_by_map_filter_and_reduce() -> Any:
    items = [Box(k=2.0), Box(k=3.0)]

    def run(x: Any) -> Any:
        found = list(filter(None, map(lambda item: item.k, items)))  # noqa: C417
        return x * functools.reduce(lambda a, b: a * b, found)

    return run, lambda: setattr(items[1], "k", 5.0)


@read
def dict_methods_of_the_class() -> Any:
    config = Box(table={"a": 2.0})
    return lambda x: x * dict.get(config.table, "a", 1.0), lambda: config.table.update(a=5.0)


@read
def a_dict_of_ones_own() -> Any:
    class Table(dict):  # type: ignore[type-arg]
        def __getitem__(self, key: str) -> Any:
            return super().__getitem__(key) * self.by

    table = Table(a=2.0)
    table.by = 3.0  # type: ignore[attr-defined]
    items = [table]
    return lambda x: x * items[0]["a"], lambda: setattr(table, "by", 5.0)


@read
def what_a_dict_of_ones_own_holds() -> Any:
    class Table(dict):  # type: ignore[type-arg]
        def __getitem__(self, key: str) -> Any:
            return super().__getitem__(key) * 3.0

    items = [Table(a=2.0)]
    return lambda x: x * items[0]["a"], lambda: items[0].update(a=5.0)


@read
def a_configuration_of_the_standard_library() -> Any:
    config = configparser.ConfigParser()
    config.read_string("[a]\nk = 2.0")
    return lambda x: x * float(config["a"]["k"]) * config.getfloat("a", "k"), lambda: config.set("a", "k", "5.0")


@read
def arguments_of_a_command() -> Any:
    args = argparse.Namespace(k=2.0)
    return lambda x: x * helper(args), lambda: setattr(args, "k", 5.0)


@read
def a_list_that_a_module_gets() -> Any:
    class Layer(nn.Module):
        def forward(self, x: Any, by: Any) -> Any:
            return x * by[0]

    layer, config = Layer(), Box(items=[2.0])
    return lambda x: layer(x, config.items), lambda: config.items.__setitem__(0, 5.0)


@read
def an_iterator_of_ones_own() -> Any:
    class Steps:
        def __init__(self, of: Any) -> None:
            self.of, self.n = of, 0

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            self.n += 1
            if self.n > len(self.of.items):
                raise StopIteration
            return self.of.items[self.n - 1]

    config = Box(items=[2.0, 3.0])

    def run(x: Any) -> Any:
        for k in Steps(config):
            x = x * k
        return x

    return run, lambda: config.items.__setitem__(1, 5.0)


# --- containers -------------------------------------------------------------------------------------------------------


@read
def a_list_in_a_list_in_a_dict() -> Any:
    table = {"a": [[1.0, 2.0]]}
    return lambda x: x * table["a"][0][1], lambda: table["a"][0].__setitem__(1, 5.0)


@read
def the_length_of_a_list_in_an_object() -> Any:
    items = [Box(items=[1])]
    return lambda x: x * len(items[0].items), lambda: items[0].items.append(1)


@read
def the_truth_of_a_list() -> Any:
    config = Box(items=[])
    return lambda x: x * 2.0 if config.items else x, lambda: config.items.append(1)


@read
def a_list_by_not_and_or() -> Any:
    config = Box(items=[], others=[2.0])
    return lambda x: x * (config.items or config.others)[0] * (not config.items), lambda: config.items.append(5.0)


@read
def a_list_that_is_unpacked() -> Any:
    config = Box(items=[[1.0, 2.0], 3.0])

    def run(x: Any) -> Any:
        (a, b), c = config.items
        return x * a * b * c

    return run, lambda: config.items[0].__setitem__(1, 5.0)


@read
def a_list_of_lists_that_a_loop_unpacks() -> Any:
    config = Box(items=[[1.0, 2.0]])

    def run(x: Any) -> Any:
        for a, b in config.items:
            x = x * a * b
        return x

    return run, lambda: config.items[0].__setitem__(1, 5.0)


@read
def lists_that_are_added_and_compared() -> Any:
    config = Box(items=[2.0])
    return (
        lambda x: x * sum([*config.items, 1.0]) if config.items == [2.0] else x,
        lambda: config.items.__setitem__(0, 5.0),
    )


@read
def starred_arguments() -> Any:
    config = Box(items=[2.0], named={"b": 3.0})

    def rate(a: float, b: float) -> float:
        return a + b

    return lambda x: x * rate(*config.items, **config.named), lambda: config.named.update(b=5.0)


@read
def a_starred_list() -> Any:
    config = Box(items=[2.0])
    return lambda x: x * sum([*config.items, 1.0]), lambda: config.items.append(5.0)


@read
def a_dict_in_a_dict() -> Any:
    config = Box(table={"a": 2.0})
    return lambda x: x * {**config.table, "b": 1.0}["a"], lambda: config.table.update(a=5.0)


@read
def a_key_that_is_missing() -> Any:
    config = Box(table={"a": 2.0})

    def run(x: Any) -> Any:
        try:
            return x * config.table["b"]
        except KeyError:
            return x

    return run, lambda: config.table.update(b=5.0)


@read
def an_attribute_that_is_missing() -> Any:
    items = [Box()]

    def run(x: Any) -> Any:
        try:
            return x * items[0].k
        except AttributeError:
            return x

    return run, lambda: setattr(items[0], "k", 5.0)


@read
def operations_of_sets() -> Any:
    config = Box(a={1, 2}, b={2, 3})
    return lambda x: x * len(config.a & config.b) if config.a != config.b else x, lambda: config.b.add(1)


@read
def a_key_that_comes() -> Any:
    config = Box(table={"a": 2.0})
    return lambda x: x * 2.0 if "b" in config.table else x, lambda: config.table.update(b=5.0)


@read
def get_with_a_default() -> Any:
    config = Box(table={"a": 2.0})
    return lambda x: x * config.table.get("b", 1.0), lambda: config.table.update(b=5.0)


@read
def the_order_of_a_dict() -> Any:
    config = Box(table={"a": 2.0, "b": 3.0})
    return lambda x: x * next(iter(config.table.values())), lambda: config.table.update(a=config.table.pop("a"))


@read
def an_itemgetter() -> Any:
    config = Box(table={"a": 2.0})
    return lambda x: x * operator.itemgetter("a")(config.table), lambda: config.table.update(a=5.0)


@read
def a_set_in_an_object() -> Any:
    config = Box(names={"a"})
    return lambda x: x * 2.0 if "b" in config.names else x, lambda: config.names.add("b")


@read
def the_sum_of_a_set() -> Any:
    config = Box(numbers={1, 2})
    return lambda x: x * sum(config.numbers), lambda: config.numbers.add(5)


@read
def a_frozenset_that_is_replaced() -> Any:
    config = Box(names=frozenset("a"))
    return lambda x: x * len(config.names), lambda: setattr(config, "names", frozenset("abc"))


@read
def a_deque() -> Any:
    config = Box(numbers=collections.deque([1.0, 2.0], maxlen=2))
    return lambda x: x * config.numbers[0] + sum(config.numbers), lambda: config.numbers.append(5.0)


@read
def an_ordered_dict() -> Any:
    config = Box(table=collections.OrderedDict(a=2.0, b=3.0))
    return lambda x: x * next(iter(config.table.values())), lambda: config.table.move_to_end("a")


@read
def an_item_of_a_defaultdict() -> Any:
    config = Box(table=collections.defaultdict(float, a=2.0))
    return lambda x: x * config.table["a"], lambda: config.table.update(a=5.0)


@read
def a_counter() -> Any:
    config = Box(table=collections.Counter("aab"))
    return lambda x: x * config.table["a"] + config.table["c"], lambda: config.table.update("c")


@read
def views_of_a_dict() -> Any:
    table = {"a": 2.0}
    views = [table.keys(), table.values(), table.items()]
    return lambda x: x * len(views[0]) + sum(views[1]) + len(views[2]), lambda: table.update(b=5.0)


@read
def a_mapping_proxy() -> Any:
    table = {"a": 2.0}
    proxy = types.MappingProxyType(table)
    return lambda x: x * proxy["a"], lambda: table.update(a=5.0)


@read
def dicts_of_the_standard_library() -> Any:
    chain = collections.ChainMap({"a": 2.0}, {"b": 3.0})
    user = collections.UserDict({"a": 2.0})

    def change() -> None:
        chain.maps[1]["b"] = 5.0
        user["a"] = 7.0

    return lambda x: x * chain["b"] + user["a"], change


@read
def an_item_of_a_long_list() -> Any:
    config = Box(items=[1.0] * 3000)
    return lambda x: x * config.items[2000], lambda: config.items.__setitem__(2000, 5.0)


@read
def an_item_of_a_long_dict() -> Any:
    config = Box(table=dict.fromkeys(range(3000), 1.0))
    return lambda x: x * config.table[2000], lambda: config.table.update({2000: 5.0})


@read
def a_subclass_of_a_list() -> Any:
    class Items(list):  # type: ignore[type-arg]
        def total(self) -> Any:
            return sum(self)

    config = Box(items=Items([2.0]))
    return lambda x: x * config.items.total() * config.items[0], lambda: config.items.append(5.0)


@read
def a_named_tuple_with_a_list() -> Any:
    Pair = collections.namedtuple("Pair", "a b")
    config = Box(pair=Pair([2.0], 3.0))
    return lambda x: x * config.pair.a[0], lambda: config.pair.a.append(config.pair.a.pop() + 3.0)


@read
def tensors_in_a_list_in_an_object() -> Any:
    config = Box(items=[wf.asarray(2.0), wf.asarray(3.0)])
    return lambda x: x * wf.stack(config.items).sum(), lambda: config.items.append(wf.asarray(5.0))


@read
def tensors_in_a_dict_in_an_object() -> Any:
    config = Box(table={"a": wf.asarray(2.0)})
    return lambda x: x * config.table["a"], lambda: config.table.update(a=wf.asarray(5.0))


@read
def a_list_that_is_returned() -> Any:
    config = Box(items=[wf.asarray(2.0)])
    return lambda x: (x, config.items), lambda: config.items.append(wf.asarray(5.0))


@read
def what_a_copy_is_made_of() -> Any:
    config = Config(inner=[Config()])
    return lambda x: x * copy.deepcopy(config).inner[0].k, lambda: setattr(config.inner[0], "k", 5.0)


@read
def what_asdict_reads() -> Any:
    config = Config(inner=Config())
    return lambda x: x * dataclasses.asdict(config)["inner"]["k"], lambda: setattr(config.inner, "k", 5.0)


@read
def what_json_reads() -> Any:
    config = Box(table={"a": [2.0]})
    return lambda x: x * len(json.dumps(config.table)), lambda: config.table["a"].append(5.0)


@read
def a_member_of_an_enum() -> Any:
    config = Box(color=Color.RED)
    return lambda x: x * 2.0 if config.color is Color.RED else x, lambda: setattr(config, "color", Color.BLUE)


@read
def a_global_dict_in_a_helper() -> Any:
    SETTINGS["lr"] = 2.0
    return lambda x: x * helper(Box(k=SETTINGS["lr"])), lambda: SETTINGS.update(lr=5.0)


@read
def text_of_a_list() -> Any:
    config = Box(items=[2])
    return lambda x: x * len(f"{config.items}"), lambda: config.items.append(5)


# --- arrays -----------------------------------------------------------------------------------------------------------


def _array_program(compute: Callable[[Any, Any], Any]) -> Any:
    config = Box(array=np.array([1.0, 2.0], np.float32))
    return lambda x: compute(x, config.array), lambda: config.array.__setitem__(0, 5.0)


@read
def an_element_of_an_array() -> Any:
    return _array_program(lambda x, a: x * float(a[0]))


@read
def a_method_of_an_array() -> Any:
    return _array_program(lambda x, a: x * float(a.sum()))


@read
def arithmetic_of_an_array() -> Any:
    return _array_program(lambda x, a: x + (a * 2.0))


@read
def an_array_beside_a_tensor() -> Any:
    return _array_program(lambda x, a: x + a)


@read
def a_function_of_numpy() -> Any:
    return _array_program(lambda x, a: x * float(np.mean(a)))


@read
def an_array_that_becomes_a_tensor() -> Any:
    return _array_program(lambda x, a: x + wf.tensor(a))


@read
def an_array_in_a_list_that_becomes_one() -> Any:
    return _array_program(lambda x, a: x + wf.asarray(np.asarray([a])))


@read
def the_shape_of_an_array() -> Any:
    config = Box(array=np.ones(3))
    return lambda x: x * config.array.shape[0], lambda: config.array.resize(5, refcheck=False)


@read
def numpy_numbers() -> Any:
    config = Box(k=np.float32(2.0))
    return lambda x: x * float(config.k), lambda: setattr(config, "k", np.float32(5.0))


@read
def bytes_that_change() -> Any:
    config = Box(data=bytearray(b"ab"), numbers=array.array("d", [1.0]))

    def change() -> None:
        config.data[0] = 7
        config.numbers[0] = 5.0

    return lambda x: x * config.data[0] + config.numbers[0], change


# --- what is no change ------------------------------------------------------------------------------------------------


@unread
def another_attribute() -> Any:
    items = [Box(k=2.0, count=0)]
    return lambda x: x * items[0].k, lambda: setattr(items[0], "count", items[0].count + 1)


@unread
def another_key_of_a_dict() -> Any:
    config = Box(table={"lr": 2.0, "history": []})
    return lambda x: x * config.table["lr"], lambda: config.table["history"].append(1)


@unread
def a_key_that_nobody_asks_for() -> Any:
    return lambda x: x * SETTINGS["lr"], lambda: SETTINGS.update({f"n{len(SETTINGS)}": 1})


@unread
def an_equal_number() -> Any:
    config = Box(k=2.5, name="ab", n=np.float64(3.0))
    return (
        lambda x: x * config.k * len(config.name) * float(config.n),
        lambda: config.__dict__.update(k=float("2.5"), name="".join("ab"), n=np.float64(3.0)),
    )


@unread
def an_equal_list() -> Any:
    config = Box(items=[2.0])
    return lambda x: x * config.items[0], lambda: config.items.__setitem__(0, float("2.0"))


@unread
def an_array_by_reference() -> Any:
    config = Box(array=np.array([1.0, 2.0], np.float32))
    return lambda x: x + wf.asarray(config.array), lambda: config.array.__setitem__(0, config.array[0] + 1.0)


@unread
def objects_of_the_function() -> Any:
    def run(x: Any) -> Any:
        box = Box(k=2.0, items=[1.0])
        x = x * box.k
        box.k = 3.0
        box.items.append(box.k)
        return x * box.k * len(box.items)

    return run, lambda: None


@unread
def objects_that_the_function_adds_to_its_own() -> Any:
    config = Box(k=2.0)

    def run(x: Any) -> Any:
        items = [Box(k=config.k)]
        items.append(Box(k=3.0))
        for item in items:
            x = x * item.k
            item.k = item.k + 1.0
        return x * sum(item.k for item in items)

    return run, lambda: None


@unread
def an_object_that_the_function_copies_and_changes() -> Any:
    config = Config(inner=[2.0])

    def run(x: Any) -> Any:
        mine = copy.deepcopy(config)
        x = x * mine.k * mine.inner[0]
        mine.k, mine.inner[0] = 7.0, 8.0
        return x * mine.k * mine.inner[0]

    return run, lambda: None


@unread
def the_way_that_is_not_gone() -> Any:
    config = [Box(mode="a", k=2.0, n=0)]

    def run(x: Any) -> Any:
        return x * config[0].k if config[0].mode == "a" else x * config[0].n

    return run, lambda: setattr(config[0], "n", config[0].n + 1)


@unread
def an_item_of_a_long_list_beside_the_one_that_is_read() -> Any:
    config = Box(table={n: 1.0 for n in range(2000)}, n=0)  # noqa: C420

    def change() -> None:
        config.table[config.n + 10] = 9.0
        config.n += 1

    return lambda x: x * config.table[1], change


@unread
def a_list_that_a_module_passes_on() -> Any:
    class Layer(nn.Module):
        def forward(self, x: Any, by: Any) -> Any:
            return x * 2.0

    layer, config = Layer(), Box(items=[2.0])
    return lambda x: layer(x, config.items), lambda: config.items.append(5.0)


@unread
def a_method_that_is_not_called() -> Any:
    class Kind(Box):
        def unused(self) -> None:
            pass

    items = [Kind(k=2.0)]
    return lambda x: items[0].scaled(x), lambda: setattr(Kind, "unused", lambda self: None)


@unread
def a_list_that_is_passed_on() -> Any:
    config = Box(items=[1.0], k=2.0)

    def rate(k: Any, items: Any) -> Any:
        return k

    return lambda x: x * rate(config.k, config.items), lambda: config.items.append(1.0)


@unread
def a_cached_function_whose_global_changes() -> Any:
    box = [2.0]

    @functools.cache
    def rate(n: int) -> float:
        return box[0] + n

    return lambda x: x * rate(1), lambda: box.__setitem__(0, box[0] + 1.0)


@unread
def a_tensor_that_is_written() -> Any:
    items = [Box(k=wf.asarray(2.0))]
    return lambda x: x * items[0].k, lambda: items[0].k.add_(1.0)


def outcome(function: Any, x: Any) -> Any:
    try:
        return bits(function(x))
    except wf.CaptureError:
        raise
    except Exception as error:
        return type(error).__name__, str(error)


def said(found: Any) -> Any:
    """What must be the same: of an error its type, since Python names functions in texts by where they stand."""
    return found[0] if found[0].endswith("Error") else found


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_seen_to_change(name: str) -> None:
    run, change = READ[name]()
    compiled, x = wf.compile(run), wf.asarray([1.0, 2.0])
    with counted() as captures:
        first = outcome(compiled, x)
        assert [outcome(compiled, x) for _ in range(4)] == [first] * 4 and len(captures) == 1
        assert outcome(run, x) == first
        change()
        after = outcome(run, x)
        assert after != first, "the change makes no difference"
        assert [outcome(compiled, x) for _ in range(4)] == [after] * 4 and len(captures) == 2


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_no_reason_to_capture_again(name: str) -> None:
    run, change = UNREAD[name]()
    compiled, x = wf.compile(run), wf.asarray([1.0, 2.0])
    with counted() as captures:
        for _ in range(5):
            assert outcome(compiled, x) == outcome(run, x)
            change()
    assert len(captures) == 1


# --- what is refused --------------------------------------------------------------------------------------------------

RNG, PYTHONS = np.random.default_rng(1), random.Random(1)
COUNT, LINES, FILE = itertools.count(), iter([1.0]), io.StringIO("1")
GENERATOR = (n for n in (1.0, 2.0))
LOGGER = logging.getLogger("test")


def numbered() -> Iterator[float]:
    yield 1.0


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "time": (lambda x: x * time.time(), "time.time.* clock"),
    "monotonic": (lambda x: x * time.monotonic_ns(), "monotonic_ns.* clock"),
    "now": (lambda x: x * datetime.datetime.now().second, "datetime.now.* clock"),
    "today": (lambda x: x * datetime.date.today().day, "date.today.* clock"),
    "localtime": (lambda x: x * time.localtime().tm_sec, "localtime.* clock"),
    "random": (lambda x: x * random.random(), "wf.random"),
    "shuffle": (lambda x: random.shuffle([1, 2]) or x, "wf.random"),
    "an object of random": (lambda x: x * PYTHONS.random(), "wf.random"),
    "numpy's generator": (lambda x: x * float(RNG.random()), "wf.random"),
    "numpy's functions": (lambda x: x * float(np.random.rand()), "wf.random"),
    "numpy's seed": (lambda x: np.random.seed(1) or x, "wf.random"),
    "a generator without a seed": (lambda x: x * float(np.random.default_rng().random()), "wf.random"),
    "secrets": (lambda x: x * secrets.randbelow(9), "secrets.randbelow.*wf.random"),
    "uuid": (lambda x: x * uuid.uuid4().int, "uuid4.*wf.random"),
    "urandom": (lambda x: x * os.urandom(1)[0], "urandom.*wf.random"),
    "next": (lambda x: x * next(COUNT), "count from outside"),
    "a loop over an iterator": (lambda x: x * sum(n for n in LINES), "list_iterator from outside"),
    "a generator": (lambda x: x * max(GENERATOR), "generator from outside"),
    "open": (lambda x: x * len(open(__file__).read()), "open.*outside"),  # noqa: SIM115
    "input": (lambda x: x * len(input()), "input.*outside"),
    "a file": (lambda x: x * len(FILE.read()), "read.*outside"),
    "stdout": (lambda x: sys.stdout.write("a") * x, "write.*outside"),
    "a path": (lambda x: x * len(pathlib.Path(__file__).read_text()), "read_text.*outside"),
    "logging": (lambda x: logging.info("a") or x, "use print"),
    "a logger": (lambda x: LOGGER.warning("a") or x, "use print"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_capture_cannot_ask_is_refused_by_name(name: str) -> None:
    function, text = REFUSED[name]
    with pytest.raises(wf.CaptureError, match=text) as caught:
        wf.compile(function)(wf.asarray([1.0]))
    where = caught.value.where
    assert where is not None and where == (__file__, function.__code__.co_firstlineno)


def test_what_the_function_makes_itself_is_not_refused() -> None:
    def run(x: Any) -> Any:
        rng, pythons = np.random.default_rng(3), random.Random(3)
        file, items = io.StringIO("abc"), iter([1.0, 2.0])
        x = x * float(rng.random()) * pythons.random() * len(file.read()) * next(items) * math.pi
        for n in numbered():
            x = x * n
        warnings.warn("once", stacklevel=1)
        return x * datetime.date(2020, 1, 2).day * len(time.strftime("%Y", (2020, *[1] * 8)))

    x = wf.asarray([1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert bits(wf.compile(run)(x)) == bits(run(x))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("first", range(0, 120, 20))
def test_random_state_that_changes_at_random_is_seen_to_change(first: int, tmp_path: pathlib.Path) -> None:
    for seed in range(first, first + 20):
        drawn = Drawn(seed)
        path = tmp_path / f"program_{seed}.py"
        path.write_text(drawn.source)
        names: dict[str, Any] = {"STATE": drawn.state, "__name__": f"program_{seed}"}
        exec(compile(drawn.source, str(path), "exec"), names)
        run, x, found = names["run"], wf.asarray([1.0, 2.0]), []
        compiled = wf.compile(run)
        with warnings.catch_warnings(), counted() as captures:
            warnings.filterwarnings("ignore", ".* has been captured")
            for _ in range(8):
                for _ in range(3):
                    found.append(outcome(run, x))
                    before = len(captures)
                    assert said(outcome(compiled, x)) == said(found[-1]), drawn.source
                    if len(found) > 1 and found[-1] == found[-2] and not found[-1][0].endswith("Error"):
                        assert len(captures) <= before + (len(found) % 3 == 1), drawn.source
                drawn.change()
                names["STATE"] = drawn.state
