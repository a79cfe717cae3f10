#!/bin/busybox sh
# The init process of the initramfs: copies its files to a file system that can be left, and starts there.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /root-of-node
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o size=90%,mode=755 tmpfs /root-of-node
for entry in /*; do
    case $entry in
        /root-of-node | /proc | /sys | /dev) mkdir -p "/root-of-node/$entry" ;;
        /bin | /init) cp -a "$entry" /root-of-node/ ;;
        *) cp -a "$entry" /root-of-node/ && rm -rf "$entry" ;;
    esac
done
rmdir /root-of-node/root-of-node
umount /proc
mount --move /dev /root-of-node/dev
exec switch_root /root-of-node /start
