//! Packet sockets inside the namespaces, and pcapng files.
