"""systemd's units of a release: of the service, of its port, of what loads a model, and of containers. Pure.

Written from literals and the plan alone; goldens of every kind lie in tests/golden. The oldest systemd that is promised
decides what a line may be.
"""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core import layout
from phi4_edge.core.engines import container_unit, unit_lines
from phi4_edge.core.engines.container_unit import Containers
from phi4_edge.core.engines.serving import environment_file
from phi4_edge.core.engines.spec import Native
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.inventory import EVERYWHERE
from phi4_edge.core.layout import GATEWAY_USER, LOOPBACK, PROJECT, REHEARSAL_PROJECT, WEBUI_PROJECT, Layout

REHEARSAL_DIRECTORY = "/run/phi4-edge-rehearsal"
COMPOSE_FILE, WEBUI_FILE, ENVIRONMENT_FILE = "compose.yml", "webui.yml", "environment"


def release_directory(plan: Plan) -> str:
    """Return where the plan's release lies on the host."""
    return f"{layout.of(plan).releases}/{plan['release']}"


def service(plan: Plan, release: str, rehearsal: bool = False) -> str:
    """Return the unit of the service, or of its rehearsal beside the one that serves; `release`: its directory."""
    if plan["service_manager"] == "systemd":
        return unit_lines.text(_native(plan, release, rehearsal))
    return container_unit.unit(_engine(plan, release, rehearsal), rehearsal)


def page(plan: Plan, release: str) -> str:
    """Return the unit of the chat page beside an engine."""
    wanted, file = plan["webui"], f"{release}/{WEBUI_FILE}"
    description = f"Chat page beside Phi-4 on this gateway (Open WebUI {wanted['image']['tag']})"
    return container_unit.unit(Containers(description, WEBUI_PROJECT, file, wanted["bind"], wanted["port"]))


def socket(plan: Plan) -> str:
    """Return the unit of an engine's port. It names no release: it stays, and stays taken, from one to the next."""
    return unit_lines.text(_socket(plan["bind"], plan["port"]))


def loader(plan: Plan, release: str) -> str:
    """Return the unit that keeps the model loaded of an engine that would load it with the first request only.

    The program takes where to ask, and for what, from the plan of its release. Nothing is ordered behind it: a load
    takes minutes.
    """
    program = f"{release}/{ENGINES[plan['engine']].loader}"
    return unit_lines.text(_loader(plan["bind"], program, layout.of(plan), bool(plan.get("gateway"))))


def environment(plan: Plan, release: str) -> str:
    """Return the settings of a native engine, for EnvironmentFile=."""
    return f"{unit_lines.NOTE}\n{environment_file(native(plan).settings(plan, release))}"


def rehearsal_environment(plan: Plan) -> str:
    """Return what those settings say differently in a rehearsal: loopback, on a port of its own."""
    return environment_file(native(plan).rehearsal(int(plan["switch"]["port"])))


def native(plan: Plan) -> Native:
    """Return how the engine of a plan for systemd runs there."""
    found = ENGINES[plan["engine"]].native
    assert found is not None, "no plan has an engine under systemd that is not offered there"  # noqa: S101
    return found


def handed(plan: Plan) -> bool:
    """Return whether systemd hands the engine its port."""
    return plan["service_manager"] == "systemd" and native(plan).handed


