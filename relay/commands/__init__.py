"""What ``tracepost`` can be told: a module a command or group of commands."""
