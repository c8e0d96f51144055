"""Pure decisions, stdlib only: no Ansible, click, Docker, SSH, subprocess, environment, clock or randomness."""