def _word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _native(plan: Plan, release: str, rehearsal: bool) -> Iterator[str]:
    engine = native(plan)
    bind, port = (LOOPBACK, plan["switch"]["port"]) if rehearsal else (plan["bind"], plan["port"])
    waits = engine.handed and not rehearsal
    yield unit_lines.NOTE
    yield f"[Unit]\nDescription={unit_lines.plain(unit_lines.described(plan, rehearsal))}"
    if waits:
        yield "# The port is systemd's, and is handed over: it is never free, also not while this is started anew."
        yield "Requires=phi4-edge.socket\nAfter=phi4-edge.socket network.target"
    elif unit_lines.is_loopback(bind):
        yield "After=network.target"
    else:
        yield f"{unit_lines.FIRST_ADDRESS}\nWants=network-online.target\nAfter=network-online.target"
    yield from (unit_lines.FOREVER, "")
    yield from _started(engine, release, rehearsal)
    yield from ("", f"MemoryMax={plan['knobs']['memory_max']}")
    yield "# When the gateway itself runs out of memory the model goes before sshd."
    yield f"OOMScoreAdjust=300\nOOMPolicy={engine.oom_policy}\nTasksMax=256\nLimitCORE=0\nLimitNOFILE={engine.files}"
    yield ""
    yield from _closed(engine, plan, "" if rehearsal else engine.keeps(plan))
    yield from _network(engine, bind, port, waits)
    if not rehearsal:
        yield from ("", "[Install]\nWantedBy=multi-user.target")


def _started(engine: Native, release: str, rehearsal: bool) -> Iterator[str]:
    yield f"[Service]\nType={engine.type}"
    if engine.type == "notify":
        yield "NotifyAccess=main"
    yield "ExecStart=" + " ".join(map(_word, engine.start(release)))
    yield f"EnvironmentFile={release}/{ENVIRONMENT_FILE}"
    if rehearsal:
        yield f"EnvironmentFile={REHEARSAL_DIRECTORY}/{ENVIRONMENT_FILE}"
    for variable in engine.variables:
        yield f"# {variable.why}\nEnvironment={variable.name}={variable.value}"
    yield f"SyslogIdentifier={REHEARSAL_PROJECT if rehearsal else PROJECT}"
    yield from ("LogRateLimitIntervalSec=30\nLogRateLimitBurst=500", "")
    yield f"TimeoutStartSec={engine.start_seconds}\nTimeoutStopSec={engine.stop_seconds}"
    if engine.watchdog_seconds:
        yield f"WatchdogSec={engine.watchdog_seconds}\nWatchdogSignal=SIGKILL"
    yield "# Only the web process is asked to stop: it lets running answers finish and then ends the model process."
    yield "KillMode=mixed"
    yield unit_lines.ENDS if rehearsal else unit_lines.RESTARTS
    if engine.hopeless_status and not rehearsal:
        yield "# EX_CONFIG: settings or model files are unusable, and starting again cannot change that."
        yield f"RestartPreventExitStatus={engine.hopeless_status}"


def _closed(engine: Native, plan: Plan, kept: str) -> Iterator[str]:
    gpu = plan["accelerator"] == "cuda"
    yield "DynamicUser=yes"
    umask = plan["knobs"].get("umask", "0077")
    if umask != "0077":
        yield "# This host's systemd makes the mount points below with it, and the engine must get past them."
    yield f"UMask={umask}"
    yield unit_lines.UNPRIVILEGED
    if gpu:
        yield (
            "# Not PrivateUsers and PrivateDevices, nor MemoryDenyWriteExecute below: the GPU's driver knows users by "
            "their numbers,\n# is reached through its devices, and compiles at run time.\nDevicePolicy=closed"
        )
        yield from (f"DeviceAllow={device} rw" for device in engine.devices)
        if groups := engine.groups(plan):
            yield f"SupplementaryGroups={' '.join(groups)}"
    else:
        yield "PrivateUsers=yes\nPrivateDevices=yes"
    yield from (unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED, "ProtectProc=invisible")
    yield '# ProcSubset stays "all": on ARM the runtime picks its kernels from /proc/cpuinfo.'
    there = layout.of(plan)
    yield f"TemporaryFileSystem={unit_lines.hidden(unit_lines.INSTALLATIONS, there)}"
    if kept:
        yield "# What it counts for the gateway's keys outlasts it; nothing else that it writes does."
        yield f"CacheDirectory={kept}\nCacheDirectoryMode=0700"
    yield f"BindReadOnlyPaths={' '.join(engine.reads(there))}\nNoExecPaths=/tmp /var/tmp /dev/shm\nLockPersonality=yes"
    if not gpu:
        yield "MemoryDenyWriteExecute=yes"
    yield from (unit_lines.RESTRICTED, "# Not ~@resources: the runtime pins its threads to CPUs.")
    yield "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged\nSystemCallErrorNumber=EPERM"


