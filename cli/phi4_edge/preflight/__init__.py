"""SSH reachability, authentication and host keys, before Ansible starts."""
