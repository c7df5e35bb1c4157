//! Makes the kernel what a plan says, reads it back, and removes it: namespaces, links, addresses, routes.

pub mod netns;
