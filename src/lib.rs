//! `lab`: the Calico fabric of a Kubernetes cluster on one Linux host, with real BGP, and scenarios that assert it.
//!
//! Pure modules know no root, no clock and no tokio; each has at most one I/O partner at the edge
//! (ARCHITECTURE.md explains the map, `tests/layering.rs` enforces it).
//!
//! | Pure | I/O partner |
//! |---|---|
//! | [`plan`]: what every namespace must contain | [`fabric`]: makes the kernel so, and reads it back |
//! | [`bgp`]: codec, sessions, RIBs, the speaker | [`bgp_io`]: TCP sockets, timers, the kernel's FIB |
//! | [`external`]: what other BGP daemons are told, and what they say | [`external_io`]: runs them and asks them |
//! | [`packet`]: decodes captured frames, filters them, encapsulates | [`capture`]: packet sockets and pcapng files; [`tunnel`]: `tunl0` in user space |
//! | [`scenario`]: steps, expectations, verdicts | [`runner`]: executes steps, waits, emits events |
//! | [`report`]: values to text, JUnit, diagnostics | [`cli`]: terminal, files, exit codes |
//! | [`net`], [`topology`], [`calico`]: vocabulary and input | [`control`]: the daemon and its socket; [`probe`]: ping and HTTP |

pub mod bgp;
pub mod calico;
pub mod external;
pub mod net;
pub mod packet;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod topology;

pub mod bgp_io;
pub mod capture;
pub mod cli;
pub mod control;
pub mod external_io;
pub mod fabric;
pub mod probe;
pub mod runner;
pub mod tunnel;
