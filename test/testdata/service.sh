# service.sh PROGRAM DIR: installs the service and removes it, in a mount
# namespace whose /etc is a copy and whose systemctl says what it was told.
set -e
mount --make-rprivate /
cp -a /etc "$2/etc"
mount --bind "$2/etc" /etc
mount -t tmpfs run /run
mount -t tmpfs bin /usr/local/bin
mkdir -p /run/systemd/system /etc/mote
install -m 755 "$1" /usr/local/bin/mote
printf '#!/bin/sh\necho "systemctl $@"\n' >/usr/local/bin/systemctl
chmod 755 /usr/local/bin/* /etc/mote
PATH=/usr/local/bin:$PATH

configuration() { # configuration SPOOL
	printf '[gateway]\nname = "roof"\nspool.dir = "%s"\n[[source]]\nsim = 1\n[uplink.rest]\nurl = "https://example.com/x"\napi_key_file = "key"\n' "$1" >/etc/mote/mote.toml
	chmod 644 /etc/mote/mote.toml
}
(umask 077; echo secret >/etc/mote/key)

configuration spool
! mote service install
configuration /var/lib/mote/spool
! mote service install
sed -i 's/"key"/"\/home\/key"/' /etc/mote/mote.toml
mount -t tmpfs home /home
touch /home/key
! mote service install
configuration /var/lib/mote/spool
test ! -e /etc/systemd/system/mote.service
chown mote /etc/mote/key
mote service install
stat -c '%a %U' /etc/systemd/system/mote.service
grep ^ExecStart= /etc/systemd/system/mote.service
mote service status
mote service uninstall
test ! -e /etc/systemd/system/mote.service
! mote service uninstall
