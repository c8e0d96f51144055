#!/bin/sh
# Runs as root inside the new image, after its packages are installed and the overlay is unpacked.
set -eu

# `gateway` becomes root through sudo, as an installer's user does; `nosudo` may log in and nothing else.
for user in gateway nosudo; do
    useradd --create-home --shell /bin/bash --password '*' "$user"
done

# A key in the image would be the same on every host: lab-host-key.service makes one per host.
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/systemd/system/ssh.service.requires
ln -sf ../lab-host-key.service /etc/systemd/system/ssh.service.requires/lab-host-key.service

update-ca-certificates >/dev/null
: >/etc/machine-id
