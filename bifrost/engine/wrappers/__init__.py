"""What stands around an attempt on the path of a call. Each is a `Step` around the next one."""
