//! Traffic: ping, the HTTP client, and the web server of every pod.
