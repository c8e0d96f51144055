"""The gateway in front of an engine: HAProxy's configuration, and the keys that let clients in. Pure."""
