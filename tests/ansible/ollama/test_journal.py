"""What reaches the journal of Ollama's unit: lines as Ollama, llama-server, Go and Compose write them, through sed."""

from __future__ import annotations

import subprocess

import pytest

from tests.ansible.plays import ROOT

FILTER = ROOT / "roles" / "ollama" / "files" / "journal.sed"

KEPT = [
    # Ollama's own lines, whatever their level.
    'time=2026-11-29T00:00:00.000Z level=INFO source=sched.go:701 msg="loaded runners" count=1',
    'time=2026-11-29T00:00:00.000Z level=WARN source=sched.go:12 msg="model was still loaded"',
    'time=2026-11-29T00:00:00.000Z level=ERROR source=llama_server.go:1023 msg="llama-server terminated"',
    "Error: listen tcp 127.0.0.1:8080: bind: address already in use",
    # A request of a client, and one that failed at its health.
    '[GIN] 2026/11/29 - 00:00:00 | 200 |  1.013s |       127.0.0.1 | POST     "/v1/chat/completions"',
    '[GIN] 2026/11/29 - 00:00:00 | 200 |  1.013s |       127.0.0.1 | GET      "/v1/models"',
    '[GIN] 2026/11/29 - 00:00:00 | 500 |  1.013s |       127.0.0.1 | GET      "/api/tags"',
    '[GIN] 2026/11/29 - 00:00:00 | 200 |  1.013s |       127.0.0.1 | POST     "/api/generate"',
    # Trouble of llama-server, with level and time in front and without.
    "0.00.100.000 W srv    operator(): input truncated, n_ctx = 4096",
    "0.00.100.000 E srv    load_model: error loading model: no such file",
    "0.12.345.678 I ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 2147483648",
    "llama_model_load: error loading model: tensor 'blk.3' data is not within the file bounds",
    "srv    load_model: failed to load model, '/var/lib/phi4-edge/stores/x'",
    "common_init_from_params: warning: vocab does not have an EOS token",
    "llama_kv_cache: unable to reserve 4096 cells",
    "slot update_slots: id  0 | task 3 | error: out of memory",
    "ggml.c:1234: GGML_ASSERT(n > 0) failed",
    # A crash of Go, of the shell around it, and of Compose.
    "panic: runtime error: invalid memory address or nil pointer dereference",
    "goroutine 1 [running]:",
    "main.main()",
    "\t/src/main.go:12 +0x1d",
    "fatal error: all goroutines are asleep - deadlock!",
    "/bin/bash: line 1: /opt/phi4-edge/releases/r-000000000000/engine/bin/ollama: Permission denied",
    " Container phi4-edge-engine-1  Started",
    'time="2026-11-29T00:00:00Z" level=warning msg="the attribute version is obsolete"',
    "engine-1 exited with code 137",
]
DROPPED = [
    "0.00.000.012 I system_info: n_threads = 2 (n_threads_batch = 2) / 2 | CPU : LLAMAFILE = 1 |",
    "0.00.000.034 I llama_model_loader: - kv  23: tokenizer.chat_template str = {% raise_exception('error') %}",
    "1.23.456.789 I slot print_timing: id  0 | task 0 | prompt eval time = 1.00 ms /    12 tokens",
    "1.23.456.789 D que    start_loop: waiting for new tasks",
    "llama_model_loader: - kv  23: tokenizer.chat_template str = {% raise_exception('error') %}",
    "llama_model_loader: loaded meta data with 30 key-value pairs and 196 tensors",
    "print_info: file format = GGUF V3 (latest)",
    "load_tensors:   CPU_Mapped model buffer size =  2080.00 MiB",
    "~llama_context:        CPU compute buffer size is  10.0 MiB",
    "srv  log_server_r: done request: POST /completion 127.0.0.1 200",
    "srv    load_model: loading model '/var/lib/phi4-edge/stores/x'",
    "slot launch_slot_: id  0 | task 0 | processing task",
    "slot      release: id  0 | task 0 | stop processing: n_tokens = 24, truncated = 0",
    "que    start_loop: update slots",
    "main: server is listening on http://127.0.0.1:34567 - starting the main loop",
    "prompt eval time =     512.00 ms /    31 tokens (   16.52 ms per token,    60.55 tokens per second)",
    "       eval time =    1024.00 ms /    16 tokens (   64.00 ms per token,    15.63 tokens per second)",
    "      total time =    1536.00 ms /    47 tokens",
    "   graphs reused =          15",
    "........................................................",
    "",
    '[GIN] 2026/11/29 - 00:00:00 | 200 |      32.1µs |       127.0.0.1 | HEAD     "/"',
    '[GIN] 2026/11/29 - 00:00:00 | 200 |     321.4µs |       127.0.0.1 | GET      "/api/tags"',
    '[GIN] 2026/11/29 - 00:00:00 | 200 |     321.4µs |       127.0.0.1 | GET      "/api/ps"',
    '[GIN] 2026/11/29 - 00:00:00 | 200 |     321.4µs |       127.0.0.1 | GET      "/api/version"',
]


def passed(lines: list[str]) -> list[str]:
    done = subprocess.run(
        ["sed", "-u", "-E", "-e", r"s/^\x1b\[2K//", "-f", FILTER], input="\n".join(lines) + "\n", check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("line", KEPT)
def test_what_speaks_of_trouble_and_what_clients_ask_stays(line: str) -> None:
    assert passed([line]) == [line]


@pytest.mark.parametrize("line", DROPPED)
def test_chatter_and_looks_at_health_go(line: str) -> None:
    assert passed([line]) == []


def test_order_and_words_of_what_stays_are_as_they_came() -> None:
    mixed = [line for pair in zip(KEPT, DROPPED, strict=False) for line in pair]
    assert passed(mixed) == [line for line in mixed if line in KEPT]
    assert passed(["\x1b[2K" + KEPT[0]]) == [KEPT[0]]
