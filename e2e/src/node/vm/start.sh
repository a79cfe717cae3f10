# Starts the node: file systems, modules, network, containerd, images, kubelet. The settings are above.
export PATH=$SHIM:/bin
set -e
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm /tmp /var/log /var/run /etc
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
# The kubelet reads the names of users, and containerd the names of hosts.
echo 127.0.0.1 localhost > /etc/hosts
echo root:x:0:0:root:/:/bin/sh > /etc/passwd
echo root:x:0: > /etc/group
chmod 1777 /tmp
hostname "$NAME"
depmod
for module in virtio_pci virtio_net overlay veth bridge; do
    modprobe "$module"
done
ip link set lo up
ip addr add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
echo 1 > /proc/sys/net/ipv4/ip_forward
echo "controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
"$CONTAINERD" --log-level warn --config "$CONFIG" &
tries=300
until "$CTR" --address "$SOCKET" version > /dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ]
    sleep 1
done
"$CTR" --address "$SOCKET" --namespace k8s.io images import --local "$IMAGES"
# No argument contains a space.
$KUBELET $ARGUMENTS
