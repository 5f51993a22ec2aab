"""Derives the coefficients of weft's vector math: prints ``src/weft/compiler/vmath/coefficients.py``.

    python tools/minimax.py > src/weft/compiler/vmath/coefficients.py

Each :class:`Fit` below names a function, an interval and the powers of a polynomial. Coefficients are the weighted
minimax ones by the exchange algorithm of Remez (E. W. Cheney, "Introduction to Approximation Theory", 1966, chapter
3) on a dense grid, in mpmath with 60 digits. They are rounded to the dtype one after the other, lowest power first;
after each rounding the remaining ones are fitted again, so that they make up for what was rounded away. The error
bound that is printed beside a table is measured with the rounded coefficients on a finer grid.

The result is the same on every machine: nothing here depends on floating-point hardware.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mpmath import mp, mpf

mp.dps = 60

Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """``function(x) ~ sum(c_k x^k, k < terms)`` on ``interval``; ``weight`` multiplies the error (default: relative).

    ``form`` says what the polynomial is used for; ``x`` in it is the polynomial's variable. ``leading`` are its lowest
    coefficients where they are given and not fitted. ``rest``: the first coefficient has a second part.
    """

    name: str
    form: str
    function: Function
    interval: tuple[mpf, mpf]
    terms: int
    dtype: str = "f32"
    weight: Function | None = None
    leading: tuple[float, ...] = ()
    rest: bool = False


def rounded(value: mpf, dtype: str) -> mpf:
    """The nearest float32 or float64."""
    bits = 24 if dtype == "f32" else 53
    with mp.workprec(bits):
        return +value


def grid(interval: tuple[mpf, mpf], count: int) -> list[mpf]:
    """``count`` Chebyshev points, ends included."""
    a, b = interval
    return [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * k / (count - 1)) for k in range(count)]


def evaluate(coefficients: Sequence[mpf], x: mpf) -> mpf:
    """Horner's rule."""
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def exchange(errors: Sequence[mpf], count: int) -> list[int] | None:
    """Positions of ``count`` alternating extrema of the errors, the largest among them; None if there are fewer."""
    peaks: list[int] = []
    for k, e in enumerate(errors):
        if peaks and (e > 0) == (errors[peaks[-1]] > 0):
            if abs(e) > abs(errors[peaks[-1]]):
                peaks[-1] = k
        else:
            peaks.append(k)
    while len(peaks) > count:
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    return peaks if len(peaks) == count else None


def remez(
    points: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf], n: int, start: Sequence[mpf] = ()
) -> tuple[list[mpf], list[mpf]]:
    """The ``n`` coefficients with the least largest weighted error on the points, and the n + 1 points where it is
    reached. ``start``: where it may be reached."""
    basis = [[x**p for p in range(n)] for x in points]
    reference = [round(k * (len(points) - 1) / n) for k in range(n + 1)]
    if start:
        reference = [min(range(len(points)), key=lambda k: abs(points[k] - x)) for x in start]
    best: tuple[mpf, list[mpf], list[int]] | None = None
    for _ in range(40):
        matrix, right = mp.matrix(n + 1, n + 1), mp.matrix(n + 1, 1)
        for row, k in enumerate(reference):
            for column in range(n):
                matrix[row, column] = basis[k][column] * weights[k]
            matrix[row, n] = (-1) ** row
            right[row] = values[k] * weights[k]
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[k] for k in range(n)]
        errors = [(v - mp.fdot(coefficients, b)) * w for v, b, w in zip(values, basis, weights)]
        worst = max(map(abs, errors))
        if best is None or worst < best[0]:
            best = (worst, coefficients, reference)
        following = exchange(errors, n + 1)
        if following is None or worst < abs(solution[n]) * mpf("1.001"):
            break
        reference = following
    assert best is not None
    return best[1], [points[k] for k in best[2]]


