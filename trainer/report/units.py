"""Numbers as people read them."""

GIB = 2**30


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 1 d 07 h, 2 h 05 min, 3 min 09 s, 8 s."""
    whole = round(seconds)
    for unit, smaller, size, part in (("d", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {smaller}"
    return f"{whole} s"


def short(number: float) -> str:
    """Return a number with three significant digits and a suffix: 10.2 B, 524 k, 3.21, 6.00e-04."""
    for limit, suffix in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if suffix == ' k' else limit):.3g}{suffix}"
    if number == 0 or abs(number) >= 1e-2:
        return f"{number:,.0f}" if number == int(number) else f"{number:.4g}"
    return f"{number:.2e}"