def _network(engine: Native, bind: str, port: int, waits: bool) -> Iterator[str]:
    yield "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    if engine.one_port:
        yield "SocketBindDeny=any"
        if not waits:
            yield f"SocketBindAllow=tcp:{port}"
    if unit_lines.is_loopback(bind):
        yield unit_lines.LOOPBACK_ALONE


def _socket(bind: str, port: int) -> Iterator[str]:
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (its port)"
    yield "# A socket that gives up frees the port, and who takes it then answers in the engine's place."
    yield from ("StartLimitIntervalSec=0", "", "[Socket]")
    yield f"ListenStream={f'[{bind}]' if ':' in bind else bind}:{port}\nFileDescriptorName=phi4-edge"
    if not unit_lines.is_loopback(bind):
        yield "# At boot it listens before the network has its addresses, and before any user's process.\nFreeBind=yes"
    yield "# An engine that cannot start turns away by itself whoever would start it again and again."
    yield "TriggerLimitIntervalSec=0"
    if unit_lines.is_loopback(bind):
        yield unit_lines.LOOPBACK_ALONE
    yield from ("", "[Install]\nWantedBy=sockets.target")


def _loader(bind: str, program: str, there: Layout, guarded: bool) -> Iterator[str]:
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (keeps its model loaded)"
    yield from ("After=phi4-edge.service\nStartLimitIntervalSec=0", "", "[Service]\nType=exec")
    yield "# For the status line alone.\nNotifyAccess=main"
    yield f"ExecStart=/usr/bin/env python3 -IB {program}"
    yield "SyslogIdentifier=phi4-edge-load\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=50"
    yield from ("TimeoutStopSec=5\nRestart=always\nRestartSec=5", "")
    yield "MemoryMax=64M\nOOMScoreAdjust=300\nTasksMax=8\nLimitCORE=0"
    yield from ("# Next to nothing to do, and never at the cost of an answer.\nNice=10", "")
    yield "# Not PrivateUsers, and not ProtectProc=invisible: it looks at whose the process is that holds the model."
    if guarded:
        yield f"# Behind a gateway the engine's port is for this user and root alone.\nUser={GATEWAY_USER}"
    else:
        yield "DynamicUser=yes"
    yield from ("UMask=0077", unit_lines.UNPRIVILEGED, "PrivateDevices=yes", unit_lines.PRIVATE)
    yield from ("RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED, "ProcSubset=pid")
    tops = unit_lines.INSTALLATIONS[1:]
    yield f"TemporaryFileSystem={unit_lines.hidden(tops, there)}"
    if unit_lines.within(there.root, (*tops, there.state)):
        yield f"BindReadOnlyPaths={there.root}"
    yield "NoExecPaths=/tmp /var/tmp /dev/shm"
    yield from ("LockPersonality=yes\nMemoryDenyWriteExecute=yes", unit_lines.RESTRICTED)
    yield "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallErrorNumber=EPERM"
    yield "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\nSocketBindDeny=any\nIPAddressDeny=any"
    near = bind in (*EVERYWHERE, "::1") or unit_lines.is_loopback(bind)
    yield f"IPAddressAllow=localhost{'' if near else f' {bind}'}"
    yield from ("", "[Install]\nWantedBy=multi-user.target")


def _engine(plan: Plan, release: str, rehearsal: bool) -> Containers:
    folder = REHEARSAL_DIRECTORY if rehearsal else release
    program = ENGINES[plan["engine"]].journal
    journal = f"{release}/{program}" if program else ""
    bind, port = (LOOPBACK, plan["switch"]["port"]) if rehearsal else (plan["bind"], plan["port"])
    project = REHEARSAL_PROJECT if rehearsal else PROJECT
    return Containers(unit_lines.described(plan, rehearsal), project, f"{folder}/{COMPOSE_FILE}", bind, port, journal)
