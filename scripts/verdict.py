"""What `pollux doctor` said of the host of a result, as one sentence that stands beside its figures."""

import json
import pathlib


def of_host(host):
    """The sentence for the object of a host.json."""
    doctor = host.get("doctor")
    if doctor is None:
        return "The host was not examined (`pollux doctor`)."
    unknown = f"; {len(doctor['unknown'])} conditions unknown" if doctor["unknown"] else ""
    if doctor["qualifies"]:
        return f"The host qualifies (`pollux doctor`{unknown})."
    reasons = ", ".join(f"`{name}`" for name in doctor["disqualified_by"])
    return f"**The host does not qualify** (`pollux doctor`: {reasons}{unknown}): tails and maxima are its own."


def of_folder(folder):
    """The sentence for the folder of a result."""
    return of_host(json.loads(pathlib.Path(folder, "host.json").read_text(encoding="utf-8")))
