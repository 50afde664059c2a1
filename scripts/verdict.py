"""What `pollux doctor` said of the host of a result, as one sentence that stands beside its figures."""

import result


def of_host(host):
    """The sentence for the object of a host.json; two where the devices had a host of their own."""
    if "generator" in host:
        return f"Twin: {of_doctor(host.get('doctor'))} Devices: {of_doctor(host['generator'].get('doctor'))}"
    return of_doctor(host.get("doctor"))


def of_doctor(doctor):
    """The sentence for what was said."""
    if doctor is None:
        return "The host was not examined (`pollux doctor`)."
    unknown = f"; {len(doctor['unknown'])} conditions unknown" if doctor["unknown"] else ""
    if doctor["qualifies"]:
        return f"The host qualifies (`pollux doctor`{unknown})."
    reasons = ", ".join(f"`{name}`" for name in doctor["disqualified_by"])
    return f"**The host does not qualify** (`pollux doctor`: {reasons}{unknown}): tails and maxima are its own."


def of_folder(folder):
    """The sentence for the folder of a result."""
    return of_host(result.read_host(folder))


def of_folders(folders):
    """The sentence for figures of several folders, which holds all that was said of any."""
    return of_host({"doctor": doctor_of(result.read_host(folder) for folder in folders)})


def doctor_of(hosts):
    """What was said of any of several hosts, as it is said of one; nothing if one was not examined."""
    doctors = [host.get("doctor") for host in hosts]
    if None in doctors:
        return None
    reasons = dict.fromkeys(name for doctor in doctors for name in doctor["disqualified_by"])
    unknown = dict.fromkeys(name for doctor in doctors for name in doctor["unknown"])
    qualifies = all(doctor["qualifies"] for doctor in doctors)
    return {"qualifies": qualifies, "disqualified_by": list(reasons), "unknown": list(unknown)}