def fit(task: Fit) -> tuple[list[mpf], mpf]:
    """Rounded coefficients, and the largest weighted error on a finer grid.

    What is left after fixing k coefficients is x^k times a polynomial; it is divided by x^k, so that the error's signs
    alternate across 0 too. The alternation of the fit before, less its point next to 0, is a good first guess.
    """
    near = max(map(abs, task.interval)) / 1000
    points = [x for x in grid(task.interval, 16 * task.terms + 32) if abs(x) > near]
    values = [task.function(x) for x in points]
    weigh = task.weight or (lambda x: 1 / task.function(x))
    weights = [weigh(x) for x in points]
    fixed = [mpf(c) for c in task.leading]
    reference: list[mpf] = []
    for k in range(len(fixed), task.terms):
        rest = [(v - evaluate(fixed, x)) / x**k for v, x in zip(values, points)]
        weighted = [w * abs(x) ** k for w, x in zip(weights, points)]
        if reference:
            reference.remove(min(reference, key=abs))
        coefficients, reference = remez(points, rest, weighted, task.terms - k, reference)
        first = rounded(coefficients[0], task.dtype)
        fixed.append(first + rounded(coefficients[0] - first, task.dtype) if task.rest and k == 0 else first)
    finer = grid(task.interval, 50 * task.terms + 3)
    return fixed, max(abs((task.function(x) - evaluate(fixed, x)) * weigh(x)) for x in finer if abs(x) > mpf("1e-12"))


# --- constants --------------------------------------------------------------------------------------------------


def pieces(value: mpf, dtype: str, first_bits: int, count: int) -> list[mpf]:
    """``value`` as a sum: the first part has ``first_bits`` bits (0: all), the others all of the dtype's."""
    parts = []
    for k in range(count):
        with mp.workprec(first_bits if k == 0 and first_bits else 24 if dtype == "f32" else 53):
            part = +value
        parts.append(part)
        value -= part
    return parts


CONSTANTS = {
    # name: (value, bits of the first part for float32 and for float64; 0: all of them)
    "LN2": (mp.log(2), 15, 40),
    "LOG2_E": (1 / mp.log(2), 0, 0),
    "LOG10_2": (mp.log10(2), 15, 40),
    "LOG10_E": (mp.log10(mp.e), 0, 0),
}


def quarter_turns() -> list[str]:
    """Lines of QUARTER_TURNS: how float32 arguments of sin and cos are reduced; see trigonometric.py.

    Each row: numbers below ``limit`` are multiplied by ``scale = 2^-s`` (which leaves integers, but for the first row)
    and by 2^s 2/pi mod 4, in two parts.
    """
    lines = []
    for limit, s in ((50, 0), (77, 27), (104, 54), (128, 81)):
        mp.dps = 100
        value = mp.ldexp(2 / mp.pi, s)
        value -= 4 * mp.floor(value / 4 + mpf("0.5"))
        first, rest = (literal(p, "f64") for p in pieces(value, "f64", 0, 2))
        mp.dps = 60
        lines.append(f"    ({2.0**limit!r}, {2.0**-s!r}, {first}, {rest}),")
    return lines


def turns() -> list[str]:
    """Lines of TURNS, for trigonometric_float64.py: columns of 2^(8k - 56) / 2pi mod 1 in four parts."""
    columns: list[list[mpf]] = [[], [], [], []]
    mp.dps = 400
    for k in range(129):
        value = mp.ldexp(1 / (2 * mp.pi), 8 * k - 56)
        value -= mp.floor(value + mpf("0.5"))
        for column, step in zip(columns, (52, 104, 156, 0)):
            part = mp.ldexp(mp.nint(mp.ldexp(value, step)), -step) if step else rounded(value, "f64")
            column.append(part)
            value -= part
    mp.dps = 60
    lines = []
    for column in columns:
        lines += ["    (", "    " + wrapped([literal(v, "f64") for v in column], 112).replace("\n", "\n    "), "    ),"]
    return lines


def reciprocals() -> list[str]:
    """Lines of RECIPROCALS: columns r, and -log2 r in two parts, with r close to 1/m in 128 intervals; see power.py.

    m lies in [11/16, 11/8): in 80 intervals of length 2^-8 and, from 1 on, 48 of length 2^-7. r is a multiple of 2^-7
    or 2^-8, so that ``m r - 1`` is exact, and 1 on both sides of m = 1.
    """
    rows = []
    for k in range(128):
        low = mpf(11) / 16 + mpf(k) / 256 if k < 80 else 1 + mpf(k - 80) / 128
        middle, step = (low + mpf(1) / 512, 128) if k < 80 else (low + mpf(1) / 256, 256)
        r = mpf(1) if k in (79, 80) else mp.nint(step / middle) / step
        value = -mp.log(r, 2)
        first = mp.ldexp(mp.nint(mp.ldexp(value, 40)), -40)
        rows.append((r, first, rounded(value - first, "f64")))
    lines = []
    for column in zip(*rows):
        lines += ["    (", "    " + wrapped([literal(v, "f64") for v in column], 112).replace("\n", "\n    "), "    ),"]
    return lines


