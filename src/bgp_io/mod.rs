//! Drives speakers: TCP sockets inside the namespaces, timers, and the kernel's routes.
