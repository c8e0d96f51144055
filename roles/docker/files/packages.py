"""Packages on a host with apt: what is installed, a vendor's repository, versions on offer, installing them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

from hostlib import HostError, Json, own_directory, read_bytes, write_atomic
from hostrun import clean, command, serve

SOURCES = "/etc/apt/sources.list.d"
UPDATES = "/var/lib/dpkg/updates"  # holds numbered files exactly while a dpkg run is not finished
APT_SECONDS = 1500.0
LOCKED = re.compile(r"[Cc]ould not get lock|Unable to acquire|Unable to lock")


def os_release() -> Json:
    """ID, version and nothing else of the distribution."""
    text = (read_bytes("/etc/os-release") or read_bytes("/usr/lib/os-release") or b"").decode("utf-8", "replace")
    values = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return {name.lower(): values.get(name, "").strip("\"'")[:40] for name in ("ID", "VERSION_ID")}


def versions(names: list[str]) -> dict[str, str]:
    """Version of each installed package of `names`."""
    shown = "${Package} ${db:Status-Status} ${Version}\\n"
    _status, output = command("dpkg-query", "--show", "--showformat=" + shown, *names)
    lines = [line.split(" ") for line in output.splitlines()]
    return {words[0]: words[2] for words in lines if len(words) == 3 and words[1] == "installed"}


# A program that is there and whose build has no number, such as Docker's on Arch or of somebody's own making.
UNNUMBERED = "unknown"


def number(*argv: str) -> str:
    """The first dotted number that a program prints, "" when it is missing or fails, else `UNNUMBERED`."""
    status, output = command(*argv, timeout=20.0)
    if status != 0 or not output.strip():
        return ""
    found = re.search(r"[0-9]+(?:\.[0-9]+)+", output)
    return found.group() if found else UNNUMBERED


def interrupted() -> str:
    """What dpkg says about an installation that was cut off, "" when there is none."""
    left = [name for name in os.listdir(UPDATES) if name.isdigit()] if os.path.isdir(UPDATES) else []
    if left:
        return "dpkg was interrupted"
    _status, output = command("dpkg", "--audit")
    return " ".join(output.split())[:300] if shutil.which("dpkg") else ""


def inspect(args: Json, _payload: bytes) -> Json:
    """What is there: distribution, packages among `names`, versions of Docker, Compose and runc."""
    _status, architecture = command("dpkg", "--print-architecture")
    has_apt = bool(shutil.which("apt-get"))
    return {
        "os": os_release(),
        "architecture": architecture if has_apt else "",
        "kernel": os.uname().release,
        "packages": versions(args["names"]) if has_apt else {},
        "dpkg": interrupted() if has_apt else "",
        "snap": os.path.isdir("/snap/docker"),
        "engine": number("dockerd", "--version"),
        "compose": number("docker", "compose", "version", "--short"),
        "runc": number("runc", "--version"),
    }


def repository(args: Json, _payload: bytes) -> Json:
    """Key and source of a vendor's repository are in place, and no other source names the same one.

    Two sources with different keys make every `apt-get update` fail, so an older one is set aside: renamed to
    `<name>.disabled`, which apt skips. Raises HostError for one that lists other repositories too.
    """
    changes = []
    for name in sorted(os.listdir(SOURCES)) if os.path.isdir(SOURCES) else []:
        path = os.path.join(SOURCES, name)
        if path == args["sources_path"] or not name.endswith((".list", ".sources")):
            continue
        if not names_it(path, args["replaces"]):
            continue
        changes.append(path)
        if not args["check"]:
            os.rename(path, path + ".disabled")
    for path, text in ((args["key_path"], args["key"]), (args["sources_path"], args["sources"])):
        if read_bytes(path) == text.encode():
            continue
        changes.append(path)
        if not args["check"]:
            own_directory(os.path.dirname(path), 0o755)
            write_atomic(path, text.encode())
    return {"changed": bool(changes), "changes": changes}


def names_it(path: str, replaces: str) -> bool:
    """True when each repository in an apt source matches `replaces`; False when none does."""
    text = (read_bytes(path) or b"").decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines()]
    wanted = r"^(?:deb|deb-src)\s" if path.endswith(".list") else r"^URIs:"
    about = [line for line in lines if re.match(wanted, line)]
    matching = [line for line in about if re.search(replaces, line)]
    if matching and len(matching) != len(about):
        raise HostError(f"{path} lists the same repository beside others: remove its line ({matching[0][:200]}) there")
    return bool(matching)


def apt(args: Json, *words: str) -> str:
    """Output of apt-get. Waits for locks of other package managers; raises HostError with its words when it fails."""
    environment = dict(os.environ, LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive", NEEDRESTART_SUSPEND="1")
    options = ["-q", "-o", "DPkg::Lock::Timeout=%d" % args["lock_seconds"], "-o", "Dpkg::Use-Pty=0"]
    options += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    end = time.monotonic() + args["lock_seconds"]
    while True:
        try:
            done = subprocess.run(
                ["apt-get", *options, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=APT_SECONDS, check=False, env=environment,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise HostError(f"apt-get {words[0]} did not end within {APT_SECONDS:.0f} s") from None
        output = clean(done.stdout.decode("utf-8", "replace"), 20000)
        # The option covers dpkg's own lock; those of the lists and of the archive are ours to wait for.
        if done.returncode and LOCKED.search(output) and time.monotonic() < end:
            time.sleep(2)
            continue
        if done.returncode:
            raise HostError(f"apt-get {words[0]} failed: {output[-1200:]}{advice(output)}")
        return output


def advice(output: str) -> str:
    """What to do about a failure that has a known way out."""
    if LOCKED.search(output):
        return " (another package manager is at work on the host: try later, or raise phi4_docker_lock_timeout)"
    if interrupted():
        return " (an installation was cut off: run `dpkg --configure -a` on the host)"
    return ""


def offered(args: Json, _payload: bytes) -> Json:
    """Versions of each package on offer, newest first, after `update` of the package lists; and apt's complaints."""
    said = ""
    if args["update"]:
        try:
            output = apt(args, "update")
        except HostError as error:  # one broken source of the operator's need not concern our packages
            output = str(error)
        said = "\n".join(re.findall(r"\b[EW]: .*", output))[-1200:]
    found = {}
    for name in args["packages"]:
        _status, listing = command("apt-cache", "madison", name)
        rows = [[word.strip() for word in line.split("|")] for line in listing.splitlines()]
        found[name] = list(dict.fromkeys(row[1] for row in rows if len(row) > 2 and row[2].endswith("Packages")))
    return {"offered": found, "said": said, "changed": False}