# --- the fits ---------------------------------------------------------------------------------------------------

LN2 = mp.log(2)
HALF_LN2 = LN2 / 2 * mpf("1.0005")  # the reduction rounds, so that r may be a little beyond ln2/2


def exponentials() -> Iterable[Fit]:
    """e^r and 2^r near 0."""
    around = (-HALF_LN2, HALF_LN2)
    for dtype, terms in (("f32", 5), ("f64", 10)):
        yield Fit(
            f"EXP_{dtype}",
            "e^x = 1 + x + x^2 P(x)",
            lambda x: (mp.expm1(x) - x) / x**2,
            around,
            terms,
            dtype,
            lambda x: x**2 / mp.exp(x),
        )
        yield Fit(
            f"EXPM1_{dtype}",
            "e^x - 1 = x + x^2 P(x)",
            lambda x: (mp.expm1(x) - x) / x**2,
            around,
            terms + 1,
            dtype,
            lambda x: x**2 / mp.expm1(x),
            (0.5,),
        )
    half = (mpf("-0.5003"), mpf("0.5003"))
    for dtype, terms in (("f32", 6), ("f64", 12)):
        yield Fit(
            f"EXP2_{dtype}", "2^x = 1 + x P(x)", lambda x: mp.expm1(x * LN2) / x, half, terms, dtype, lambda x: x / 2**x
        )


def logarithms() -> Iterable[Fit]:
    """log(1 + f) for 1 + f between 11/16 and 11/8."""
    low, high = mpf("-0.3125"), mpf("0.375")
    yield Fit(
        "LOG_F32",
        "log(1 + x) = x - x^2/2 + x^3 P(x)",
        lambda x: (mp.log1p(x) - x + x**2 / 2) / x**3,
        (low, high),
        9,
        "f32",
        lambda x: x**3 / mp.log1p(x),
    )
    s_max = -low / (2 + low)
    yield Fit(
        "LOG_F64",
        "with s = f/(2 + f), x = s^2: log(1 + f) = 2 s + s x P(x)",
        lambda x: (2 * mp.atanh(mp.sqrt(x)) / mp.sqrt(x) - 2) / x,
        (mpf("1e-12"), s_max**2),
        8,
        "f64",
        lambda x: x * mp.sqrt(x) / (2 * mp.atanh(mp.sqrt(x))),
    )
    yield Fit("LOG2_POWER", "log2(1 + x) = x P(x)", lambda x: mp.log1p(x) / LN2 / x, (low, high), 14, "f64")


def trigonometrics() -> Iterable[Fit]:
    """sin and cos of quarter turns (for float32, in float64), and of radians."""
    quarter = mp.pi / 2
    wide = (mpf("1e-9"), mpf("0.67") ** 2)
    yield Fit(
        "SIN_QUARTER",
        "sin(pi/2 r) = r P(r^2), x = r^2",
        lambda x: mp.sin(quarter * mp.sqrt(x)) / mp.sqrt(x),
        wide,
        5,
        "f64",
    )
    yield Fit(
        "COS_QUARTER",
        "cos(pi/2 r) = P(r^2), x = r^2",
        lambda x: mp.cos(quarter * mp.sqrt(x)),
        wide,
        6,
        "f64",
        None,
        (1.0,),
    )
    near = (mpf("1e-9"), (mp.pi / 4 * mpf("1.001")) ** 2)
    yield Fit(
        "SIN_F64",
        "sin(r) = r + r x P(x), x = r^2",
        lambda x: (mp.sin(mp.sqrt(x)) / mp.sqrt(x) - 1) / x,
        near,
        7,
        "f64",
        lambda x: x * mp.sqrt(x) / mp.sin(mp.sqrt(x)),
    )
    yield Fit(
        "COS_F64",
        "cos(r) = 1 - x/2 + x^2 P(x), x = r^2",
        lambda x: (mp.cos(mp.sqrt(x)) - 1 + x / 2) / x**2,
        near,
        7,
        "f64",
        lambda x: x**2 / mp.cos(mp.sqrt(x)),
    )


