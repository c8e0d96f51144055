"""The decode loop: many answers at once from one exported graph.

    session    the graph in onnxruntime, its bindings made once and kept
    rows       the KV cache: who has which row, what it holds, where it lies
    sampling   from scores to a token
    schedule   what to run next
    decode     one unit of work at a time over these four

All but `session` are pure: tests put a scripted model in its place.
"""