def install(args: Json, _payload: bytes) -> Json:
    """The packages are installed in exactly these versions; those in `remove` are gone, their configuration stays.

    Nothing else is removed: raises HostError where apt would have to.
    """
    left = interrupted()
    if left:
        raise HostError(f"found an interrupted installation ({left}), needed none: run `dpkg --configure -a` there")
    names = [*args["packages"], *args["remove"]]
    before = versions(names)
    gone = [name for name in args["remove"] if name in before]
    if gone:
        apt(args, "remove", "--yes", *gone)
    wanted = [f"{name}={version}" for name, version in sorted(args["packages"].items()) if before.get(name) != version]
    if wanted:
        # A held or a newer package stays as it is: apt refuses, and says so.
        apt(args, "install", "--yes", "--no-install-recommends", "--no-remove", *wanted)
    after = versions(names)
    changes = [f"{name} {after.get(name, 'removed')}" for name in names if before.get(name) != after.get(name)]
    return {"changed": bool(changes), "changes": changes, "installed": after}


if __name__ == "__main__":
    serve(
        globals(),
        {"inspect": inspect, "repository": repository, "offered": offered, "install": install},
        changes=globals()["ARGS"]["do"] not in ("inspect",),
        uncut=("install",),  # packages that are half installed are worse than a host that stays locked meanwhile
    )