def inverse_trigonometrics() -> Iterable[Fit]:
    """asin and atan near 0."""
    yield Fit(
        "ASIN_F64",
        "asin(s) = s + s x P(x), x = s^2",
        lambda x: (mp.asin(mp.sqrt(x)) / mp.sqrt(x) - 1) / x,
        (mpf("1e-9"), mpf("0.2501")),
        14,
        "f64",
        lambda x: x * mp.sqrt(x) / mp.asin(mp.sqrt(x)),
    )
    yield Fit(
        "ATAN_F64",
        "atan(t) = t + t x P(x), x = t^2",
        lambda x: (mp.atan(mp.sqrt(x)) / mp.sqrt(x) - 1) / x,
        (mpf("1e-9"), mpf("0.2501")),
        13,
        "f64",
        lambda x: x * mp.sqrt(x) / mp.atan(mp.sqrt(x)),
    )


def hyperbolics() -> Iterable[Fit]:
    """tanh near 0, and cosh and sinh where e^x is 2^n e^r."""
    near = (mpf("1e-9"), HALF_LN2**2)
    yield Fit(
        "SINH",
        "sinh(r) = r + r x P(x), x = r^2",
        lambda x: (mp.sinh(mp.sqrt(x)) / mp.sqrt(x) - 1) / x,
        near,
        6,
        "f64",
        lambda x: x * mp.sqrt(x) / mp.sinh(mp.sqrt(x)),
    )
    yield Fit(
        "COSH",
        "cosh(r) = 1 + x P(x), x = r^2",
        lambda x: (mp.cosh(mp.sqrt(x)) - 1) / x,
        near,
        6,
        "f64",
        lambda x: x / mp.cosh(mp.sqrt(x)),
        (0.5,),
    )
    for dtype, terms in (("f32", 7), ("f64", 15)):
        yield Fit(
            f"TANH_{dtype}",
            "tanh(a) = a + a x P(x), x = a^2",
            lambda x: (mp.tanh(mp.sqrt(x)) / mp.sqrt(x) - 1) / x,
            (mpf("1e-9"), mpf("0.81")),
            terms,
            dtype,
            lambda x: x * mp.sqrt(x) / mp.tanh(mp.sqrt(x)),
        )


def powers() -> Iterable[Fit]:
    """2^r for the float32 power, in float64; log(1 + r) for the float64 power; the cube root."""
    yield Fit(
        "LOG_POWER",
        "log(1 + x) = x - x^2/2 + x^3 P(x)",
        lambda x: (mp.log1p(x) - x + x**2 / 2) / x**3,
        (mpf("-0.00785"), mpf("0.00785")),
        7,
        "f64",
        lambda x: x**3 / mp.log1p(x),
    )
    yield Fit("CBRT", "1 / cbrt(x) = P(x)", lambda x: 1 / mp.cbrt(x), (mpf(1), mpf(2)), 7, "f64")
    yield Fit(
        "EXP2_POWER", "2^x = P(x)", lambda x: mpf(2) ** x, (mpf("-0.5003"), mpf("0.5003")), 8, "f64", None, (1.0,)
    )


def errors() -> Iterable[Fit]:
    """erf near 0 and away from it; erfc everywhere."""
    yield Fit(
        "ERF_F64",
        "erf(a) = a + a P(x), x = a^2",
        lambda x: mp.erf(mp.sqrt(x)) / mp.sqrt(x) - 1,
        (mpf("1e-9"), mpf("0.9") ** 2),
        14,
        "f64",
        lambda x: mp.sqrt(x) / mp.erf(mp.sqrt(x)),
    )

    def scaled(t: mpf) -> mpf:
        a = 4 * (1 + t) / (1 - t)
        return (1 + 2 * a) * (mp.exp(a**2) * mp.erfc(a))

    yield Fit(
        "ERFC",
        "with x = (a - 4)/(a + 4): (1 + 2a) e^(a^2) erfc(a) = P(x)",
        scaled,
        (mpf(-1), mpf("0.7485")),
        24,
        "f64",
        rest=True,
    )
    yield Fit(
        "ERF_F32",
        "erf(a) = a + a P(x), x = a^2",
        lambda x: mp.erf(mp.sqrt(x)) / mp.sqrt(x) - 1,
        (mpf("1e-9"), mpf("0.9") ** 2),
        7,
        "f32",
        lambda x: mp.sqrt(x) / mp.erf(mp.sqrt(x)),
    )
    yield Fit(
        "ERFC_LOG_F32",
        "erfc(57/64 + x) = 2^P(x), error times erfc",
        lambda x: mp.log(mp.erfc(mpf(57) / 64 + x), 2),
        (mpf(0), mpf("3.06")),
        8,
        "f32",
        lambda x: mp.erfc(mpf(57) / 64 + x) * LN2,
    )


