"""Checks of the system beneath that no plan depends on: clock, locks, names, failed units, swap, power."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from phi4_edge.core.doctor.case import Case, Finding, milliseconds
from phi4_edge.core.facts.init import SYSTEMD
from phi4_edge.core.packages import commands
from phi4_edge.core.text import clean, gib, integer

# Seconds. Below the first nobody notices; above the second apt and TLS begin to refuse what is signed.
SKEW_NOTED, SKEW_WARNED, SKEW_REFUSED = 5.0, 60.0, 3600.0
# What clocks of a few decimal places may contradict each other by.
ROUNDING = 0.001
SMALL_MEMORY = 5 << 30
SLOW_NAME = 2.0
GONE = ("missing", "denied")
# Path, mount point, flags, inodes, free ones, free bytes; both paths may have spaces.
_FILESYSTEM = re.compile(r"(/.*?) (/.*) (\S+) (\d+) (\d+) (\d+)")
_THROTTLED = {0: "under-voltage now", 1: "clock capped now", 2: "throttled now", 16: "under-voltage since boot",
              17: "clock capped since boot", 18: "throttled since boot"}  # fmt: skip


def skew(document: Mapping[str, object]) -> tuple[float, float] | None:
    """Return the bounds in seconds of how far the host's clock is ahead of the controller's, None where unknown.

    A host that wrote down `first` after the controller's `before`, and `last` before its `after`, is ahead by at least
    last - after and at most first - before; several such rounds narrow it. Empty bounds mean that a clock was set
    between two rounds: then nothing is known.
    """
    low, high, rounds = float("-inf"), float("inf"), 0
    for name in ("login", "root"):
        part = document.get(name)
        found = [part.get(key) for key in ("before", "first", "last", "after")] if isinstance(part, Mapping) else []
        times = [float(item) for item in found if isinstance(item, int | float) and 0 <= item < 1e11]
        if len(times) == 4:
            before, first, last, after = times
            low, high, rounds = max(low, last - after), min(high, first - before), rounds + 1
    return (min(low, high), max(low, high)) if rounds and low <= high + ROUNDING else None


def clock(case: Case) -> Iterator[Finding]:
    """Whether the host's clock is the controller's, and whether anything keeps it right."""
    bounds = skew(case.host_document)
    timed = dict(line.partition("=")[::2] for line in case.root.lines("ntp"))
    setting = f"{case.install('clock')} && sudo timedatectl set-ntp true"
    if case.facts is not None and case.facts.init != SYSTEMD:
        setting = f"{case.install('clock')} && {commands.start('chronyd', case.facts)}"
    if bounds is not None:
        least = bounds[0] if bounds[0] > 0 else -bounds[1] if bounds[1] < 0 else 0.0
        way = "ahead of" if bounds[0] > 0 else "behind"
        found = f"a clock at least {ago(least)} {way} this controller's"
        needed = f"at most {SKEW_WARNED:.0f} s: logs cannot be compared, and TLS and apt refuse what is signed"
        if least >= SKEW_WARNED:
            yield case.when(least >= SKEW_REFUSED and case.needs_packages, "clock", found, needed, setting)
            return
        if least >= SKEW_NOTED:
            yield case.note("clock", found, f"less than {SKEW_NOTED:.0f} s", setting)
            return
    if timed.get("NTPSynchronized") == "no" and timed.get("NTP") != "yes":
        yield case.note("clock", "no time service keeps the clock right", "one", setting)


def ago(seconds: float) -> str:
    """Return a duration in the unit that says it best."""
    for size, unit in ((31_557_600, "years"), (86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def package_lock(case: Case) -> Iterator[Finding]:
    """Whether somebody works with the package manager now."""
    held = case.root.lines("dpkg_locks")
    if held:
        path, process, program = [*held[0].split(" ", 2), "", ""][:3]
        waits = ": provision waits for it, up to phi4_docker_lock_timeout (300 s)" if case.needs_packages else ""
        yield case.warning(
            "dpkg", f"{path} is held by process {process} ({program or 'unknown'})", f"a free lock{waits}",
            f"wait for it (see it: ps -fp {process}), or sudo systemctl stop unattended-upgrades apt-daily.service "
            "apt-daily-upgrade.service; kill it only if it hangs",
        )  # fmt: skip


def names(case: Case) -> Iterator[Finding]:
    """Whether the host's own name and those of its package sources resolve."""
    lines = case.root.lines("dns")
    if not lines or not lines[0].startswith("servers"):
        if case.root.gap("dns") not in GONE:
            yield case.note("dns", f"name resolution gave no answer ({case.root.gap('dns')})", "one", _SEE_DNS)
        return
    servers, own = lines[0].split()[1:], case.facts.hostname if case.facts is not None else ""
    lost, slow = [], []
    for line in lines[1:]:
        words = line.split(" ", 3)
        if len(words) < 3:
            continue
        if words[1] == "failed" and words[0] == own:
            yield case.warning(
                "dns", f"the host does not know its own name {own} ({' '.join(words[3:])})",
                "that it does: sudo looks it up each time, and waits",
                f"echo '127.0.1.1 {own}' | sudo tee -a /etc/hosts",
            )  # fmt: skip
        elif words[1] == "failed":
            lost.append(words[0])
        elif re.fullmatch(r"\d+\.\d+", words[2]) and float(words[2]) >= SLOW_NAME:
            slow.append(f"{words[0]} ({milliseconds(float(words[2]))})")
    asked = f"the name servers {', '.join(servers)}" if servers else "no name server in /etc/resolv.conf"
    registry = case.needs_docker and case.plan is not None and case.plan.image_delivery == "registry"
    if lost:
        found = f"{', '.join(lost)} cannot be resolved ({asked})"
        if case.needs_packages or registry:
            yield case.problem("dns", found, "the sources of packages or images, which the plan needs", _SEE_DNS)
        else:
            yield case.note("dns", found, "nothing for this plan: the controller delivers everything", _SEE_DNS)
    if slow:
        yield case.warning("dns", f"names take long to resolve: {', '.join(slow)}", "well under a second", _SEE_DNS)


