"""What happens when the world does not hold still: processes killed, disks full, files broken."""