FAMILIES: dict[str, Callable[[], Iterable[Fit]]] = {
    "exponential": exponentials,
    "logarithm": logarithms,
    "trigonometric": trigonometrics,
    "inverse_trigonometric": inverse_trigonometrics,
    "hyperbolic": hyperbolics,
    "power": powers,
    "error_function": errors,
}


# --- output -----------------------------------------------------------------------------------------------------


def literal(value: mpf, dtype: str) -> str:
    """A Python literal of the float, exact when read back."""
    number = float(value)
    if dtype == "f32" and number:
        assert struct.unpack("<f", struct.pack("<f", number))[0] == number, value
    return repr(number)


def wrapped(items: Sequence[str], width: int = 116) -> str:
    """The items of a tuple in lines of at most ``width`` characters, indented by 4."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


HEADER = '''# fmt: off
"""Polynomial coefficients and constants of the vector math: made by tools/minimax.py, do not edit.

``P`` is a polynomial, lowest power first. The number after a formula is log2 of the largest error of the whole
formula, relative unless it says otherwise.
"""
'''


def main(names: Sequence[str]) -> None:
    """Print the tables of the named families (default: all)."""
    out = [HEADER, "# --- constants: (float32 parts, float64 parts), each first + rest ---", ""]
    for name, value in (("HALF_PI", mp.pi / 2), ("THREE_QUARTER_PI", mp.pi * 3 / 4), ("TWO_PI", mp.pi * 2)):
        out.append(f"{name} = ({', '.join(literal(p, 'f64') for p in pieces(value, 'f64', 0, 2))})  # float64")
    factors = (literal(rounded(mp.mpf(m) ** (-mpf(1) / 3), "f64"), "f64") for m in (2, 4))
    out.append(f"CBRT_FACTORS = ({', '.join(factors)})  # 2^(-1/3) and 4^(-1/3), float64")
    for name, (value, *first) in CONSTANTS.items():
        parts = [[literal(p, d) for p in pieces(value, d, b, 2)] for d, b in zip(("f32", "f64"), first)]
        out.append(f"{name} = ({', '.join(f'({a}, {b})' for a, b in parts)})")
    out.append("")
    out += ["# 2/pi for float32 arguments: (limit of |x|, scale, 2/pi / scale mod 4 in two parts)", "QUARTER_TURNS = ("]
    out += [
        *quarter_turns(),
        ")",
        "",
        "# 1/2pi for float64 arguments: four columns, the parts of 2^(8k - 56) / 2pi mod 1",
    ]
    out += ["TURNS = (", *turns(), ")", ""]
    out += ["# 1/m rounded to a few bits and its negative binary logarithm in two parts, for the float64 power"]
    out += ["RECIPROCALS = (", *reciprocals(), ")", ""]
    for family in names or FAMILIES:
        out.append(f"# --- {family} ---")
        for task in FAMILIES[family]():
            coefficients, error = fit(task)
            a, b = (mp.nstr(x, 6) for x in task.interval)
            out += [
                "",
                f"# {task.form}, {a} <= x <= {b}: {mp.nstr(mp.log(error, 2), 4)}",
                f"{task.name.upper()} = (",
                wrapped([literal(c, task.dtype) for c in coefficients]),
                ")",
            ]
            if task.rest:
                rest = coefficients[0] - rounded(coefficients[0], task.dtype)
                out.append(f"{task.name}_REST = {literal(rest, task.dtype)}")
        out.append("")
    print("\n".join(out).rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