_SEE_DNS = (
    "see what it asks: cat /etc/resolv.conf; resolvectl status. Give it a name server that answers: "
    "sudo resolvectl dns INTERFACE ADDRESS, or a line 'nameserver ADDRESS' in /etc/resolv.conf"
)


def failed_units(case: Case) -> Iterator[Finding]:
    """Which units of systemd are not well."""
    if case.facts is None or case.facts.init != "systemd":
        return  # the plan says what that means
    lines = case.root.lines("systemd")
    state, failed = (lines[0], lines[1:]) if lines else ("", [])
    if state == "degraded" and failed:
        named = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        see = f"journalctl -u {failed[0]} -n 50; once it is fixed: sudo systemctl reset-failed"
        yield case.note("systemd", f"failed units: {named}", "none", see)


def memory(case: Case) -> Iterator[Finding]:
    """Swap on a small machine, and programs that the kernel has ended for want of memory."""
    found = re.search(r"^SwapTotal:\s+(\d{1,12}) kB", case.probe.text("meminfo"), re.MULTILINE)
    if found and int(found[1]) == 0 and case.facts is not None and case.facts.mem_total < SMALL_MEMORY:
        yield case.warning(
            "memory", f"no swap with {gib(case.facts.mem_total)} of RAM",
            "some: otherwise the kernel kills the engine when memory runs short for a moment", case.install("zram"),
        )  # fmt: skip
    kills = integer(clean(case.root.text("oom_kills"), 20))
    if kills:
        yield case.note(
            "memory", f"the kernel has killed {kills} process(es) for lack of memory since boot", "none",
            "see which: sudo journalctl -k | grep -i 'killed process'",
        )  # fmt: skip


def power(case: Case) -> Iterator[Finding]:
    """A Raspberry Pi whose supply is too weak, and a reboot that is waited for."""
    code = re.search(r"(?:0x)?([0-9a-fA-F]{1,8})$", clean(case.root.text("throttled"), 40))
    bits = int(code[1], 16) if code else 0
    said = [text for bit, text in _THROTTLED.items() if bits >> bit & 1]
    if said:
        fix = "use the board maker's power supply and cool the board; see: vcgencmd get_throttled"
        yield case.warning("power", f"the board reports {', '.join(said)}", "full speed", fix)
    if case.facts is not None and case.facts.reboot_required:
        yield case.warning("reboot", "the host needs a reboot", "none pending", "sudo systemctl reboot")
