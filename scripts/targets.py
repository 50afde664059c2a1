"""What a measurement was meant to reach, beside what it reached: the part `Targets` of a summary, one form for all."""


def judged(what, wanted, measured, form=None):
    """One target. `wanted` is text, `at most N` or `at least N`, so that what is printed is what is judged; None if nothing was
    measured."""
    if measured is None:
        return None
    sense, limit = wanted.rsplit(" ", 1)
    limit = float(limit.replace(",", ""))
    met = {"at most": measured <= limit, "at least": measured >= limit}[sense]
    shown = (form or ("{:,.0f}" if measured >= 1000 else "{:.4g}")).format(measured)
    return {"what": what, "wanted": wanted, "measured": measured, "shown": shown, "met": met}


def word(target):
    """Whether it was reached."""
    return "reached" if target["met"] else "**missed**"


def lines(targets):
    """The part of a summary."""
    if not targets:
        return
    met = sum(target["met"] for target in targets)
    yield from ("", "## Targets", "", f"{met} of {len(targets)} are reached.", "")
    yield from ("| target | wanted | measured | |", "|---|---|---:|---|")
    for target in targets:
        yield f"| {target['what']} | {target['wanted']} | {target['shown']} | {word(target)} |"
